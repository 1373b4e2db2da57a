//! A journal in a directory that goes with the test.

use std::{
    future::Future,
    io::{Read, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use journal::{Expected, Journal, Memory, Options, Receipt, Record, Revision, Store};
use tempfile::TempDir;

/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small segments, so that there are several.
pub(crate) const SMALL: Options = Options {
    segment_bytes: 512,
    record_bytes: 4 << 20,
    queue_bytes: 8 << 20,
    commit_delay: Duration::ZERO,
};

pub(crate) struct Lab(TempDir);

impl Lab {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.path(), SMALL).unwrap()
    }

    /// The names of all files that end so, in order.
    pub(crate) fn files(&self, end: &str) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.path()).unwrap().map(|it| it.unwrap().path());
        let mut all: Vec<_> = all.filter(|it| it.to_str().unwrap().ends_with(end)).collect();
        all.sort();
        all
    }
}

/// Runs a future on a runtime like that of a daemon.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let patient = async { tokio::time::timeout(PATIENCE, future).await };
    runtime.block_on(patient).expect("it came in time")
}

/// Both kinds, empty; what holds for the trait must hold for each.
pub(crate) fn both(check: impl Fn(Arc<dyn Journal>)) {
    let lab = Lab::new();
    check(Arc::new(lab.open()));
    check(Arc::new(Memory::new()));
}

pub(crate) fn append(journal: &dyn Journal, text: &str) -> Receipt {
    journal.append(Record::new(text.as_bytes()), Expected::Any).unwrap()
}

/// Appends `count` records that tell their revision, and waits until they are durable.
pub(crate) fn fill(journal: &dyn Journal, count: usize) -> Receipt {
    for _ in 0..count {
        let revision = journal.last().revision + 1;
        append(journal, &text(revision));
        run(journal.progress().reached(journal.last())).unwrap();
    }
    journal.last()
}

/// Appends `count` such records at once.
pub(crate) fn line_up(journal: &dyn Journal, count: u64) -> Receipt {
    (1..=count).for_each(|it| {
        append(journal, &text(it));
    });
    journal.last()
}

/// What [`fill`] writes as `revision`.
pub(crate) fn text(revision: Revision) -> String {
    format!("{revision}: {}", "x".repeat(40))
}

/// Everything durable from `from` on.
pub(crate) fn read(journal: &dyn Journal, from: Revision) -> Vec<(Revision, String)> {
    let durable = journal.progress().durable();
    let mut follow = journal.follow(from).unwrap();
    let mut all = Vec::new();
    while follow.position() <= durable {
        let batch = run(follow.next()).unwrap();
        let texts =
            batch.iter().map(|it| (it.revision, str::from_utf8(it.bytes).unwrap().to_owned()));
        all.extend(texts);
    }
    all
}

/// What [`fill`] has written from one revision to another.
pub(crate) fn texts(from: Revision, to: Revision) -> Vec<(Revision, String)> {
    (from..=to).map(|it| (it, text(it))).collect()
}

pub(crate) fn write_snapshot(journal: &dyn Journal, revision: Revision, bytes: &[u8]) {
    let mut writer = journal.write_snapshot(revision).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap();
}

/// What the newest snapshot stands for, and its bytes.
pub(crate) fn read_snapshot(journal: &dyn Journal) -> Option<(Revision, Vec<u8>)> {
    let mut snapshot = journal.snapshot().unwrap()?;
    let mut bytes = Vec::new();
    snapshot.read_to_end(&mut bytes).unwrap();
    Some((snapshot.revision, bytes))
}
