//! Writers that wait for each record, on the journal or on the floor below it; what `cargo xtask
//! bench journal` runs.
//!
//! `load floor|journal|gather WRITERS SECONDS DIRECTORY` prints a line: records, groups,
//! nanoseconds of all, processor time in nanoseconds, and the median and 99th percentile of a
//! record's wait in nanoseconds.
//!
//! `load start RECORDS MEGABYTES DIRECTORY` fills a journal, and prints the nanoseconds that it
//! then takes to open it, to read all records, and to read the snapshot.

use std::{
    env,
    error::Error,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use journal::{Expected, Journal, Options, Record, Store};
use rustix::{
    fs::{FallocateFlags, fallocate, fdatasync},
    time::{ClockId, clock_gettime},
};
use tokio::{task::JoinSet, time::Instant};

/// What a record has.
const RECORD: [u8; 200] = [b'x'; 200];

static MEGABYTE: [u8; 1_000_000] = [b'x'; 1_000_000];

/// What it takes in the journal's file; the floor writes as much.
const WRITTEN: usize = 232;

/// As the journal's segments.
const SEGMENT: u64 = 64 << 20;

/// What `gather` lets a group wait at most.
const DELAY: Duration = Duration::from_millis(1);

type Failure = Box<dyn Error + Send + Sync>;

struct Figures {
    records: u64,
    groups: u64,
    took: Duration,
    waits: Vec<Duration>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(line) => {
            io::stdout().write_all(line.as_bytes()).ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, Failure> {
    let [what, writers, seconds, directory] = arguments else {
        return Err("usage: load floor|journal|gather WRITERS SECONDS DIRECTORY".into());
    };
    if what == "start" {
        return start(Path::new(directory), writers.parse()?, seconds.parse()?);
    }
    let (writers, seconds) = (writers.parse()?, Duration::from_secs_f64(seconds.parse()?));
    let figures = match &**what {
        "floor" => floor(Path::new(directory), writers, seconds)?,
        "journal" => journal(Path::new(directory), writers, seconds, Duration::ZERO)?,
        _ => journal(Path::new(directory), writers, seconds, DELAY)?,
    };
    Ok(figures.line())
}

/// Tasks on one thread, as guests of a daemon are.
fn journal(
    directory: &Path,
    writers: usize,
    duration: Duration,
    commit_delay: Duration,
) -> Result<Figures, Failure> {
    let options = Options { commit_delay, ..Options::default() };
    let journal = Arc::new(Store::open(directory, options)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let begun = Instant::now();
    let waits = runtime.block_on(async {
        let mut all = JoinSet::new();
        for _ in 0..writers {
            all.spawn(write(journal.clone(), begun + duration));
        }
        all.join_all().await
    });
    let took = begun.elapsed();
    let waits = waits.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let groups = journal.progress().groups().count;
    Ok(Figures { records: waits.len() as u64, groups, took, waits })
}

async fn write(journal: Arc<Store>, end: Instant) -> Result<Vec<Duration>, Failure> {
    let (mut progress, mut waits) = (journal.progress(), Vec::new());
    while Instant::now() < end {
        let asked = Instant::now();
        let receipt = journal.append(Record::new(&RECORD), Expected::Any)?;
        progress.reached(receipt).await?;
        waits.push(asked.elapsed());
    }
    Ok(waits)
}

/// One write and one sync for a record of each writer; nobody can do less.
fn floor(directory: &Path, writers: usize, duration: Duration) -> Result<Figures, Failure> {
    std::fs::create_dir(directory)?;
    let file = OpenOptions::new().create_new(true).write(true).open(directory.join("floor"))?;
    fallocate(&file, FallocateFlags::empty(), 0, SEGMENT)?;
    fdatasync(&file)?;
    let group = vec![b'x'; writers * WRITTEN];
    let (begun, mut waits, mut groups) = (Instant::now(), Vec::new(), 0);
    while begun.elapsed() < duration {
        let asked = Instant::now();
        file.write_all_at(&group, groups * group.len() as u64 % (SEGMENT - group.len() as u64))?;
        fdatasync(&file)?;
        groups += 1;
        waits.extend(std::iter::repeat_n(asked.elapsed(), writers));
    }
    Ok(Figures { records: waits.len() as u64, groups, took: begun.elapsed(), waits })
}

fn start(directory: &Path, records: u64, megabytes: usize) -> Result<String, Failure> {
    fill(directory, records, megabytes)?;
    let begun = Instant::now();
    let journal = Store::open(directory, Options::default())?;
    let opened = begun.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut follow = journal.follow(1)?;
    let mut length = 0;
    while follow.position() <= records {
        length += runtime.block_on(follow.next())?.iter().map(|it| it.bytes.len()).sum::<usize>();
    }
    let replayed = begun.elapsed() - opened;
    let mut snapshot = journal.snapshot()?.ok_or("no snapshot")?;
    length += usize::try_from(io::copy(&mut snapshot, &mut io::sink())?)?;
    let read = begun.elapsed() - opened - replayed;
    if length != records as usize * RECORD.len() + megabytes * MEGABYTE.len() {
        return Err("something is missing".into());
    }
    Ok(format!("{} {} {}\n", opened.as_nanos(), replayed.as_nanos(), read.as_nanos()))
}

fn fill(directory: &Path, records: u64, megabytes: usize) -> Result<(), Failure> {
    let journal = Store::open(directory, Options::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut progress = journal.progress();
    for number in 1..=records {
        let receipt = journal.append(Record::new(&RECORD), Expected::Any)?;
        if number % 10_000 == 0 || number == records {
            runtime.block_on(progress.reached(receipt))?;
        }
    }
    let mut snapshot = journal.write_snapshot(progress.durable())?;
    (0..megabytes).try_for_each(|_| snapshot.write_all(&MEGABYTE))?;
    Ok(snapshot.finish()?)
}

impl Figures {
    fn line(mut self) -> String {
        let processor = clock_gettime(ClockId::ProcessCPUTime);
        let processor = processor.tv_sec as u128 * 1_000_000_000 + processor.tv_nsec as u128;
        self.waits.sort_unstable();
        let wait = |percent: usize| self.waits.get(self.waits.len() * percent / 100);
        let [median, most] = [50, 99].map(|it| wait(it).map_or(0, Duration::as_nanos));
        let Self { records, groups, took, .. } = self;
        format!("{records} {groups} {} {processor} {median} {most}\n", took.as_nanos())
    }
}
