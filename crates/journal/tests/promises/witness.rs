//! Appends records from several threads until it is killed, and tells each one that is durable.
//! `kill` runs it: these tests once more, in a process of its own.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use journal::{Expected, Journal, Keep, Options, Record, Store};

type Failure = Box<dyn Error + Send + Sync>;

/// Says in which directory.
const DIRECTORY: &str = "JOURNAL_WITNESS";

/// Begins the lines that tell of a record; the others are of the test's harness.
pub(crate) const MARK: &str = "durable ";

/// Small segments, so that a kill often hits the change from one to the next.
const SEGMENT: u64 = 16 << 10;

const THREADS: u64 = 4;

/// Starts it on `directory`. It prints `durable REVISION THREAD NUMBER` for every acknowledged
/// record.
pub(crate) fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["witness::witness", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "writes until it is killed; `kill` runs it"]
fn witness() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let options = Options { segment_bytes: SEGMENT, ..Options::default() };
    let journal = Arc::new(Store::open(Path::new(&directory), options).unwrap());
    let writers = (0..THREADS).map(|writer| {
        let journal = journal.clone();
        thread::spawn(move || write(&*journal, writer))
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().unwrap().unwrap();
    }
}

fn write(journal: &dyn Journal, writer: u64) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut progress = journal.progress();
    for number in 0.. {
        // Several at once, of which only the last is waited for.
        let mut told = String::new();
        let mut last = journal.last();
        for number in number * 3..number * 3 + 3 {
            let text = format!("{writer} {number} {}", "x".repeat((number * 37 % 700) as usize));
            last = journal.append(Record::new(text.as_bytes()), Expected::Any)?;
            writeln!(told, "{MARK}{} {writer} {number}", last.revision)?;
        }
        runtime.block_on(progress.reached(last))?;
        // One write, so that no line is cut by the kill.
        io::stdout().write_all(told.as_bytes())?;
        if writer == 0 && number % 50 == 49 {
            snapshot(journal, last.revision)?;
        }
    }
    Ok(())
}

fn snapshot(journal: &dyn Journal, revision: u64) -> Result<(), Failure> {
    let mut snapshot = journal.write_snapshot(revision)?;
    snapshot.write_all(&revision.to_le_bytes().repeat(1000))?;
    snapshot.finish()?;
    journal.trim(Keep { bytes: 1 << 20, age: Duration::from_secs(3600) })?;
    Ok(())
}
