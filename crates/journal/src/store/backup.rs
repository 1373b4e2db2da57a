//! A copy of what is durable.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    disk::{Directory, Disk, failed},
    name::{name, revisions},
    record::{Frame, Kind},
    segment::{self, examine, read_all},
    shelf::Shelf,
    snapshot_file,
};
use crate::{BackupError, Check, Damage, DiskError, Revision};

/// The file that is written last and tells of all others: who copies the copy may stop half way.
pub(crate) const END: &str = "backup.end";

/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// A copy that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last record in it.
    pub revision: Revision,
    /// How large it is.
    pub bytes: u64,
}

/// A copy on its way, which goes when it is not finished.
struct Partial(PathBuf);

impl Shelf {
    pub(crate) fn backup(&self, directory: &Path) -> Result<Backup, BackupError> {
        // One at a time, so what is there of another one is nobody's any more.
        let _files = self.hold();
        if directory.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { path: directory.to_owned() });
        }
        let partial = Partial::of(directory)?;
        let backup = self.copy(&Directory::fresh(&partial.0)?)?;
        fs::rename(&partial.0, directory).map_err(failed("rename", &partial.0))?;
        Directory::sync_parent(directory)?;
        Ok(backup)
    }

    /// Copies all that is durable now. Nothing may be removed meanwhile.
    fn copy(&self, target: &dyn Disk) -> Result<Backup, BackupError> {
        let revision = self.queue.durable();
        if let Some(newest) = self.newest()? {
            self.copy_file(target, &name(newest, snapshot_file::EXTENSION))?;
        }
        let mut segments = revisions(&self.disk.list()?, segment::EXTENSION);
        // A segment that has just been begun need not have anything durable.
        segments.retain(|it| *it <= revision.max(1));
        let last = segments.pop();
        for full in segments {
            self.copy_file(target, &name(full, segment::EXTENSION))?;
        }
        if let Some(last) = last {
            self.copy_last(target, last, revision)?;
        }
        let told = contents(target, revision)?;
        write(target, END, told.text.as_bytes())?;
        target.sync()?;
        Ok(Backup { revision, bytes: told.bytes })
    }

    fn copy_file(&self, target: &dyn Disk, name: &str) -> Result<(), DiskError> {
        let (from, to) = (self.disk.open(name)?, target.create(name)?);
        let (mut buffer, mut at) = (vec![0; CHUNK], 0);
        loop {
            let length = from.read(&mut buffer, at)?;
            to.write(&buffer[..length], at)?;
            at += length as u64;
            if length < CHUNK {
                return to.sync();
            }
        }
    }

    /// The part of a segment that is durable, all of which must be there; the writer may just be
    /// writing behind it. A mark at its end says that none of it may be torn.
    fn copy_last(
        &self,
        target: &dyn Disk,
        first: Revision,
        until: Revision,
    ) -> Result<(), BackupError> {
        let name = name(first, segment::EXTENSION);
        let damage = |offset, check| Damage { file: self.disk.path(&name), offset, check };
        let mut bytes = Vec::new();
        read_all(&*self.disk.open(&name)?, &mut bytes)?;
        let found = examine(&bytes, self.id, first, until, |_| {});
        let found = found.map_err(|it| damage(it.offset, it.check))?;
        if found.next <= until {
            return Err(damage(found.end, Check::Whole { first: found.next }).into());
        }
        bytes.truncate(found.end as usize);
        Frame::mark(Kind::Mark, found.next).encode(self.id, &mut bytes);
        Ok(write(target, &name, &bytes)?)
    }
}

impl Partial {
    /// Under another name than anybody gives a backup; what is left of one that was killed goes.
    fn of(directory: &Path) -> Result<Self, DiskError> {
        let mut name = OsString::from(".");
        name.push(directory.file_name().unwrap_or_default());
        name.push(".partial");
        let path = directory.with_file_name(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(Self(path)),
        }
    }
}

impl Drop for Partial {
    /// On a full disk it takes the room that is missing. It has another name when it is finished.
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// What the file at the end tells.
struct Contents {
    text: String,
    /// How large all files are.
    bytes: u64,
}

/// What is to be told of the files in a backup up to `revision`.
fn contents(disk: &dyn Disk, revision: Revision) -> Result<Contents, DiskError> {
    let mut told = Contents { text: format!("backup 1\nrevision {revision}\n"), bytes: 0 };
    let names = disk.list()?;
    for extension in [snapshot_file::EXTENSION, segment::EXTENSION] {
        for revision in revisions(&names, extension) {
            let name = name(revision, extension);
            let bytes = disk.open(&name)?.length()?;
            told.text += &format!("{bytes} {name}\n");
            told.bytes += bytes;
        }
    }
    Ok(told)
}

/// Whether a backup that ends with `last` is not all that was copied.
pub(crate) fn incomplete(disk: &dyn Disk, last: Revision) -> Result<Option<Damage>, DiskError> {
    let mut found = Vec::new();
    if disk.list()?.iter().any(|it| it == END) {
        read_all(&*disk.open(END)?, &mut found)?;
    }
    let is_whole = found == contents(disk, last)?.text.as_bytes();
    Ok((!is_whole).then(|| Damage { file: disk.path(END), offset: 0, check: Check::Copy }))
}

fn write(target: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let file = target.create(name)?;
    file.write(bytes, 0)?;
    file.sync()
}
