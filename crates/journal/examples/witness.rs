//! Appends records from several threads until it is killed, and tells each one that is durable; what the
//! tests kill.
//!
//! `witness DIRECTORY THREADS` prints `REVISION THREAD NUMBER` for every acknowledged record. Each record has its
//! thread, its number there, and filler of any length; now and then there is a snapshot.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    io::{self, Write},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use journal::{Expected, Journal, Keep, Options, Record, Store};

type Failure = Box<dyn Error + Send + Sync>;

/// Small segments, so that a kill often hits the change from one to the next.
const SEGMENT: u64 = 16 << 10;

fn main() -> Result<(), Failure> {
    let [directory, threads] = &env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: witness DIRECTORY THREADS".into());
    };
    let options = Options { segment_bytes: SEGMENT, ..Options::default() };
    let journal = Arc::new(Store::open(Path::new(directory), options)?);
    let writers = (0..threads.parse()?).map(|writer| {
        let journal = journal.clone();
        thread::spawn(move || write(&*journal, writer))
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().map_err(|_| "a writer has panicked")??;
    }
    Ok(())
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
            writeln!(told, "{} {writer} {number}", last.revision)?;
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
