//! `cargo xtask soak power`: the power fails at every moment of a disk's life.
//!
//! State runs on a file system of its own, on a disk that records every block that is written and
//! every flush. Then images are made of what was on that disk at some moment: all that was flushed,
//! and of what came after the last flush all, or any part of it in any order. From each a State is
//! started, which must have every change that was acknowledged or told before that moment, and none
//! of them by half.

mod disk;
mod record;
mod server;
mod writers;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    thread::sleep,
    time::Duration,
};

use clap::Args;

use self::{
    disk::{Disk, DiskError, Mounted},
    record::{Record, RecordError},
    server::{Server, ServerError},
    writers::{Told, Writers},
};
use super::hostile::blows::Dice;
use crate::{
    step::{self, StepError, announce, say},
    tools::{self, Tool, ToolError},
    workspace::{cargo, target},
};

const TOOLS: [Tool; 3] = [
    Tool { program: "qemu-storage-daemon", package: "qemu-utils" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    Tool { program: "losetup", package: "mount" },
];

#[derive(Args)]
pub(crate) struct Power {
    /// How many moments are looked at
    #[arg(default_value_t = 200)]
    moments: u64,

    /// How long is written, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,

    /// Of which moments and parts; the same number chooses the same again from the same record
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PowerError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error(transparent)]
    Step(#[from] StepError),

    #[error(transparent)]
    Disk(#[from] DiskError),

    #[error(transparent)]
    Record(#[from] RecordError),

    #[error(transparent)]
    Server(#[from] ServerError),

    #[error("cannot use `{}`", path.display())]
    Folder { path: PathBuf, source: io::Error },

    #[error("of {moments} moments {broken} break a promise")]
    Broken { broken: usize, moments: u64 },
}

/// Records, and looks at as many moments as are asked for.
pub(crate) fn power(arguments: &Power) -> Result<(), PowerError> {
    announce("building the state server");
    step::run(&mut cargo(["build", "--release", "--package", "state-daemon"]))?;
    tools::ensure(&TOOLS)?;
    let folder = Folder::new()?;
    let told = record(&folder.0, arguments)?;
    let record = Record::read(&disk::record_of(&folder.0))?;
    let begun = told.begun;
    say(&format!(
        "    {} changes acknowledged and {} told by {} blocks and {} flushes",
        told.acknowledged(),
        told.heard(),
        record.blocks(),
        record.flushes()
    ));
    announce(&format!("{} moments", arguments.moments));
    let mut dice = Dice::new(arguments.seed);
    let mut broken = 0;
    for moment in 0..arguments.moments {
        let image = folder.0.join("image");
        let end = record.moment_after(begun, &mut dice);
        // Every other one is a disk that writes what it was given in another order.
        let lost = record.image(&image, end, moment % 2 == 1, &mut dice)?;
        if let Err(why) = look(&folder.0, &image, &told, end) {
            broken += 1;
            say(&format!("BROKEN: at byte {end} of the record, {lost} blocks lost: {why}"));
        }
    }
    match broken {
        0 => say("every change that was acknowledged or told is there, and none is half there"),
        _ => return Err(PowerError::Broken { broken, moments: arguments.moments }),
    }
    Ok(())
}

/// Has State write on the disk that records.
fn record(folder: &Path, arguments: &Power) -> Result<Told, PowerError> {
    announce(&format!("recording {} s of a disk", arguments.seconds));
    let disk = Disk::start(folder)?;
    let server = Server::start(disk.path())?;
    let writers = Writers::start(&server, &disk::record_of(folder))?;
    sleep(Duration::from_secs(arguments.seconds));
    // The power goes for the server as well; what it writes at its end is not looked at.
    drop(server);
    let told = writers.end();
    disk.end()?;
    Ok(told)
}

/// What is wrong with what was on the disk when the power went.
fn look(folder: &Path, image: &Path, told: &Told, end: u64) -> Result<(), String> {
    let mounted = Mounted::new(image, &folder.join("mounted")).map_err(|it| chain(&it))?;
    let server = Server::start(mounted.path()).map_err(|it| chain(&it))?;
    let found = server.found().map_err(|it| chain(&it))?;
    told.compare(end, &found)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said += &format!(": {error}");
        source = error.source();
    }
    said
}

/// Where all of it lies; goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, PowerError> {
        let path = target().join(format!("power-{}", process::id()));
        let made = fs::create_dir_all(&path);
        made.map_err(|source| PowerError::Folder { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
