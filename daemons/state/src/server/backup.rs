//! Copies of everything, made while it is used.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use daemon::{Failure, Guest, Session, causes};
use journal::{BackupError, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::{
    Server,
    offline::{files, sync},
    visitor::Visitor,
};

/// Where backups are in the data directory.
const BACKUPS: &str = "backups";

impl Server {
    /// Copies what is durable to a directory of that name, which `state restore` takes.
    pub(super) async fn backup(
        &self,
        guest: Guest,
        me: Session<Visitor>,
        name: String,
    ) -> Result<Value, Failure> {
        self.needs_root(&guest, &me, self.commits().durable())?;
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        if name.is_empty()
            || name.starts_with('.')
            || name.len() > 64
            || !name.chars().all(is_plain)
        {
            let message = "a backup is called by 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(Failure::bad_argument(0, "string", message));
        }
        let (folder, journal) = (self.directory().join(BACKUPS), Arc::clone(&self.journal));
        let path = folder.join(name);
        if path.exists() {
            return Err(exists());
        }
        let work = spawn_blocking(move || copy(&journal, &folder, path));
        work.await.map_err(|error| Failure::internal(error.to_string()))?
    }
}

fn copy(journal: &Store, folder: &Path, path: PathBuf) -> Result<Value, Failure> {
    make(folder)?;
    let made = journal.backup(&path).map_err(|it| match it {
        BackupError::Exists { .. } => exists(),
        other => Failure::internal(causes(&other)),
    })?;
    let files = files(&path).map_err(|it| Failure::internal(causes(&it)))?;
    let sum = digest(&files)?;
    Ok(json!({ "file": path, "rev": made.revision, "bytes": made.bytes, "sha256": sum }))
}

/// Makes the folder of all backups, durably, unless it is there.
fn make(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(folder)?;
    let parent = folder.parent().unwrap_or(folder);
    sync(parent).map_err(|it| Failure::internal(causes(&it)))
}

fn exists() -> Failure {
    Failure::new("exists", "there is a backup of that name")
}

/// What `cat DIRECTORY/* | sha256sum` tells.
fn digest(files: &[PathBuf]) -> io::Result<String> {
    let (mut digest, mut chunk) = (Sha256::new(), vec![0; 1 << 16]);
    for path in files {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => digest.update(&chunk[..read]),
            }
        }
    }
    Ok(digest.finalize().iter().map(|it| format!("{it:02x}")).collect())
}
