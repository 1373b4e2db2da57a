//! One file takes the place of another, with a copy of the old one kept: whenever it is
//! interrupted, there is a whole file at `path`, the old or the new.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::StoreError;

/// `registry.toml` → `registry.toml.SUFFIX`, in the same directory, since only there a rename is
/// atomic.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// A replacement on its way.
pub(super) struct Replacement {
    path: PathBuf,
    content: String,
    new: PathBuf,
    link: PathBuf,
    previous: PathBuf,
    file: Option<File>,
}

type Step = fn(&mut Replacement) -> io::Result<()>;

/// What is done, in order, and how a failure is told.
pub(super) const STEPS: [(&str, Step); 7] = [
    ("clear the way for", Replacement::clear),
    ("create a new", Replacement::create),
    ("write a new", Replacement::write),
    ("sync a new", Replacement::sync),
    ("keep the old", Replacement::keep),
    ("replace", Replacement::rename),
    ("sync the directory of", Replacement::sync_directory),
];

impl Replacement {
    pub(super) fn new(path: &Path, content: String) -> Self {
        Self {
            path: path.to_owned(),
            content,
            new: beside(path, "new"),
            link: beside(path, "prev.new"),
            previous: beside(path, "prev"),
            file: None,
        }
    }

    /// Goes all the way, or leaves the old file and as little else as possible.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        for (name, step) in STEPS {
            if let Err(error) = step(&mut self) {
                // The space may be what is missing; whether this works changes nothing.
                drop(self.clear());
                return Err(failed(name, &self.path, error));
            }
        }
        Ok(())
    }

    /// Removes what an interrupted replacement left. There is no other one now: the manager holds
    /// its lock.
    fn clear(&mut self) -> io::Result<()> {
        self.file = None;
        remove_if_there(&self.new)?;
        remove_if_there(&self.link)
    }

    fn create(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // `create_new` is O_EXCL, which follows no link either.
        self.file = Some(options.write(true).create_new(true).mode(0o600).open(&self.new)?);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |it| it.write_all(self.content.as_bytes()))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_all)
    }

    fn keep(&mut self) -> io::Result<()> {
        match fs::hard_link(&self.path, &self.link) {
            Ok(()) => fs::rename(&self.link, &self.previous)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Renaming a link over another one to the same file does nothing, by POSIX.
        remove_if_there(&self.link)
    }

    fn rename(&mut self) -> io::Result<()> {
        fs::rename(&self.new, &self.path)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn failed(step: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full { path, source }
        }
        _ => StoreError::Failed { step, path, source },
    }
}
