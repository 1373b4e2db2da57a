//! What opens the manager's closed commands to who cannot use its Unix socket: 256 random bits in
//! hex.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::unistd::geteuid;

/// Makes the token in the file `path`, unless a good one is there.
///
/// One that others may have read is replaced, and so is what a full disk or an editor has left in
/// its place: an empty token would open everything to everybody.
///
/// # Errors
/// Those of the file system.
pub fn make(path: &Path) -> io::Result<()> {
    if is_closed(path) && is_token(&fs::read_to_string(path).unwrap_or_default()) {
        return Ok(());
    }
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    let token: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let new = path.with_extension("new");
    // A torn one from before must not stay, and nobody may have put a link there.
    drop(fs::remove_file(&new));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{token}")?;
    fs::rename(&new, path)
}

/// Whether a text is a token.
pub fn is_token(text: &str) -> bool {
    let text = text.trim_ascii();
    text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit())
}

/// Whether it is a file of this user's that nobody else may open.
fn is_closed(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|it| it.is_file() && it.uid() == geteuid().as_raw() && it.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_good_token_stays_and_any_other_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = || {
            make(&path).unwrap();
            assert!(is_closed(&path));
            fs::read_to_string(&path).unwrap()
        };
        let first = made();
        assert!(is_token(&first));
        assert_eq!(made(), first);

        for wrong in ["", "\n", &first[1..], &"x".repeat(64)] {
            fs::write(&path, wrong).unwrap();
            assert!(is_token(&made()), "{wrong:?}");
        }
        let closed = made();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(made(), closed, "others may have read it");

        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert_ne!(made(), fs::read_to_string(&elsewhere).unwrap());
    }
}
