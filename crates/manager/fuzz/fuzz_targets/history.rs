//! The history, which the next manager goes on with.

#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use manager::events::{Event, Kind, Reader, What, Writer};
use manager_fuzz::{Folder, json_survives};

thread_local!(static FOLDER: LazyCell<Folder> = LazyCell::new(|| Folder::new("history")));

fuzz_target!(|input: &[u8]| {
    json_survives::<Event>(input);
    FOLDER.with(|folder| {
        folder.put("current", input);
        let what = What { kind: Kind::Note, name: None, by: None, members: Default::default() };
        let mut writer = Writer::open(folder.path()).expect("any history can be gone on with");
        let written = writer.append(what, 7).expect("there is room");
        assert_eq!(all(folder).last(), Some(&written));
    });
});

fn all(folder: &Folder) -> Vec<Event> {
    let mut reader = Reader::open(folder.path(), 0);
    std::iter::from_fn(|| reader.next_event().expect("any history can be read")).collect()
}
