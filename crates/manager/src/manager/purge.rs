//! What is removed with a daemon. That may be a lot, so it is put aside at once, out of the way of
//! who is installed next, and removed by a task.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::Manager;
use crate::{name::Name, time};

impl Manager {
    /// Removes what a daemon has left: its logs.
    pub(super) fn purge(&mut self, name: &Name) {
        let logs = self.paths.daemon_logs(name);
        match put_aside(&logs, &self.paths.purged(), name) {
            Ok(()) => self.remove_purged(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, logs = %logs.display(), "cannot remove logs"),
        }
    }

    /// Removes all that was put aside, by an earlier manager too.
    pub(super) fn remove_purged(&mut self) {
        let purged = self.paths.purged();
        self.tasks.spawn(async move {
            if let Ok(Err(error)) = spawn_blocking(move || remove_all_in(&purged)).await {
                tracing::warn!(%error, "cannot remove what was put aside; the next manager tries again");
            }
        });
    }
}

fn put_aside(logs: &Path, purged: &Path, name: &Name) -> io::Result<()> {
    // Without it there is nothing to make a place for.
    fs::symlink_metadata(logs)?;
    DirBuilder::new().recursive(true).mode(0o700).create(purged)?;
    let free = |number: &PathBuf| !number.exists();
    let mut places = (time::now_ms()..).map(|number| purged.join(format!("{name}-{number}")));
    let place = places.find(free).ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(logs, place)
}

fn remove_all_in(purged: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(purged) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        match fs::remove_dir_all(entry?.path()) {
            // Two may be at it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
