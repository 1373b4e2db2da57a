//! The first account, without which there could be no other.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use state::{Operation, account::Secret, level::Rank, name::UserName};

use super::{Server, StartError, password::random_hex};

/// The account that is there from the first.
const ROOT: &str = "root";

/// Where its first password is told.
const PASSWORD_FILE: &str = "root-password";

impl Server {
    /// Makes the first account, unless there is one: with the password of which `hash` is, or with
    /// one that a file tells.
    pub(super) async fn make_root(&self, hash: Option<Secret>) -> Result<(), StartError> {
        if self.commits().newest().accounts().next().is_some() {
            return Ok(());
        }
        let hash = match hash {
            Some(hash) => hash,
            None => self.cost.hash(&self.tell_password()?),
        };
        let user = UserName::new(ROOT).expect("this is a name");
        let operation = Operation::CreateUser { user, password: Some(hash), rank: Rank::Root };
        let made = self.perform_as_server(operation).await;
        made.map_err(|failure| StartError::Root(failure.message().to_owned()))?;
        Ok(())
    }

    /// Makes up a password, and a file with it first: an account with a password that nobody knows
    /// would be of no use.
    fn tell_password(&self) -> Result<String, StartError> {
        let (password, path) = (random_hex(16), self.directory().join(PASSWORD_FILE));
        write(self.directory(), &path, &password)
            .map_err(|source| StartError::Password { path: path.clone(), source })?;
        tracing::info!(file = %path.display(), "the first password of `root` is there");
        Ok(password)
    }
}

/// Writes `password` where only we can read it, and has both the file and its name on the disk.
fn write(directory: &Path, path: &Path, password: &str) -> io::Result<()> {
    drop(fs::remove_file(path));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{password}")?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}
