//! What a child prints.

use std::fs;
use std::path::Path;

use manager::keeper::protocol::LogSettings;

use crate::harness::Keeper;

/// What each stream printed, by the index of a log.
fn streams(dir: &Path, data: &str, index: &str) -> [Vec<u8>; 2] {
    let (data, index) = (fs::read(dir.join(data)).unwrap(), fs::read(dir.join(index)).unwrap());
    let mut streams = [Vec::new(), Vec::new()];
    let mut end = 0;
    for record in index.chunks_exact(24) {
        let offset = u64::from_le_bytes(record[8..16].try_into().unwrap()) as usize;
        let len = u32::from_le_bytes(record[16..20].try_into().unwrap()) as usize;
        assert_eq!(offset, end, "the index has neither holes nor overlaps");
        end += len;
        streams[usize::from(record[20] == b'e')].extend_from_slice(&data[offset..end]);
    }
    assert_eq!(end, data.len(), "the index covers the file");
    streams
}

#[test]
fn both_streams_are_in_the_log_byte_for_byte() {
    let mut keeper = Keeper::start();
    let mut order = keeper
        .order("Sample", "head -c 3000000 /dev/urandom | tee out & seq 100000 | tee err >&2; wait");
    order.log.max_bytes = 100 << 20;
    keeper.spawn_as(order);
    keeper.empty("Sample");
    let [out, err] = streams(&keeper.log_dir("Sample"), "current", "current.index");
    let printed = |name: &str| fs::read(keeper.home.path().join(name)).unwrap();
    assert!(out == printed("out") && err == printed("err"));
}

#[test]
fn rotation_keeps_every_line_whole_and_in_order() {
    let mut keeper = Keeper::start();
    let mut order = keeper.order("Sample", "seq 300000");
    order.log = LogSettings { max_bytes: 1 << 20, keep: 100, ..order.log };
    keeper.spawn_as(order);
    keeper.empty("Sample");
    let dir = keeper.log_dir("Sample");
    let names =
        fs::read_dir(&dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut stems: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned)).collect();
    stems.sort_by_key(|stem| {
        let (ms, number) = stem[1..].split_once('-').unwrap();
        (ms.parse::<u64>().unwrap(), number.parse::<u32>().unwrap())
    });
    assert_eq!(stems.len(), 1);
    let mut text = Vec::new();
    for stem in &stems {
        let [out, _] = streams(&dir, &format!("{stem}.log"), &format!("{stem}.index"));
        // A line that is open at the limit is ended.
        assert!(out.len() < (1 << 20) + 8 && out.ends_with(b"\n"));
        text.extend(out);
    }
    text.extend(streams(&dir, "current", "current.index")[0].iter());
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(text == expected.as_bytes());
}

#[test]
fn a_torn_log_is_continued() {
    let mut keeper = Keeper::start();
    let dir = keeper.log_dir("Sample");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("current"), "whole\ntor").unwrap();
    fs::write(dir.join("current.index"), "torn").unwrap();
    let order = keeper.order("Sample", "echo next");
    assert_eq!(keeper.output(order), "whole\ntor\nnext\n");
    assert_eq!(streams(&dir, "current", "current.index")[0], b"whole\ntor\nnext\n");
}

/// A limit on the size of files is as good as a full disk, and can be lifted.
#[test]
fn a_full_disk_stops_one_child_only_and_loses_nothing() {
    let mut keeper = Keeper::start_after("ulimit -S -f 8");
    keeper.spawn("Loud", "seq 100000 & seq 200000 300000 >&2; wait");
    keeper.spawn("Quiet", "echo fine");
    keeper.empty("Quiet");
    assert_eq!(keeper.log("Quiet"), "fine\n");
    let pid = rustix::process::Pid::from_child(&keeper.process);
    let free = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, free).unwrap();
    keeper.empty("Loud");
    let expected =
        [1..=100_000, 200_000..=300_000].map(|range| range.map(|it| format!("{it}\n")).collect());
    let printed = streams(&keeper.log_dir("Loud"), "current", "current.index");
    assert!(printed.map(|text| String::from_utf8(text).unwrap()) == expected as [String; 2]);
}
