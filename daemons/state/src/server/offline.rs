//! What is done with a data directory that no daemon serves.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use daemon::{Data, DataError, flags::Flags};
use journal::{OpenError, Report};

use super::now;

/// Where the journal is in the data directory.
pub(super) const JOURNAL: &str = "journal";

/// What is to be done instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Offline {
    /// Reads and checks everything that is stored, and changes nothing
    Check,
    /// Begins anew from a backup; what was there before is kept beside it
    Restore {
        /// A backup, as `backup` makes one
        file: PathBuf,
    },
    /// Prints everything as lines of JSON, hashes of passwords and tokens too; or a part of the
    /// tree with its entries
    Export {
        /// Which part, such as `["board"]`
        #[arg(value_parser = parse_path)]
        path: Option<state::Path>,
    },
    /// Puts what was exported where nothing is yet; what was there before is kept beside it
    Import {
        /// What `export` has printed
        file: PathBuf,

        /// It is the save file of a leilo-backend
        #[arg(long)]
        leilo: bool,
    },
}

fn parse_path(text: &str) -> Result<state::Path, String> {
    let path = serde_json::from_str(text);
    path.map_err(|error| format!("a path is an array, such as `[\"board\"]`: {error}"))
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    #[error("there is no home directory, so say `--data DIR`")]
    NoData,

    #[error(transparent)]
    Data(#[from] DataError),

    #[error("cannot read the journal")]
    Journal(#[from] OpenError),

    #[error("`{}` is damaged: {}", path.display(), damage.join("; "))]
    Damaged { path: PathBuf, damage: Vec<String> },

    #[error(transparent)]
    Load(#[from] super::store::LoadError),

    #[error("there is nothing at {0:?}")]
    Absent(state::Path),

    #[error(transparent)]
    Import(#[from] super::import::ImportError),

    #[error("cannot {act} `{}`", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
}

/// Does it; what is to be printed.
pub(crate) async fn run(offline: &Offline, flags: &Flags) -> Result<String, OfflineError> {
    let data = Data::open(&flags.data_path("State").ok_or(OfflineError::NoData)?)?;
    match offline {
        Offline::Check => check(&data.path().join(JOURNAL)),
        Offline::Restore { file } => restore(data.path(), file),
        Offline::Export { path } => super::export::run(data.path(), path.as_ref()).await,
        Offline::Import { file, leilo } => super::import::run(data.path(), file, *leilo).await,
    }
}

fn check(path: &Path) -> Result<String, OfflineError> {
    let Report { snapshot, first, last, segments, bytes, torn, .. } = whole(path)?;
    let mut said = match snapshot {
        Some(rev) => format!("a snapshot of revision {rev}, "),
        None => String::new(),
    };
    said += &format!("records {first} to {last} in {segments} files, {bytes} bytes: all is well");
    if let Some(torn) = torn {
        let (file, offset) = (torn.file.display(), torn.offset);
        said += &format!(
            "\n`{file}` is torn at offset {offset}, as by a crash; what nobody was told of is \
             dropped at the next start"
        );
    }
    Ok(said)
}

/// What is in a journal without damage.
fn whole(path: &Path) -> Result<Report, OfflineError> {
    let report = journal::check(path)?;
    if report.damage.is_empty() {
        return Ok(report);
    }
    let damage = report.damage.iter().map(ToString::to_string).collect();
    Err(OfflineError::Damaged { path: path.to_owned(), damage })
}

/// Puts the backup in the place of the journal. Each step leaves one of the two there, or none and
/// both beside it.
fn restore(data: &Path, backup: &Path) -> Result<String, OfflineError> {
    let rev = whole(backup)?.last;
    let (place, fresh) = (data.join(JOURNAL), data.join("journal.restored"));
    let before = data.join(format!("journal.before-{}", now()));
    if fresh.exists() {
        done("remove", &fresh, fs::remove_dir_all(&fresh))?;
    }
    copy(backup, &fresh)?;
    let mut said = format!("restored to revision {rev}");
    if place.exists() {
        done("rename", &place, fs::rename(&place, &before))?;
        said += &format!("; what was there is in `{}`", before.display());
    }
    done("rename", &fresh, fs::rename(&fresh, &place))?;
    sync(data)?;
    Ok(said)
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), OfflineError> {
    done("make", to, fs::create_dir(to))?;
    for path in files(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        done("copy", &path, fs::copy(&path, &target))?;
        sync(&target)?;
    }
    sync(to)
}

/// The files in a directory, by name.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, OfflineError> {
    let read = || fs::read_dir(path)?.map(|it| Ok(it?.path())).collect::<io::Result<Vec<_>>>();
    let mut files = done("read", path, read())?;
    files.sort();
    Ok(files)
}

pub(super) fn sync(path: &Path) -> Result<(), OfflineError> {
    done("sync", path, File::open(path).and_then(|it| it.sync_all()))
}

pub(super) fn done<T>(
    act: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> Result<T, OfflineError> {
    result.map_err(|source| OfflineError::File { act, path: path.to_owned(), source })
}
