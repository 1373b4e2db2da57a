//! `state import`: what was exported, into a copy of the journal that then takes its place. So it
//! happens whole or not at all, and what was there before is kept.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use journal::{AppendError, Expected, Journal, Lost, OpenError, Record as Entry, Store};
use serde::de::DeserializeOwned;
use state::{
    Record, State,
    import::{Import, Misfit},
    leilo::{self, Leilo},
    record::Change,
};

use super::{
    export::{End, FORM, Head},
    now,
    offline::{JOURNAL, OfflineError, copy, done, sync},
    store::{self, BeginError},
};

/// Why nothing was imported. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("cannot read line {line}")]
    Read { line: u64, source: io::Error },

    #[error("line {line} is longer than {LONGEST} bytes")]
    Long { line: u64 },

    #[error("line {line} is not as `state export` writes it")]
    Line { line: u64, source: serde_json::Error },

    #[error("this is form {0}, and this program reads {FORM}")]
    Form(u8),

    #[error("line {line} can't be imported")]
    Misfit { line: u64, source: Misfit },

    #[error("the save file can't be imported")]
    OfLeilo { source: Misfit },

    #[error(transparent)]
    Leilo(#[from] leilo::LeiloError),

    #[error("what is imported ends after line {line}, and not as `state export` ends it")]
    Cut { line: u64 },

    #[error("nobody would be ROOT, and nobody could make anybody so")]
    Rootless,

    #[error("cannot open the copy of the journal")]
    Open(#[from] OpenError),

    #[error(transparent)]
    Begin(#[from] BeginError),

    #[error("cannot write a record")]
    Append(#[from] AppendError),

    #[error("cannot make a record durable")]
    Lost(#[from] Lost),
}

/// The longest line: a value and its path, with much to spare.
const LONGEST: u64 = 64 << 20;

/// Where the copy is until it is whole.
const FRESH: &str = "journal.imported";

/// Imports `file`; how it went.
pub(super) async fn run(data: &Path, file: &Path, leilo: bool) -> Result<String, OfflineError> {
    let source = BufReader::new(done("open", file, File::open(file))?);
    let (place, fresh) = (data.join(JOURNAL), data.join(FRESH));
    if fresh.exists() {
        done("remove", &fresh, fs::remove_dir_all(&fresh))?;
    }
    if place.exists() {
        copy(&place, &fresh)?;
    }
    let imported = fill(&fresh, source, leilo).await;
    if imported.is_err() {
        drop(fs::remove_dir_all(&fresh));
    }
    let mut said = imported?;
    if let Some(before) = exchange(data, &place, &fresh)? {
        said += &format!("; what was there is in `{}`", before.display());
    }
    Ok(said)
}

/// Puts `fresh` where the journal is. Each step leaves one of the two there, or none and both
/// beside it.
fn exchange(data: &Path, place: &Path, fresh: &Path) -> Result<Option<PathBuf>, OfflineError> {
    let before = data.join(format!("journal.before-{}", now()));
    let was_there = place.exists();
    if was_there {
        done("rename", place, fs::rename(place, &before))?;
    }
    done("rename", fresh, fs::rename(fresh, place))?;
    sync(data)?;
    Ok(was_there.then_some(before))
}

async fn fill(fresh: &Path, source: impl BufRead, leilo: bool) -> Result<String, OfflineError> {
    let journal = Store::open(fresh, journal::Options::default()).map_err(ImportError::Open)?;
    // Whoever knows the exported one by its revisions knows nothing of this; and what was here
    // before may be put back one day.
    store::begin_history(&journal).await.map_err(ImportError::Begin)?;
    let (before, _) = store::load(&journal).await?;
    let filled = match leilo {
        false => from_export(&journal, &before, source).await,
        true => from_leilo(&journal, &before, source).await,
    };
    journal.close();
    Ok(filled?)
}

async fn from_export(
    journal: &Store,
    before: &State,
    source: impl BufRead,
) -> Result<String, ImportError> {
    let mut lines = Lines { source, line: 0, bytes: Vec::new() };
    let head: Head = lines.next()?;
    if head.state != FORM {
        return Err(ImportError::Form(head.state));
    }
    let misfit = |line| move |source| ImportError::Misfit { line, source };
    let mut import = Import::new(before, head.path, now()).map_err(misfit(1))?;
    while !lines.is_end()? {
        let change: Change = lines.parsed()?;
        if let Some(record) = import.take(change).map_err(misfit(lines.line))? {
            append(journal, &record).await?;
        }
    }
    finish(journal, import).await
}

async fn from_leilo(
    journal: &Store,
    before: &State,
    source: impl BufRead,
) -> Result<String, ImportError> {
    let Leilo { changes, dropped_users, dropped_entries } = leilo::read(source)?;
    let misfit = |source| ImportError::OfLeilo { source };
    let mut import = Import::new(before, state::Path::ROOT, now()).map_err(misfit)?;
    for change in changes {
        if let Some(record) = import.take(change).map_err(misfit)? {
            append(journal, &record).await?;
        }
    }
    let said = finish(journal, import).await?;
    Ok(format!(
        "{said}; left out: {dropped_users} users that were connections or deleted, \
         {dropped_entries} entries of users or at places that are no more"
    ))
}

async fn finish(journal: &Store, mut import: Import) -> Result<String, ImportError> {
    let state = import.state();
    if state.accounts().next().is_some() && state.root_accounts().next().is_none() {
        return Err(ImportError::Rootless);
    }
    let roots: Vec<String> = state.root_accounts().map(ToString::to_string).collect();
    let nodes = state.root().totals().nodes;
    if let Some(record) = import.record() {
        append(journal, &record).await?;
    }
    let last = journal.last();
    if last.revision > 0 {
        journal.progress().reached(last).await?;
    }
    let mut said = format!("imported, up to revision {}, {nodes} nodes", last.revision);
    if !roots.is_empty() {
        said += &format!(", ROOT: {}", roots.join(", "));
    }
    Ok(said)
}

/// Appends a record; waits where too many wait for the disk.
async fn append(journal: &Store, record: &Record) -> Result<(), ImportError> {
    let (bytes, mut progress) = (record.encode(), journal.progress());
    loop {
        match journal.append(Entry::new(&bytes), Expected::Any) {
            Err(AppendError::Full) => progress.reached(journal.last()).await?,
            other => return Ok(other.map(drop)?),
        }
    }
}

/// The lines of a file, one at a time.
struct Lines<R> {
    source: R,
    /// The number of the last one that was read.
    line: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next<T: DeserializeOwned>(&mut self) -> Result<T, ImportError> {
        self.read()?;
        self.parsed()
    }

    fn parsed<T: DeserializeOwned>(&self) -> Result<T, ImportError> {
        let line = self.line;
        serde_json::from_slice(&self.bytes).map_err(|source| ImportError::Line { line, source })
    }

    /// Reads a line, and tells whether it is the last as an export has it.
    fn is_end(&mut self) -> Result<bool, ImportError> {
        self.read()?;
        // No other line begins like this.
        if !self.bytes.starts_with(b"{\"end\"") {
            return Ok(false);
        }
        let End { end } = self.parsed()?;
        let is_whole = end + 2 == self.line;
        if is_whole { Ok(true) } else { Err(ImportError::Cut { line: self.line }) }
    }

    fn read(&mut self) -> Result<(), ImportError> {
        self.bytes.clear();
        self.line += 1;
        let line = self.line;
        let mut source = self.source.by_ref().take(LONGEST);
        source
            .read_until(b'\n', &mut self.bytes)
            .map_err(|source| ImportError::Read { line, source })?;
        match self.bytes.last() {
            Some(b'\n') => Ok(()),
            _ if self.bytes.len() as u64 == LONGEST => Err(ImportError::Long { line }),
            _ => Err(ImportError::Cut { line: line - 1 }),
        }
    }
}
