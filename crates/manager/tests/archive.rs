//! Rotated logs are compressed by a process of its own, which may die at any moment.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]
#![expect(clippy::print_stdout, reason = "a test tells its figures, and what it must skip")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use manager::logs::{Follow, Reader, Record, Selection, Stream};
use tempfile::TempDir;

const NO_CAP: u64 = u64::MAX;

/// The directory of all logs, with one.
struct Logs {
    dir: TempDir,
}

impl Logs {
    fn new() -> Self {
        let logs = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(logs.log()).unwrap();
        logs
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("Sample")
    }

    /// A file with lines, a record each hundred.
    fn write(&self, name: &str, lines: impl Iterator<Item = usize>) {
        let lines: Vec<String> =
            lines.map(|it| format!("line {it}, and some more of it\n")).collect();
        let (mut index, mut offset) = (vec![], 0);
        for piece in lines.chunks(100) {
            let len = piece.iter().map(String::len).sum::<usize>() as u32;
            let record = Record { time_ms: 1, offset, len, stream: Stream::Out, note: false };
            index.extend(record.encode());
            offset = record.end();
        }
        let (data, ending) = if name == "current" {
            (name.to_owned(), "current.index".to_owned())
        } else {
            (format!("{name}.log"), format!("{name}.index"))
        };
        fs::write(self.log().join(data), lines.concat()).unwrap();
        fs::write(self.log().join(ending), index).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.log()).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|it| it.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn archive(&self, cap: u64) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dae"));
        command.arg("archive").arg(self.dir.path()).arg(cap.to_string());
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    fn archived(&self, cap: u64) {
        assert!(self.archive(cap).wait().unwrap().success());
    }

    fn read(&self, selection: &Selection) -> Vec<usize> {
        numbers(Reader::open(&self.log(), selection).unwrap())
    }
}

fn numbers(mut reader: Reader) -> Vec<usize> {
    let lines = std::iter::from_fn(|| reader.next_line().unwrap());
    lines.map(|it| number(&it.text)).collect()
}

fn number(text: &[u8]) -> usize {
    let text = std::str::from_utf8(text).unwrap();
    text.strip_prefix("line ").unwrap().split(',').next().unwrap().parse().unwrap()
}

fn is_packed(path: &Path) -> bool {
    path.to_str().unwrap().ends_with(".log.gz")
}

#[test]
fn rotated_files_are_compressed_and_read_like_raw_ones() {
    let logs = Logs::new();
    logs.write("@5-0", 0..10_000);
    logs.write("@5-1", 10_000..20_000);
    logs.write("current", 20_000..20_100);
    let raw = fs::read(logs.log().join("@5-1.log")).unwrap();
    logs.archived(NO_CAP);
    let names =
        ["@5-0.index", "@5-0.log.gz", "@5-1.index", "@5-1.log.gz", "current", "current.index"];
    assert_eq!(logs.names(), names);
    assert!(logs.read(&Selection::default()).into_iter().eq(0..20_100));
    let last = Selection { lines: Some(15_000), ..Selection::default() };
    assert!(logs.read(&last).into_iter().eq(5_100..20_100));
    let grep = Selection { grep: Some("line 9999,".parse().unwrap()), ..Selection::default() };
    assert_eq!(logs.read(&grep), [9999]);
    let zcat = Command::new("gzip").arg("-dc").arg(logs.log().join("@5-1.log.gz")).output();
    match zcat {
        Ok(output) => assert!(output.stdout == raw),
        Err(error) => println!("skipped: no gzip to compare with: {error}"),
    }
}

#[test]
fn who_reads_a_file_while_it_is_compressed_loses_nothing() {
    let logs = Logs::new();
    logs.write("@5-0", 0..10_000);
    logs.write("@5-1", 10_000..20_000);
    logs.write("current", 20_000..20_100);
    let all = Selection::default();
    let mut reader = Reader::open(&logs.log(), &all).unwrap();
    let mut follow = Follow::open(vec![logs.log()], &all).unwrap();
    let first = follow.next_batch(Some(Duration::ZERO)).unwrap();
    assert_eq!(number(&reader.next_line().unwrap().unwrap().text), 0);

    for file in ["current", "current.index"] {
        let ending = if file == "current" { "log" } else { "index" };
        fs::rename(logs.log().join(file), logs.log().join(format!("@6-0.{ending}"))).unwrap();
    }
    logs.write("current", 20_100..20_200);
    logs.archived(NO_CAP);

    assert!(numbers(reader).into_iter().eq(1..20_100));
    let mut followed: Vec<_> = first.iter().map(|(_, line)| number(&line.text)).collect();
    while followed.len() < 20_200 {
        let batch = follow.next_batch(Some(Duration::from_secs(20))).unwrap();
        followed.extend(batch.iter().map(|(_, line)| number(&line.text)));
    }
    assert!(followed.into_iter().eq(0..20_200));
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_the_next_one_goes_on() {
    let logs = Logs::new();
    for file in 0..10 {
        logs.write(&format!("@5-{file}"), file * 5000..(file + 1) * 5000);
    }
    let mut rounds = 0;
    while !logs
        .names()
        .iter()
        .filter(|it| !it.ends_with("index"))
        .all(|it| is_packed(Path::new(it)))
    {
        let mut archive = logs.archive(NO_CAP);
        // Not to wait for anything: another moment of its work each time.
        thread::sleep(Duration::from_micros(1000 + 700 * rounds));
        archive.kill().unwrap();
        archive.wait().unwrap();
        assert!(logs.read(&Selection::default()).into_iter().eq(0..50_000), "round {rounds}");
        rounds += 1;
    }
    println!("killed {rounds} times");
    assert!(rounds > 1);
}

#[test]
fn what_a_crash_left_in_both_forms_or_unfinished_is_read_once_and_tidied_up() {
    let logs = Logs::new();
    logs.write("@5-0", 0..1000);
    logs.write("@5-1", 1000..2000);
    let at = |name: &str| logs.log().join(name);
    fs::write(at("@5-0.log.gz"), "only half, or of another time").unwrap();
    fs::write(at("@5-1.log.gz.new"), "half").unwrap();
    fs::write(at("@4-0.log.gz.new"), "of a pruned one").unwrap();
    assert!(logs.read(&Selection::default()).into_iter().eq(0..2000));
    logs.archived(NO_CAP);
    assert_eq!(logs.names(), ["@5-0.index", "@5-0.log.gz", "@5-1.index", "@5-1.log.gz"]);
    assert!(logs.read(&Selection::default()).into_iter().eq(0..2000));
}

#[test]
fn all_rotated_files_of_a_home_together_keep_to_the_cap() {
    let logs = Logs::new();
    let other = logs.dir.path().join("Other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("@3-0.log"), [b'x'; 100_000]).unwrap();
    for file in 4..8 {
        logs.write(&format!("@{file}-0"), file * 1000..(file + 1) * 1000);
    }
    logs.write("current", 8000..9000);
    let bytes = |name: &str| fs::metadata(logs.log().join(name)).unwrap().len();
    logs.archived(2 * (bytes("@6-0.log") + bytes("@6-0.index")));
    let names =
        ["@6-0.index", "@6-0.log.gz", "@7-0.index", "@7-0.log.gz", "current", "current.index"];
    assert_eq!(logs.names(), names);
    assert_eq!(fs::read_dir(other).unwrap().count(), 0);
    assert!(logs.read(&Selection::default()).into_iter().eq(6000..9000));
}
