//! `state export`: a line for each thing, so that nothing holds all of it at once.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use journal::Store;
use serde::{Deserialize, Serialize};
use state::{Revision, State, record::Change};

use super::{
    offline::{JOURNAL, OfflineError},
    store,
};

/// The first line: what follows, and since when.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// The form of all lines.
    pub(super) state: u8,
    /// The part of the tree that it is; `[]` is everything.
    pub(super) path: state::Path,
    rev: Revision,
}

/// The last line: without it something is missing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// How many lines stand between the first and this one.
    pub(super) end: u64,
}

/// The form that is written, and the only one that is read.
pub(super) const FORM: u8 = 1;

/// Prints everything, or what is at and below `path`.
pub(super) async fn run(data: &Path, path: Option<&state::Path>) -> Result<String, OfflineError> {
    let journal = Store::open(&data.join(JOURNAL), journal::Options::default())?;
    let (state, _) = store::load(&journal).await?;
    let path = path.cloned().unwrap_or_default();
    if state.root().at(&path).is_none() {
        return Err(OfflineError::Absent(path));
    }
    let written = write(&state, path, &mut BufWriter::new(io::stdout().lock()));
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => {
            let path = "standard output".into();
            other.map_err(|source| OfflineError::File { act: "write to", path, source })?;
        }
    }
    Ok(String::new())
}

fn write(state: &State, path: state::Path, to: &mut impl Write) -> io::Result<()> {
    line(to, &Head { state: FORM, path: path.clone(), rev: state.revision() })?;
    let mut lines = 0;
    state.export(&path, |change: Change| {
        lines += 1;
        line(to, &change)
    })?;
    line(to, &End { end: lines })?;
    to.flush()
}

fn line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}
