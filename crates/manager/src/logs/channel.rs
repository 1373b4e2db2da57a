//! One stream's bytes, put together to lines again.

use super::{
    index::Stream,
    line::{Cursor, Line},
};

/// The longest text of a line in bytes; what is longer comes in pieces, so that a daemon which
/// never ends a line costs no more memory than others.
pub(super) const LIMIT: usize = 64 * 1024;

/// A place between two lines of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) inode: u64,
    pub(super) record: u64,
    pub(super) byte: u32,
}

/// What is known of a line since its first byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) time_ms: u64,
    pub(super) stream: Stream,
    pub(super) note: bool,
    pub(super) cursor: Cursor,
}

/// The line of a stream that has not ended yet.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Where the first line wanted begins; bytes before it are the end of an older line.
    start: Option<Mark>,
    began: Option<Began>,
    text: Vec<u8>,
}

impl Channel {
    /// A channel whose first line wanted begins at `start`, or with the first byte met.
    pub(super) fn starting(start: Option<Mark>) -> Self {
        Self { start, ..Self::default() }
    }

    /// Where in a record to go on; `None` if all of it is before the first line wanted.
    pub(super) fn enter(&mut self, inode: u64, record: u64, byte: u32) -> Option<u32> {
        let Some(start) = self.start else { return Some(byte) };
        let is_here = start.inode == inode && start.record == record;
        is_here.then(|| self.start.take().map_or(byte, |it| it.byte))
    }

    /// When the line began that has not ended yet.
    pub(super) fn pending_since(&self) -> Option<u64> {
        self.began.map(|it| it.time_ms)
    }

    /// Takes bytes up to the end of a line or of a piece; returns how many, and the line.
    pub(super) fn feed(&mut self, began: Began, bytes: &[u8]) -> (usize, Option<Line>) {
        self.began.get_or_insert(began);
        let room = LIMIT - self.text.len();
        let window = &bytes[..bytes.len().min(room + 1)];
        if let Some(end) = window.iter().position(|&it| it == b'\n') {
            self.text.extend_from_slice(&window[..end]);
            return (end + 1, self.finish(false));
        }
        let taken = window.len().min(room);
        self.text.extend_from_slice(&window[..taken]);
        let full = window.len() > room;
        (taken, if full { self.finish(true) } else { None })
    }

    /// Gives what there is as a line, if there is anything.
    pub(super) fn finish(&mut self, partial: bool) -> Option<Line> {
        let Began { time_ms, stream, note, cursor } = self.began.take()?;
        let text = std::mem::take(&mut self.text);
        Some(Line { time_ms, stream, text, partial, note, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Began = Began {
        time_ms: 1,
        stream: Stream::Out,
        note: false,
        cursor: Cursor { inode: 0, offset: 0 },
    };

    fn lines(wire: &[u8], size: usize) -> Vec<(Vec<u8>, bool)> {
        let (mut channel, mut lines) = (Channel::default(), vec![]);
        for mut chunk in wire.chunks(size) {
            while !chunk.is_empty() {
                let (used, line) = channel.feed(BEGAN, chunk);
                chunk = &chunk[used..];
                lines.extend(line.map(|it| (it.text, it.partial)));
            }
        }
        lines.extend(channel.finish(true).map(|it| (it.text, it.partial)));
        lines
    }

    #[test]
    fn a_line_of_the_limit_is_whole_and_one_byte_more_is_two_pieces() {
        for size in [1, 7, LIMIT, 3 * LIMIT] {
            let mut wire = vec![b'x'; LIMIT];
            wire.push(b'\n');
            assert_eq!(lines(&wire, size), [(vec![b'x'; LIMIT], false)]);
            wire.insert(0, b'x');
            let pieces = [(vec![b'x'; LIMIT], true), (vec![b'x'], false)];
            assert_eq!(lines(&wire, size), pieces);
        }
    }

    proptest::proptest! {
        #[test]
        fn lines_survive_any_cut(wire in "[ab\n]{0,60}", size in 1usize..9) {
            let mut expected: Vec<_> = wire.split('\n').map(|it| (it.as_bytes().to_vec(), false)).collect();
            match expected.pop() {
                Some((text, _)) if !text.is_empty() => expected.push((text, true)),
                _ => {}
            }
            proptest::prop_assert_eq!(lines(wire.as_bytes(), size), expected);
        }
    }
}
