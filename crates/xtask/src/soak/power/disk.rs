//! A disk that records what is written to it, and disks made from the record.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    bench::clock::now,
    step::{self, StepError},
};

/// How large it is.
pub(crate) const BYTES: u64 = 96 << 20;

/// How long the disk may take to be there, and how often that is looked at: nothing tells it.
const PATIENCE: Duration = Duration::from_secs(10);
const PERIOD: Duration = Duration::from_millis(20);

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Step(#[from] StepError),

    #[error("cannot make the disk in `{}`", path.display())]
    Make { path: PathBuf, source: io::Error },

    #[error("the disk was not there within {PATIENCE:?}")]
    Absent,

    #[error("cannot end the disk")]
    End(#[source] io::Error),
}

/// Where the record of a disk in `folder` is.
pub(crate) fn record_of(folder: &Path) -> PathBuf {
    folder.join("record")
}

/// The disk, with a file system on it that is mounted.
pub(crate) struct Disk {
    mounted: Option<Mounted>,
    blocks: Child,
}

impl Disk {
    pub(crate) fn start(folder: &Path) -> Result<Self, DiskError> {
        let made = |source| DiskError::Make { path: folder.to_owned(), source };
        let (disk, record, export) =
            (folder.join("disk"), record_of(folder), folder.join("export"));
        File::create(&disk).and_then(|it| it.set_len(BYTES)).map_err(made)?;
        for path in [&record, &export] {
            File::create(path).map_err(made)?;
        }
        let mut command = Command::new("qemu-storage-daemon");
        for node in [
            format!("driver=file,node-name=disk,filename={}", disk.display()),
            format!("driver=file,node-name=record,filename={}", record.display()),
            "driver=blklogwrites,node-name=both,file=disk,log=record".to_owned(),
        ] {
            command.arg("--blockdev").arg(node);
        }
        let export_as = format!(
            "type=fuse,id=export,node-name=both,mountpoint={},writable=on,growable=off",
            export.display()
        );
        let blocks = command.arg("--export").arg(export_as).stdin(Stdio::null()).spawn();
        let mut disk = Self { mounted: None, blocks: blocks.map_err(made)? };
        disk.wait(&export)?;
        step::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&export))?;
        disk.mounted = Some(Mounted::new(&export, &folder.join("recording"))?);
        Ok(disk)
    }

    fn wait(&self, export: &Path) -> Result<(), DiskError> {
        let begun = now();
        while fs::metadata(export).map_or(0, |it| it.len()) != BYTES {
            if now() - begun > PATIENCE {
                return Err(DiskError::Absent);
            }
            sleep(PERIOD);
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.as_ref().map_or(Path::new("/nonexistent"), Mounted::path)
    }

    /// Ends it in order, so that the record says how much is in it.
    pub(crate) fn end(mut self) -> Result<(), DiskError> {
        self.mounted = None;
        self.stop().map_err(DiskError::End)
    }

    /// Our own child, not waited for yet, so the pid is its.
    fn stop(&mut self) -> io::Result<()> {
        let pid = Pid::from_raw(self.blocks.id().cast_signed());
        kill(pid, Signal::SIGTERM).map_err(io::Error::from)?;
        self.blocks.wait().map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.mounted = None;
        if let Ok(None) = self.blocks.try_wait() {
            drop(self.stop());
        }
    }
}

/// The file system in a file, mounted as long as this lives.
pub(crate) struct Mounted {
    device: String,
    folder: PathBuf,
}

impl Mounted {
    pub(crate) fn new(file: &Path, folder: &Path) -> Result<Self, DiskError> {
        let made = |source| DiskError::Make { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(made)?;
        let device = step::output(Command::new("losetup").args(["--show", "-f"]).arg(file))?;
        let device = String::from_utf8_lossy(&device).trim().to_owned();
        let mounted = Self { device, folder: folder.to_owned() };
        step::run(Command::new("mount").arg(&mounted.device).arg(folder))?;
        Ok(mounted)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Not mounted at all if that failed.
        drop(step::output(Command::new("umount").arg(&self.folder).stderr(Stdio::null())));
        drop(step::run(Command::new("losetup").args(["-d", &self.device])));
    }
}
