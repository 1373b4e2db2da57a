//! Writes logs as the keeper does, for the tests.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Line, Reader, Record, Selection, Stream,
    rotation::{DATA, INDEX, Key},
};

/// A keeper with one daemon.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) dir: PathBuf,
    data: File,
    index: File,
    offset: u64,
    rotated: Vec<Key>,
}

impl Keeper {
    pub(super) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let data = File::create_new(dir.join(DATA.current)).unwrap();
        let index = File::create_new(dir.join(INDEX.current)).unwrap();
        Self { dir: dir.to_owned(), data, index, offset: 0, rotated: vec![] }
    }

    pub(super) fn out(&mut self, time_ms: u64, text: impl AsRef<[u8]>) {
        self.write(time_ms, Stream::Out, false, text.as_ref());
    }

    pub(super) fn err(&mut self, time_ms: u64, text: impl AsRef<[u8]>) {
        self.write(time_ms, Stream::Err, false, text.as_ref());
    }

    pub(super) fn note(&mut self, time_ms: u64, text: impl AsRef<[u8]>) {
        self.write(time_ms, Stream::Err, true, text.as_ref());
    }

    fn write(&mut self, time_ms: u64, stream: Stream, note: bool, text: &[u8]) {
        let record = self.data(time_ms, stream, note, text);
        self.index(&record.encode());
    }

    /// Writes data whose record never comes.
    pub(super) fn data(&mut self, time_ms: u64, stream: Stream, note: bool, text: &[u8]) -> Record {
        self.data.write_all(text).unwrap();
        let record = Record { time_ms, offset: self.offset, len: text.len() as u32, stream, note };
        self.offset = record.end();
        record
    }

    /// Writes to the index, whatever it is.
    pub(super) fn index(&mut self, bytes: &[u8]) {
        self.index.write_all(bytes).unwrap();
    }

    /// How long data and index are.
    pub(super) fn len(&self) -> (u64, u64) {
        (self.offset, self.index.metadata().unwrap().len())
    }

    /// Cuts off what is behind, as for want of room.
    pub(super) fn take_back(&mut self, (data, index): (u64, u64)) {
        self.data.set_len(data).unwrap();
        self.index.set_len(index).unwrap();
        self.data.seek(SeekFrom::End(0)).unwrap();
        self.index.seek(SeekFrom::End(0)).unwrap();
        self.offset = data;
    }

    pub(super) fn rotate(&mut self, ms: u64) {
        let key = self.rename_data(ms);
        self.rename_index(key);
        *self = Self { rotated: std::mem::take(&mut self.rotated), ..Self::new(&self.dir) };
    }

    pub(super) fn rename_data(&mut self, ms: u64) -> Key {
        let key = Key::next(self.rotated.last().copied(), ms);
        self.rotated.push(key);
        fs::rename(self.dir.join(DATA.current), self.dir.join(DATA.file(key))).unwrap();
        key
    }

    pub(super) fn rename_index(&self, key: Key) {
        fs::rename(self.dir.join(INDEX.current), self.dir.join(INDEX.file(key))).unwrap();
    }

    pub(super) fn prune(&mut self) {
        let key = self.rotated.remove(0);
        fs::remove_file(self.dir.join(DATA.file(key))).unwrap();
        fs::remove_file(self.dir.join(INDEX.file(key))).unwrap();
    }

    /// All lines as text, `*` behind those that are partial.
    pub(super) fn read(&self, selection: &Selection) -> Vec<String> {
        texts(&mut Reader::open(&self.dir, selection).unwrap())
    }
}

pub(super) fn texts(reader: &mut Reader) -> Vec<String> {
    std::iter::from_fn(|| reader.next_line().unwrap()).map(|it| text(&it)).collect()
}

pub(super) fn text(line: &Line) -> String {
    format!("{}{}", String::from_utf8_lossy(&line.text), if line.partial { "*" } else { "" })
}
