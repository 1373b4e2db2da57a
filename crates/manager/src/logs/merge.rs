//! Several logs as one, by time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    line::Line,
    reader::{ReadError, Reader},
};

/// Merges logs by the time of their lines.
///
/// Stable: of lines of the same millisecond the log given first comes first, and lines of one log
/// keep their order even where the clock was set back.
#[derive(Debug)]
pub struct Merge {
    readers: Vec<Reader>,
    heads: Vec<Option<Line>>,
    order: BinaryHeap<Reverse<(u64, usize)>>,
    /// Readers to ask before the next line is chosen.
    unread: Vec<usize>,
}

impl Merge {
    /// Merges these logs; lines come with the number of theirs.
    pub fn new(readers: Vec<Reader>) -> Self {
        let heads = readers.iter().map(|_| None).collect();
        let unread = (0..readers.len()).collect();
        Self { readers, heads, order: BinaryHeap::new(), unread }
    }

    /// Gives the oldest line of all.
    ///
    /// A reader that had nothing is not asked again before [`Merge::wake`].
    ///
    /// # Errors
    /// [`ReadError`] of any of them; the next call asks that one again.
    pub fn next_line(&mut self) -> Result<Option<(usize, Line)>, ReadError> {
        while let Some(&source) = self.unread.last() {
            self.fill(source)?;
            self.unread.pop();
        }
        let Some(Reverse((_, source))) = self.order.pop() else { return Ok(None) };
        self.unread.push(source);
        Ok(self.heads[source].take().map(|line| (source, line)))
    }

    /// Says that a log may have grown.
    pub fn wake(&mut self, source: usize) {
        self.unread.push(source);
    }

    fn fill(&mut self, source: usize) -> Result<(), ReadError> {
        if self.heads[source].is_none() {
            self.heads[source] = self.readers[source].next_line()?;
            let time_ms = self.heads[source].as_ref().map(|it| it.time_ms);
            self.order.extend(time_ms.map(|it| Reverse((it, source))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{
        Selection,
        fixture::{Keeper, text},
    };

    #[test]
    fn logs_are_merged_by_time_and_equal_times_by_order() {
        let dir = tempfile::tempdir().unwrap();
        let [mut one, mut two] = ["One", "Two"].map(|it| Keeper::new(&dir.path().join(it)));
        for time_ms in [1, 2, 5, 3] {
            one.out(time_ms, format!("a{time_ms}\n"));
            two.err(time_ms, format!("b{time_ms}\n"));
        }
        two.rotate(6);
        let all = Selection::default();
        let readers = [&one, &two].map(|it| Reader::open(&it.dir, &all).unwrap());
        let mut merge = Merge::new(readers.into());
        let lines = std::iter::from_fn(|| merge.next_line().unwrap());
        let lines: Vec<_> = lines.map(|(source, line)| (source, text(&line))).collect();
        let line = |source, text: &str| (source, text.to_owned());
        assert_eq!(
            lines,
            [
                (0, "a1"),
                (1, "b1"),
                (0, "a2"),
                (1, "b2"),
                (0, "a5"),
                (0, "a3"),
                (1, "b5"),
                (1, "b3")
            ]
            .map(|(source, text)| line(source, text))
        );
    }
}
