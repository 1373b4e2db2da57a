//! One rotated file becomes a compressed one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::logs::packed::pack;

/// Puts a compressed file in the place of a raw one.
pub(super) fn compress(raw: &Path) -> io::Result<()> {
    let [new, packed] = [".gz.new", ".gz"].map(|ending| with(raw, ending));
    let source = match open(OpenOptions::new().read(true), raw) {
        // Pruned, since it was seen.
        Err(error) if error.kind() == ErrorKind::NotFound => return remove(&new),
        source => source?,
    };
    source.sync_all()?;
    sync_index(raw)?;
    write(&source, &new).inspect_err(|_| drop(remove(&new)))?;
    fs::rename(&new, &packed)?;
    sync_dir(raw)?;
    match fs::remove_file(raw) {
        // The keeper has pruned it and could not know of the other.
        Err(error) if error.kind() == ErrorKind::NotFound => remove(&packed),
        removed => removed,
    }
}

fn write(source: &File, new: &Path) -> io::Result<()> {
    let mut target = open(OpenOptions::new().write(true).create(true).truncate(true), new)?;
    pack(&mut BufReader::new(source), &mut target)?;
    target.set_modified(source.metadata()?.modified()?)?;
    target.sync_all()
}

/// A log of the manager has none.
fn sync_index(raw: &Path) -> io::Result<()> {
    match open(OpenOptions::new().read(true), &raw.with_extension("index")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        index => index?.sync_all(),
    }
}

fn sync_dir(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
