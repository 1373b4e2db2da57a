//! A log directory. The first byte tells how many records its index has; what follows them is the
//! data.

#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use manager::logs::{Reader, Selection, index};
use manager_fuzz::Folder;

thread_local!(static FOLDER: LazyCell<Folder> = LazyCell::new(|| Folder::new("log")));

fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else { return };
    // A torn record, too.
    let (records, data) = rest.split_at(rest.len().min(usize::from(count) * index::SIZE / 4));
    FOLDER.with(|folder| {
        raw(folder, records, data);
        packed(folder, records, data);
    });
});

fn raw(folder: &Folder, records: &[u8], data: &[u8]) {
    folder.put("current", data);
    folder.put("current.index", records);
    read_in_all_ways(folder);
    folder.remove("current");
    folder.remove("current.index");
}

/// As a file that was compressed, which few inputs are.
fn packed(folder: &Folder, records: &[u8], data: &[u8]) {
    folder.put("@1-0.log.gz", data);
    folder.put("@1-0.index", records);
    read_in_all_ways(folder);
    folder.remove("@1-0.log.gz");
    folder.remove("@1-0.index");
}

fn read_in_all_ways(folder: &Folder) {
    let whole = Selection::default();
    let last = Selection { lines: Some(2), ..Selection::default() };
    let recent = Selection { since_ms: Some(1 << 40), ..Selection::default() };
    for selection in [whole, last, recent] {
        let Ok(mut reader) = Reader::open(folder.path(), &selection) else { continue };
        while let Ok(Some(line)) = reader.next_line() {
            assert!(selection.admits(&line));
            assert!(line.text.len() <= 64 << 10 && !line.text.contains(&b'\n'));
        }
    }
}
