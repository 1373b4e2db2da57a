use std::fs;

use proptest::prelude::*;
use regex::bytes::Regex;
use tempfile::TempDir;

use super::*;
use crate::logs::{
    Record, Stream,
    fixture::{Keeper, texts},
    index,
};

const ALL: Selection =
    Selection { lines: None, since_ms: None, before_ms: None, stream: None, grep: None };

fn keeper() -> (TempDir, Keeper) {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::new(&dir.path().join("Sample"));
    (dir, keeper)
}

fn last(lines: usize) -> Selection {
    Selection { lines: Some(lines), ..ALL }
}

fn grep(expression: &str) -> Selection {
    Selection { grep: Some(Regex::new(expression).unwrap()), ..ALL }
}

#[test]
fn lines_of_both_streams_are_put_together_again() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "one\ntw");
    keeper.err(2, "bad ");
    keeper.note(3, "started");
    keeper.out(4, "o\n\nthr");
    keeper.err(5, "luck\n");
    keeper.out(6, "ee");
    let mut reader = Reader::open(&keeper.dir, &ALL).unwrap();
    let mut lines = vec![];
    while let Some(it) = reader.next_line().unwrap() {
        lines.push((
            it.time_ms,
            it.stream,
            String::from_utf8(it.text).unwrap(),
            it.partial,
            it.note,
        ));
    }
    let line = |time_ms, stream, text: &str| (time_ms, stream, text.to_owned(), false, false);
    assert_eq!(
        lines,
        [
            line(1, Stream::Out, "one"),
            (3, Stream::Err, "started".to_owned(), false, true),
            line(1, Stream::Out, "two"),
            line(4, Stream::Out, ""),
            line(2, Stream::Err, "bad luck"),
            (4, Stream::Out, "three".to_owned(), true, false),
        ]
    );
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, b"a\xff\0\xc3");
    keeper.err(1, b"x");
    keeper.out(1, b"\xbc\r\n");
    let line = Reader::open(&keeper.dir, &ALL).unwrap().next_line().unwrap().unwrap();
    assert_eq!(line.text, b"a\xff\0\xc3\xbc\r");
}

#[test]
fn a_line_goes_on_over_a_rotation() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "a\nb");
    keeper.err(2, "E\ne");
    keeper.rotate(10);
    keeper.rotate(10);
    keeper.out(11, "b\nc\n");
    keeper.err(12, "e\n");
    assert_eq!(keeper.read(&ALL), ["a", "E", "bb", "c", "ee"]);
    assert_eq!(keeper.read(&last(3)), ["bb", "c", "ee"]);
    assert_eq!(keeper.read(&last(1)), ["ee"]);
}

#[test]
fn a_log_that_is_not_there_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    for selection in [ALL, last(3), Selection { since_ms: Some(1), ..ALL }] {
        let mut reader = Reader::open(&dir.path().join("Sample"), &selection).unwrap();
        assert_eq!(reader.next_line().unwrap(), None);
    }
}

#[test]
fn only_what_the_index_covers_exists() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "a\n");
    let record = keeper.data(2, Stream::Out, false, b"torn\n");
    keeper.index(&record.encode()[..index::SIZE - 1]);
    assert_eq!(keeper.read(&ALL), ["a"]);
    assert_eq!(keeper.read(&last(1)), ["a"]);
}

#[test]
fn a_record_without_its_data_and_one_of_zeros_are_left_out() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "a\n");
    keeper.index(&[0; index::SIZE]);
    keeper.out(2, "b\n");
    let lost = Record { time_ms: 3, offset: 4, len: u32::MAX, stream: Stream::Err, note: false };
    keeper.index(&lost.encode());
    assert_eq!(keeper.read(&ALL), ["a", "b"]);
    assert_eq!(keeper.read(&last(2)), ["a", "b"]);
}

#[test]
fn long_lines_come_in_pieces() {
    let (_dir, mut keeper) = keeper();
    let limit = 64 * 1024;
    keeper.out(1, "first\n");
    for _ in 0..10 {
        keeper.out(2, "x".repeat(20_000));
        keeper.err(3, "y\n");
    }
    keeper.out(4, "\n");
    let pieces = || keeper.read(&Selection { stream: Some(Stream::Out), ..ALL });
    let lengths: Vec<_> = pieces().iter().map(|it| it.trim_end_matches('*').len()).collect();
    assert_eq!(lengths, [5, limit, limit, limit, 200_000 - 3 * limit]);
    let partial: Vec<_> = pieces().iter().map(|it| it.ends_with('*')).collect();
    assert_eq!(partial, [false, true, true, true, false]);
    assert_eq!(keeper.read(&Selection { stream: Some(Stream::Out), ..last(2) }), pieces()[3..]);
}

#[test]
fn between_the_renames_of_a_rotation_nothing_is_missing() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "a\n");
    keeper.rotate(5);
    keeper.out(6, "b\n");
    let key = keeper.rename_data(7);
    assert_eq!(keeper.read(&ALL), ["a", "b"]);
    assert_eq!(keeper.read(&last(1)), ["b"]);
    keeper.rename_index(key);
    assert_eq!(keeper.read(&ALL), ["a", "b"]);
}

#[test]
fn files_pruned_under_the_reader_are_left_out() {
    let (_dir, mut keeper) = keeper();
    for number in 0..5 {
        keeper.out(number, format!("{number}\nhalf"));
        keeper.rotate(number);
    }
    let mut reader = Reader::open(&keeper.dir, &ALL).unwrap();
    assert_eq!(reader.next_line().unwrap().unwrap().text, b"0");
    for _ in 0..3 {
        keeper.prune();
    }
    assert_eq!(texts(&mut reader), ["3", "half4", "half*"]);
}

#[test]
fn a_rotation_under_the_reader_changes_nothing() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "a\n");
    keeper.rotate(1);
    keeper.out(2, "b\n");
    let readers = [ALL, last(2)].map(|it| Reader::open(&keeper.dir, &it).unwrap());
    keeper.out(3, "later\n");
    keeper.rotate(3);
    keeper.out(4, "much later\n");
    for mut reader in readers {
        assert_eq!(texts(&mut reader), ["a", "b"]);
    }
}

#[test]
fn since_and_before_are_about_where_a_line_began() {
    let (_dir, mut keeper) = keeper();
    keeper.out(10, "a\nb");
    keeper.err(20, "E");
    keeper.rotate(20);
    keeper.out(30, "b\nc\nd");
    keeper.err(40, "E\nF");
    keeper.out(50, "d\n");
    keeper.err(60, "F\n");
    let between = |since_ms, before_ms| Selection { since_ms, before_ms, ..ALL };
    assert_eq!(keeper.read(&between(Some(20), None)), ["c", "EE", "dd", "FF"]);
    assert_eq!(keeper.read(&between(Some(21), None)), ["c", "dd", "FF"]);
    assert_eq!(keeper.read(&between(Some(61), None)), [""; 0]);
    assert_eq!(keeper.read(&between(None, Some(20))), ["a", "bb"]);
    assert_eq!(keeper.read(&between(None, Some(31))), ["a", "bb", "c", "EE", "dd"]);
    assert_eq!(keeper.read(&between(Some(20), Some(31))), ["c", "EE", "dd"]);
    assert_eq!(keeper.read(&between(None, Some(5))), [""; 0]);
    let last = |lines, since_ms, before_ms| Selection { lines, ..between(since_ms, before_ms) };
    assert_eq!(keeper.read(&last(Some(2), Some(20), Some(31))), ["EE", "dd"]);
    assert_eq!(keeper.read(&last(Some(9), Some(30), None)), ["c", "dd", "FF"]);
}

#[test]
fn a_clock_set_back_loses_no_line() {
    let (_dir, mut keeper) = keeper();
    for time_ms in [100, 200, 50, 150] {
        keeper.out(time_ms, format!("{time_ms}\n"));
    }
    assert_eq!(keeper.read(&Selection { since_ms: Some(120), ..ALL }), ["200", "150"]);
    assert_eq!(keeper.read(&Selection { before_ms: Some(120), ..ALL }), ["100", "50"]);
}

#[test]
fn the_last_that_match_are_found_however_far_back() {
    let (_dir, mut keeper) = keeper();
    for number in 0..1000 {
        keeper.out(number, format!("line {number}\n"));
        if number % 300 == 0 {
            keeper.rotate(number);
        }
    }
    let sevens = Selection { lines: Some(2), ..grep("7$") };
    assert_eq!(keeper.read(&sevens), ["line 987", "line 997"]);
    let rare = Selection { lines: Some(3), ..grep("^line (3|600)$") };
    assert_eq!(keeper.read(&rare), ["line 3", "line 600"]);
    assert_eq!(keeper.read(&Selection { lines: Some(1), ..grep("none") }), [""; 0]);
    assert_eq!(keeper.read(&last(0)), [""; 0]);
}

#[test]
fn the_cost_of_the_last_lines_does_not_grow_with_the_log() {
    let (_dir, mut keeper) = keeper();
    for number in 0..100_000_u32 {
        keeper.out(u64::from(number), format!("line {number}\n"));
    }
    let before = bytes_read();
    assert_eq!(keeper.read(&last(3)), ["line 99997", "line 99998", "line 99999"]);
    let cost = bytes_read() - before;
    assert!(
        cost < 256 * 1024,
        "{cost} bytes read, of {}",
        fs::metadata(keeper.dir.join("current.index")).unwrap().len()
    );
}

/// What this thread has read from files so far.
fn bytes_read() -> u64 {
    of_this_thread("rchar: ")
}

fn of_this_thread(count: &str) -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|it| it.strip_prefix(count)).unwrap().parse().unwrap()
}

#[test]
fn a_record_of_gigabytes_that_are_not_there_costs_no_search() {
    let (_dir, mut keeper) = keeper();
    keeper.out(1, "one\ntwo");
    let damaged = Record { time_ms: 2, offset: 3, len: u32::MAX, stream: Stream::Out, note: false };
    keeper.index(&damaged.encode());
    let before = of_this_thread("syscr: ");
    assert_eq!(keeper.read(&last(1)), ["two*"]);
    let cost = of_this_thread("syscr: ") - before;
    assert!(cost < 100, "{cost} reads");
}

#[test]
fn a_silent_stream_costs_no_data() {
    let (_dir, mut keeper) = keeper();
    keeper.err(0, "long ");
    for number in 0..20_000_u32 {
        keeper.out(u64::from(number), "x".repeat(99) + "\n");
    }
    keeper.err(1, "ago\n");
    let before = bytes_read();
    assert_eq!(keeper.read(&last(1)), ["long ago"]);
    let cost = bytes_read() - before;
    assert!(cost < 4 * 20_000 * index::SIZE as u64, "{cost} bytes read");
}

#[test]
fn a_follower_looks_back_beyond_a_stream_that_was_never_used() {
    let (_dir, mut keeper) = keeper();
    for number in 0..1000 {
        keeper.out(number, format!("line {number}\n"));
    }
    let early = Selection { lines: Some(2), ..grep("^line .$") };
    let mut reader = Reader::open_following(&keeper.dir, &early).unwrap();
    assert_eq!(texts(&mut reader), ["line 8", "line 9"]);
}

#[test]
fn lines_older_than_since_are_not_even_looked_at() {
    let (_dir, mut keeper) = keeper();
    for number in 0..20_000_u32 {
        keeper.out(u64::from(number), format!("{number:0199}\n"));
    }
    let before = bytes_read();
    let few = Selection { since_ms: Some(19_998), ..last(5) };
    assert_eq!(keeper.read(&few).len(), 2);
    let cost = bytes_read() - before;
    assert!(cost < 1024 * 1024, "{cost} bytes read");
}

#[test]
fn files_pruned_during_the_walk_back_end_it() {
    let (_dir, mut keeper) = keeper();
    for number in 0..4 {
        keeper.out(number, format!("{number}\n"));
        keeper.rotate(number);
    }
    let walk = Walk::from_end(&keeper.dir).unwrap().unwrap();
    keeper.prune();
    keeper.prune();
    let start = walk.start(Goal { lines: 9, stream: None, goes_on: false }).unwrap();
    assert!(start.is_oldest);
    let mut forward = Forward::from(&keeper.dir, Bounds::default(), start);
    assert_eq!(forward.next_line().unwrap().unwrap().text, b"2");
}

/// What one write of a daemon may be.
fn write() -> impl Strategy<Value = (u8, String)> {
    (0u8..8, "[ab\n]{0,5}")
}

/// The lines that must come: by the order of their ends, the unfinished by their beginnings.
fn model(writes: &[(u8, String)]) -> Vec<String> {
    let (mut lines, mut open) = (vec![], [None, None]);
    for (number, (kind, text)) in writes.iter().enumerate() {
        let channel: &mut Option<(usize, String)> = &mut open[usize::from(kind % 2)];
        for byte in text.chars() {
            let (_, line) = channel.get_or_insert((number, String::new()));
            if byte == '\n' {
                lines.extend(channel.take().map(|it| it.1));
            } else {
                line.push(byte);
            }
        }
    }
    let mut rest: Vec<_> = open.into_iter().flatten().collect();
    rest.sort();
    lines.extend(rest.into_iter().map(|it| it.1 + "*"));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the streams are cut, mixed and rotated, the same lines come out, from any place.
    #[test]
    fn any_writes_give_their_lines(writes in prop::collection::vec(write(), 0..30), count in 0usize..12) {
        let (_dir, mut keeper) = keeper();
        for (number, (kind, text)) in writes.iter().enumerate() {
            let time_ms = number as u64;
            if kind % 2 == 0 { keeper.out(time_ms, text) } else { keeper.err(time_ms, text) }
            if *kind > 5 {
                keeper.rotate(time_ms);
            }
        }
        let expected = model(&writes);
        prop_assert_eq!(keeper.read(&ALL), expected.clone());

        let mut following = Reader::open_following(&keeper.dir, &ALL).unwrap();
        let complete: Vec<_> = expected.iter().filter(|it| !it.ends_with('*')).cloned().collect();
        prop_assert_eq!(texts(&mut following), complete.clone());

        let mut tail = Reader::open_following(&keeper.dir, &last(count)).unwrap();
        prop_assert_eq!(texts(&mut tail), complete[complete.len().saturating_sub(count)..].to_vec());
        keeper.out(99, "!\n");
        keeper.err(99, "?\n");
        let later: Vec<_> = model(&[writes.clone(), vec![(0, "!\n".into()), (1, "?\n".into())]].concat());
        prop_assert_eq!(texts(&mut tail), later[complete.len()..].to_vec());

        prop_assert_eq!(keeper.read(&last(count)), later[later.len().saturating_sub(count)..].to_vec());
    }
}
