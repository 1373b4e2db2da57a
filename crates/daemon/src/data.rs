use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A daemon's own directory, mode 0700, held by a lock as long as this lives.
#[derive(Debug)]
pub struct Data {
    path: PathBuf,
    _lock: File,
}

/// Why a daemon can't have its directory.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It can't be made or opened.
    #[error("cannot use the directory `{}`", path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process works on it.
    #[error("another process holds the directory `{}`; two on one would spoil it", path.display())]
    Held {
        /// Which one.
        path: PathBuf,
    },
}

impl Data {
    /// Makes the directory unless it is there, and takes its lock.
    ///
    /// # Errors
    /// [`DataError::Held`] when another process has it, and what the kernel says.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
        make(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::Held { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory, and those above it, unless they are there. What is made is durable: nothing
/// that is kept in it may go with it.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |it: &&Path| !it.as_os_str().is_empty() && !it.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let above = made.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let first = Data::open(&path).unwrap();
        assert!(matches!(Data::open(&path), Err(DataError::Held { .. })));
        drop(first);
        Data::open(&path).unwrap();
    }
}
