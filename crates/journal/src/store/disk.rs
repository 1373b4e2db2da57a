//! The files of one directory: all that is asked of a disk, so that a test can be a disk that
//! fails.

use std::{
    fmt::Debug,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustix::{
    fs::{Advice, FallocateFlags, fadvise, fallocate, fdatasync},
    io::{Errno, retry_on_intr},
};

use crate::{DiskError, OpenError};

/// A directory of files.
pub(crate) trait Disk: Debug + Send + Sync {
    fn list(&self) -> Result<Vec<String>, DiskError>;
    /// A new, empty file, in place of one that had its name.
    fn create(&self, name: &str) -> Result<Arc<dyn Stored>, DiskError>;
    fn open(&self, name: &str) -> Result<Arc<dyn Stored>, DiskError>;
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    fn remove(&self, name: &str) -> Result<(), DiskError>;
    /// Makes durable which files there are.
    fn sync(&self) -> Result<(), DiskError>;
    /// How a message names a file.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file.
pub(crate) trait Stored: Debug + Send + Sync {
    fn length(&self) -> Result<u64, DiskError>;
    fn modified(&self) -> Result<SystemTime, DiskError>;
    /// Reads until `buffer` is full or the file ends, and tells how much there was.
    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError>;
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError>;
    /// Makes the file longer by zeros which have their room on the disk. What can't do that does
    /// nothing.
    fn allocate(&self, offset: u64, length: u64) -> Result<(), DiskError>;
    fn truncate(&self, length: u64) -> Result<(), DiskError>;
    /// Makes everything that was written durable.
    fn sync(&self) -> Result<(), DiskError>;
    /// What is read from now on comes from the disk, not from memory, as far as the kernel obliges.
    fn forget(&self);
    /// What is said when something else failed with this file.
    fn failed(&self, act: &'static str, source: io::Error) -> DiskError;
}

/// The file that is locked as long as a journal is in use. It has something in it once there was a
/// journal.
pub(crate) const LOCK: &str = "lock";

/// A directory of the file system, held by a lock.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
    /// `None` for one that was just made and has no second process yet, and for one to be read that
    /// has none.
    lock: Option<File>,
    is_read_only: bool,
}

#[derive(Debug)]
struct Real {
    path: PathBuf,
    file: File,
}

impl Directory {
    /// Makes the directory unless it is there, and takes its lock.
    pub(crate) fn hold(path: &Path) -> Result<Self, OpenError> {
        make(path, true)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(failed("open", &path.join(LOCK)))?;
        let lock = Some(taken(path, lock)?);
        Self::sync_parent(path)?;
        Ok(Self { path: path.to_owned(), handle: opened(path)?, lock, is_read_only: false })
    }

    /// Takes the lock, if there is one, and changes nothing: also where nothing can be written.
    pub(crate) fn look(path: &Path) -> Result<Self, OpenError> {
        let handle = opened(path)?;
        let lock = match File::open(path.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(taken(path, file.map_err(failed("open", &path.join(LOCK)))?)?),
        };
        Ok(Self { path: path.to_owned(), handle, lock, is_read_only: true })
    }

    /// Makes a directory that must not be there yet.
    pub(crate) fn fresh(path: &Path) -> Result<Self, DiskError> {
        make(path, false)?;
        let handle = opened(path)?;
        Ok(Self { path: path.to_owned(), handle, lock: None, is_read_only: false })
    }

    /// Makes durable that `path` is there.
    pub(crate) fn sync_parent(path: &Path) -> Result<(), DiskError> {
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent).and_then(|it| it.sync_all()).map_err(failed("sync", parent))
    }

    fn with(&self, name: &str, options: &OpenOptions) -> io::Result<Arc<dyn Stored>> {
        let path = self.path.join(name);
        Ok(Arc::new(Real { file: options.open(&path)?, path }))
    }
}

impl Drop for Directory {
    /// A child that is just being started has a copy of the lock, which would hold it a while
    /// longer.
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            lock.unlock().ok();
        }
    }
}

impl Disk for Directory {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let names = fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|it| Ok(it?.file_name().into_string())).collect::<io::Result<Vec<_>>>()
        });
        Ok(names.map_err(failed("list", &self.path))?.into_iter().flatten().collect())
    }

    fn create(&self, name: &str) -> Result<Arc<dyn Stored>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        self.with(name, &options).map_err(failed("create", &self.path.join(name)))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Stored>, DiskError> {
        let file = self.with(name, OpenOptions::new().read(true).write(!self.is_read_only));
        file.map_err(failed("open", &self.path.join(name)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let from = self.path.join(from);
        fs::rename(&from, self.path.join(to)).map_err(failed("rename", &from))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(failed("remove", &path))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.handle.sync_all().map_err(failed("sync", &self.path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Stored for Real {
    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(failed("look at", &self.path))?.len())
    }

    fn modified(&self) -> Result<SystemTime, DiskError> {
        let modified = self.file.metadata().and_then(|it| it.modified());
        modified.map_err(failed("look at", &self.path))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(length) => done += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path)(error)),
            }
        }
        Ok(done)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(failed("write", &self.path))
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let allocate = || fallocate(&self.file, FallocateFlags::empty(), offset, length);
        match retry_on_intr(allocate) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(failed("allocate", &self.path)(error.into())),
        }
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_len(length).map_err(failed("truncate", &self.path))
    }

    fn sync(&self) -> Result<(), DiskError> {
        retry_on_intr(|| fdatasync(&self.file))
            .map_err(|error| failed("sync", &self.path)(error.into()))
    }

    fn forget(&self) {
        fadvise(&self.file, 0, None, Advice::DontNeed).ok();
    }

    fn failed(&self, act: &'static str, source: io::Error) -> DiskError {
        failed(act, &self.path)(source)
    }
}

/// A directory for nobody else. That it is there is durable, and so are those above it.
fn make(path: &Path, may_exist: bool) -> Result<(), DiskError> {
    let is_missing = |it: &&Path| !it.as_os_str().is_empty() && !it.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    let made = DirBuilder::new().recursive(may_exist).mode(0o700).create(path);
    made.map_err(failed("make", path))?;
    missing.into_iter().try_for_each(Directory::sync_parent)
}

fn opened(path: &Path) -> Result<File, DiskError> {
    File::open(path).map_err(failed("open", path))
}

/// The lock of the directory `path`, unless another process has it.
fn taken(path: &Path, lock: File) -> Result<File, OpenError> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Held { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path.join(LOCK))(error).into()),
    }
}

pub(crate) fn failed(act: &'static str, file: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError { act, file: file.to_owned(), source }
}
