use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::files::{open_append, rotated};
use super::*;
use crate::logs::rotation::{DATA, INDEX, Key};

const MAX_BYTES: u64 = 64;
const PATIENCE_MS: u64 = 10_000;

fn at(ms: u64) -> Now {
    Now { unix_ms: ms, steady_ms: ms }
}

fn rotated_at(ms: u64, n: u32) -> Key {
    Key::Rotated { ms, n }
}

fn open(dir: &TempDir, keep: usize) -> Log {
    open_with(dir, keep, PATIENCE_MS)
}

fn open_with(dir: &TempDir, keep: usize, patience_ms: u64) -> Log {
    let dir = dir.path().to_owned();
    let settings = LogSettings { dir, max_bytes: MAX_BYTES, keep, patience_ms };
    Log::open(&settings, Dropped::default(), at(1)).unwrap()
}

fn current(dir: &TempDir) -> Vec<u8> {
    fs::read(dir.path().join("current")).unwrap()
}

/// The records of an index file as (time, offset, length, stream, flags).
fn records(path: &Path) -> Vec<(u64, u64, u32, u8, u8)> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes.len() as u64 % RECORD_BYTES, 0);
    let long = |part: &[u8]| u64::from_le_bytes(part.try_into().unwrap());
    let record = |it: &[u8]| {
        let len = u32::from_le_bytes(it[16..20].try_into().unwrap());
        (long(&it[..8]), long(&it[8..16]), len, it[20], it[21])
    };
    bytes.chunks(RECORD_BYTES as usize).map(record).collect()
}

/// All files of a log in order, each as what it holds per stream, read by its index.
fn files(dir: &TempDir) -> Vec<[Vec<u8>; 2]> {
    names(dir).iter().map(|(data, index)| streams(dir.path(), data, index)).collect()
}

/// The names of all files and their indexes, oldest first.
fn names(dir: &TempDir) -> Vec<(String, String)> {
    let mut names: Vec<_> = rotated(dir.path())
        .unwrap()
        .into_iter()
        .map(|key| (DATA.file(key), INDEX.file(key)))
        .collect();
    names.push(("current".to_owned(), "current.index".to_owned()));
    names
}

/// All bytes, without the words of the kernel.
fn text(dir: &TempDir) -> String {
    let why = std::io::Error::from_raw_os_error(libc::EBADF).to_string();
    let files = names(dir).into_iter().map(|(data, _)| fs::read(dir.path().join(data)).unwrap());
    String::from_utf8(files.flatten().collect()).unwrap().replace(&why, "WHY")
}

fn streams(dir: &Path, data: &str, index: &str) -> [Vec<u8>; 2] {
    let bytes = fs::read(dir.join(data)).unwrap();
    let mut streams = [Vec::new(), Vec::new()];
    let mut end = 0;
    for (_, offset, len, stream, _) in records(&dir.join(index)) {
        assert_eq!(offset, end, "the index has neither holes nor overlaps");
        end += u64::from(len);
        let part = &bytes[size(offset)..size(end)];
        streams[usize::from(stream == b'e')].extend_from_slice(part);
    }
    assert_eq!(end, bytes.len() as u64, "the index covers the file");
    streams
}

proptest! {
    /// However output is cut and wherever files end, the same bytes are there, and a file
    /// within its size ends where a line of both streams does.
    #[test]
    fn rotation_loses_nothing(
        pieces in prop::collection::vec((any::<bool>(), "[a-c\n]{1,90}"), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 10_000);
        let mut printed = [Vec::new(), Vec::new()];
        for (number, (is_err, piece)) in pieces.iter().enumerate() {
            let stream = Stream::ALL[usize::from(*is_err)];
            log.append(stream, piece.as_bytes(), at(number as u64));
            printed[stream.index()].extend_from_slice(piece.as_bytes());
        }
        let files = files(&dir);
        for [out, err] in &files[..files.len() - 1] {
            let len = (out.len() + err.len()) as u64;
            prop_assert!(len > 0 && len <= 2 * MAX_BYTES);
            let is_whole = |text: &Vec<u8>| text.last().is_none_or(|&byte| byte == b'\n');
            prop_assert!(len == 2 * MAX_BYTES || len > MAX_BYTES || is_whole(out) && is_whole(err));
        }
        for stream in Stream::ALL {
            let kept: Vec<u8> =
                files.iter().flat_map(|file| file[stream.index()].clone()).collect();
            prop_assert_eq!(&kept, &printed[stream.index()]);
        }
    }
}

#[test]
fn only_so_many_old_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 2);
    for number in 0..5 {
        log.append(Stream::Out, format!("{number}\n").as_bytes(), at(9));
        log.rotate(at(9));
    }
    assert_eq!(rotated(dir.path()).unwrap(), [rotated_at(9, 3), rotated_at(9, 4)]);
    assert_eq!(fs::read(dir.path().join("@9-4.log")).unwrap(), b"4\n");
}

#[test]
fn a_rotation_on_demand_waits_for_the_line_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 9);
    log.append(Stream::Out, b"half", at(2));
    log.rotate(at(3));
    log.append(Stream::Out, b" a line\nnext", at(4));
    assert_eq!(fs::read(dir.path().join("@4-0.log")).unwrap(), b"half a line\n");
    assert_eq!(current(&dir), b"next");
}

#[test]
fn a_clock_that_was_set_back_does_not_reorder_files() {
    let dir = tempfile::tempdir().unwrap();
    for ms in [5, 3] {
        let mut log = open(&dir, 9);
        log.append(Stream::Out, format!("{ms}\n").as_bytes(), at(ms));
        log.rotate(at(ms));
    }
    assert_eq!(rotated(dir.path()).unwrap(), [rotated_at(5, 0), rotated_at(5, 1)]);
}

#[test]
fn a_name_that_somebody_made_up_neither_stops_rotation_nor_counts() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["@5-4294967295.log", "@+6-0.log", "@07-0.log"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let mut log = open(&dir, 9);
    log.append(Stream::Out, b"line\n", at(3));
    log.rotate(at(3));
    assert_eq!(rotated(dir.path()).unwrap(), [rotated_at(5, u32::MAX), rotated_at(6, 0)]);
}

#[test]
fn what_a_crash_tore_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir, 9).append(Stream::Err, b"one\n", at(1));
    let [data, index] = ["current", "current.index"].map(|name| dir.path().join(name));
    let append = |path, bytes: &[u8]| open_append(path).unwrap().write_all(bytes).unwrap();
    append(&data, b"two\nthr");
    append(&index, b"torn");

    open(&dir, 9).append(Stream::Err, b"four\n", at(2));

    assert_eq!(current(&dir), b"one\ntwo\nthr\nfour\n");
    let expected = [(1, 0, 4, b'e', 0), (1, 4, 8, b'o', 0), (2, 12, 5, b'e', 0)];
    assert_eq!(records(&index), expected);
}

#[test]
fn a_line_whose_writer_lives_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir, 9).append(Stream::Err, b"one\nha", at(1));
    let (max_bytes, keep, patience_ms) = (MAX_BYTES, 9, PATIENCE_MS);
    let settings = LogSettings { dir: dir.path().to_owned(), max_bytes, keep, patience_ms };
    let mut log = Log::resume(&settings, Dropped::default(), at(2)).unwrap();
    // No rotation within a line, either.
    log.rotate(at(2));
    log.append(Stream::Err, b"lf\n", at(2));
    assert_eq!(current(&dir), b"one\nhalf\n");
}

#[test]
fn a_record_without_its_bytes_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 9);
    log.append(Stream::Out, b"one\n", at(1));
    log.append(Stream::Out, b"two\n", at(1));
    log.data.set_len(4).unwrap();
    open(&dir, 9);
    assert_eq!(records(&dir.path().join("current.index")).len(), 1);
}

/// As on a full disk: every write fails until the file is opened anew.
fn fill(dir: &TempDir, log: &mut Log) {
    log.data = File::open(dir.path().join("current")).unwrap();
}

fn make_room(dir: &TempDir, log: &mut Log) {
    log.data = open_append(&dir.path().join("current")).unwrap();
}

#[test]
fn a_full_disk_makes_the_child_wait_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 9);
    fill(&dir, &mut log);
    log.append(Stream::Out, b"one\n", at(100));
    assert!(log.is_blocked());
    assert_eq!(log.retry_at_ms(), Some(300));
    make_room(&dir, &mut log);
    log.retry(at(300));
    assert!(!log.is_blocked() && log.retry_at_ms().is_none());
    assert_eq!(current(&dir), b"one\n");
}

#[test]
fn what_waits_too_long_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 9);
    log.append(Stream::Out, b"one\nhalf", at(1));
    fill(&dir, &mut log);
    log.append(Stream::Out, b"12345", at(100));
    log.retry(at(100 + PATIENCE_MS));
    assert!(!log.is_blocked());
    log.append(Stream::Err, b"678\n", at(200 + PATIENCE_MS));
    assert!(!log.is_blocked(), "it waits once, not again for every piece");
    make_room(&dir, &mut log);
    log.append(Stream::Out, b"6\nseven\n", at(300 + PATIENCE_MS));
    assert_eq!(text(&dir), "one\ndae: dropped 2 lines, 15 bytes of output: WHY\nseven\n");
    assert_eq!(log.retry_at_ms(), None);
}

#[test]
fn what_is_lost_is_told_when_there_is_room_though_nothing_more_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_with(&dir, 9, 0);
    fill(&dir, &mut log);
    log.append(Stream::Out, b"one\n", at(100));
    assert_eq!((log.is_blocked(), log.retry_at_ms()), (false, Some(300)));
    make_room(&dir, &mut log);
    log.retry(at(300));
    assert_eq!(text(&dir), "dae: dropped 1 lines, 4 bytes of output: WHY\n");
}

#[test]
fn half_a_line_that_others_stand_behind_is_ended_before_the_note() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_with(&dir, 9, 0);
    log.append(Stream::Out, b"half", at(1));
    log.append(Stream::Err, b"begun", at(1));
    fill(&dir, &mut log);
    log.append(Stream::Out, b" is lost\n", at(2));
    make_room(&dir, &mut log);
    log.append(Stream::Err, b" and ended\n", at(3));
    let told = "halfbegun\n\ndae: dropped 1 lines, 9 bytes of output: WHY\n and ended\n";
    assert_eq!(text(&dir), told);
    let (kept, dropped) = kept_and_dropped(&dir);
    assert_eq!(kept, [&b"half\n"[..], b"begun and ended\n"]);
    assert_eq!(dropped, [1, 9]);
}

#[test]
fn what_a_daemon_could_not_be_told_of_is_told_at_its_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_with(&dir, 9, 0);
    fill(&dir, &mut log);
    log.append(Stream::Out, b"one\ntwo", at(100));
    let owed = log.finish(at(100));
    let (max_bytes, keep, patience_ms) = (MAX_BYTES, 9, 0);
    let settings = LogSettings { dir: dir.path().to_owned(), max_bytes, keep, patience_ms };
    let log = Log::open(&settings, owed, at(200)).unwrap();
    assert!(log.owed().is_nothing());
    assert_eq!(text(&dir), "dae: dropped 2 lines, 7 bytes of output: WHY\n");
}

proptest! {
    /// However output is cut and whenever the disk is full, each line is in the log whole or not at
    /// all, in order, and lines and bytes are counted exactly.
    #[test]
    fn lines_are_whole_or_counted(
        pieces in prop::collection::vec((any::<bool>(), any::<bool>(), "[a-c\n]{1,30}"), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_with(&dir, 10_000, 0);
        let mut printed = [Vec::new(), Vec::new()];
        for (number, (is_err, is_full, piece)) in pieces.iter().enumerate() {
            if *is_full { fill(&dir, &mut log) } else { make_room(&dir, &mut log) }
            let stream = Stream::ALL[usize::from(*is_err)];
            log.append(stream, piece.as_bytes(), at(number as u64));
            printed[stream.index()].extend_from_slice(piece.as_bytes());
        }
        make_room(&dir, &mut log);
        log.finish(at(100));
        let (kept, [lines, bytes]) = kept_and_dropped(&dir);
        let len = |both: &[Vec<u8>; 2]| both.iter().map(Vec::len).sum::<usize>();
        let ended = |both: &[Vec<u8>; 2]| both.iter().flatten().filter(|&&it| it == b'\n').count();
        // Where half a line had to stay, a newline stands for what is lost of it. A line counts
        // when it ends, so one that is told of before, and then never ends, is counted in bytes
        // only.
        let added = len(&kept) + bytes - len(&printed);
        prop_assert!(added <= lines + 2);
        prop_assert!(ended(&kept) + lines >= ended(&printed) + added);
        prop_assert!(ended(&kept) + lines <= ended(&printed) + added + 2);
    }
}

/// What a log holds of each stream but for notes, and the lines and bytes that these tell.
fn kept_and_dropped(dir: &TempDir) -> ([Vec<u8>; 2], [usize; 2]) {
    let (mut kept, mut dropped) = ([Vec::new(), Vec::new()], [0; 2]);
    for (data, index) in names(dir) {
        let bytes = fs::read(dir.path().join(data)).unwrap();
        for (_, offset, len, stream, flags) in records(&dir.path().join(index)) {
            let part = &bytes[size(offset)..][..len as usize];
            if flags & FLAG_DROPPED == 0 {
                kept[usize::from(stream == b'e')].extend_from_slice(part);
                continue;
            }
            let words = String::from_utf8(part.to_vec()).unwrap();
            let numbers = words.split(' ').filter_map(|it| it.parse::<usize>().ok());
            numbers.zip(&mut dropped).for_each(|(number, sum)| *sum += number);
        }
    }
    (kept, dropped)
}

#[test]
fn a_piece_without_a_record_is_not_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 9);
    log.index = Index::new(File::open(dir.path().join("current.index")).unwrap()).unwrap();
    log.append(Stream::Out, b"one\n", at(100));
    assert!(log.is_blocked());
    assert_eq!(current(&dir), b"");
}
