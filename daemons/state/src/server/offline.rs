//! What is done with a data directory that no daemon serves.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use daemon::{Data, DataError, flags::Flags};
use journal::{Look, OpenError, Options, Report, Store};

use super::{
    now,
    store::{self, BeginError, LoadError},
};

/// Where the journal is in the data directory.
pub(super) const JOURNAL: &str = "journal";

/// Where a backup is until it takes the place of the journal.
const RESTORED: &str = "journal.restored";

/// How the names of journals begin whose place was taken.
const BEFORE: &str = "journal.before-";

/// What is to be done instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Offline {
    /// Reads and checks everything that is stored, and changes nothing
    Check,
    /// Begins anew from a backup; what was there before is kept beside it
    Restore {
        /// The folder of a backup, as `backup` makes one
        folder: PathBuf,
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

    #[error(transparent)]
    Journal(#[from] OpenError),

    #[error("there is no journal in `{}`", path.display())]
    NoJournal { path: PathBuf },

    #[error(
        "there is no `{}`, but `{}`, as after a restore or an import that was stopped: \
         restore again, or give the one that is meant its name",
        path.display(), beside.display()
    )]
    Between { path: PathBuf, beside: PathBuf },

    #[error("`{}` is damaged: {}", path.display(), damage.join("; "))]
    Damaged { path: PathBuf, damage: Vec<String> },

    #[error(transparent)]
    Load(#[from] LoadError),

    #[error(transparent)]
    Begin(#[from] BeginError),

    #[error("there is nothing at {0:?}")]
    Absent(state::Path),

    #[error(transparent)]
    Import(#[from] super::import::ImportError),

    #[error("cannot {act} `{}`", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
}

/// Does it; what is to be printed.
pub(crate) async fn run(offline: &Offline, flags: &Flags) -> Result<String, OfflineError> {
    let path = flags.data_path("State").ok_or(OfflineError::NoData)?;
    match offline {
        // Without the lock of the directory: it makes nothing, not even that.
        Offline::Check => check(&path).await,
        Offline::Restore { folder } => restore(Data::open(&path)?.path(), folder).await,
        Offline::Export { path: part } => {
            let data = whole_data(&path)?;
            super::export::run(data.path(), part.as_ref()).await
        }
        Offline::Import { file, leilo } => {
            let data = whole_data(&path)?;
            super::import::run(data.path(), file, *leilo).await
        }
    }
}

/// The directory, unless it waits for a restore to be done.
fn whole_data(path: &Path) -> Result<Data, OfflineError> {
    let data = Data::open(path)?;
    is_not_between(data.path())?;
    Ok(data)
}

async fn check(data: &Path) -> Result<String, OfflineError> {
    is_not_between(data)?;
    let Report { snapshot, first, last, segments, bytes, torn, .. } =
        whole(&data.join(JOURNAL), Look::at).await?;
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

/// What is in a journal that has no damage, and from which a state can be had.
async fn whole(
    path: &Path,
    look: impl FnOnce(&Path) -> Result<Look, OpenError>,
) -> Result<Report, OfflineError> {
    if !path.is_dir() {
        return Err(OfflineError::NoJournal { path: path.to_owned() });
    }
    let look = look(path)?;
    let report = look.report();
    if !report.damage.is_empty() {
        let damage = report.damage.iter().map(ToString::to_string).collect();
        return Err(OfflineError::Damaged { path: path.to_owned(), damage });
    }
    if report.segments == 0 {
        return Err(OfflineError::NoJournal { path: path.to_owned() });
    }
    store::view(&look).await?;
    Ok(report.clone())
}

/// Puts the backup in the place of the journal. Each step leaves one of the two there, or none and
/// both beside it, with which nothing starts.
async fn restore(data: &Path, backup: &Path) -> Result<String, OfflineError> {
    let rev = whole(backup, Look::at_backup).await?.last;
    let (place, fresh) = (data.join(JOURNAL), data.join(RESTORED));
    let before = data.join(format!("{BEFORE}{}", now()));
    if fresh.exists() {
        done("remove", &fresh, fs::remove_dir_all(&fresh))?;
    }
    copy(backup, &fresh)?;
    begin_history(&fresh).await?;
    let mut said = format!("restored to revision {rev}");
    if place.exists() {
        done("rename", &place, fs::rename(&place, &before))?;
        said += &format!("; what was there is in `{}`", before.display());
    }
    done("rename", &fresh, fs::rename(&fresh, &place))?;
    sync(data)?;
    Ok(said)
}

/// What comes behind the backup is not what came behind it before.
async fn begin_history(journal: &Path) -> Result<(), OfflineError> {
    let journal = Store::open(journal, Options::default())?;
    let begun = store::begin_history(&journal).await;
    journal.close();
    Ok(begun?)
}

/// Refuses a directory in which a restore was stopped between its two renames: a new journal must
/// not take the place of both.
pub(super) fn is_not_between(data: &Path) -> Result<(), OfflineError> {
    if data.join(JOURNAL).exists() || !data.exists() {
        return Ok(());
    }
    let is_beside = |it: &PathBuf| {
        let name = it.file_name().unwrap_or_default().to_string_lossy();
        name == RESTORED || name.starts_with(BEFORE)
    };
    match files(data)?.into_iter().find(is_beside) {
        Some(beside) => Err(OfflineError::Between { path: data.join(JOURNAL), beside }),
        None => Ok(()),
    }
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), OfflineError> {
    done("make", to, DirBuilder::new().mode(0o700).create(to))?;
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

#[cfg(test)]
mod tests {
    use journal::{Expected, Journal, Options, Record, Store};

    use super::*;

    #[tokio::test]
    async fn records_from_which_no_state_can_be_had_are_found() {
        let home = tempfile::tempdir().unwrap();
        let journal = Store::open(&home.path().join(JOURNAL), Options::default()).unwrap();
        journal.append(Record::new(b"not ours"), Expected::Any).unwrap();
        drop(journal);
        let found = check(home.path()).await.unwrap_err();
        let is_first = |it: &LoadError| matches!(it, LoadError::Record { revision: 1, .. });
        assert!(matches!(&found, OfflineError::Load(it) if is_first(it)), "{found:?}");
        let OfflineError::Load(error) = found else { return };
        assert!(error.is_damage());
    }
}
