//! What was written to a disk, in order, as `blklogwrites` records it (the form of dm-log-writes).

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Dice, disk::BYTES};

/// Begins the record.
const MAGIC: u64 = 0x6a_7366_7773_6872;

const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// Why it can't be read, or no image be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("cannot use `{}`", path.display())]
    File { path: PathBuf, source: io::Error },

    #[error("`{}` is no record of a disk", path.display())]
    Form { path: PathBuf },
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    path: PathBuf,
    sector: u64,
    entries: Vec<Entry>,
}

/// What was done once.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where on the disk, and how much.
    at: u64,
    length: u64,
    is_flush: bool,
    is_discard: bool,
    /// Where in the record its bytes begin, and where it ends.
    data: u64,
    end: u64,
}

impl Record {
    pub(crate) fn read(path: &Path) -> Result<Self, RecordError> {
        let failed = |source| RecordError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let head = numbers::<3>(&file, 0).map_err(failed)?;
        let mut sector = [0; 4];
        file.read_exact_at(&mut sector, 24).map_err(failed)?;
        let sector = u64::from(u32::from_le_bytes(sector));
        let [magic, _, count] = head;
        if magic != MAGIC || !(512..=4096).contains(&sector) {
            return Err(RecordError::Form { path: path.to_owned() });
        }
        let (mut entries, mut place) = (Vec::new(), sector);
        for _ in 0..count {
            let [at, sectors, flags, _] = numbers::<4>(&file, place).map_err(failed)?;
            let is_discard = flags & DISCARD != 0;
            let (at, length, data) = (at * sector, sectors * sector, place + sector);
            let end = if is_discard { data } else { data + length };
            entries.push(Entry { at, length, is_flush: flags & FLUSH != 0, is_discard, data, end });
            place = end;
        }
        Ok(Self { file, path: path.to_owned(), sector, entries })
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.entries.iter().map(|it| it.length / self.sector).sum()
    }

    pub(crate) fn flushes(&self) -> usize {
        self.entries.iter().filter(|it| it.is_flush).count()
    }

    /// Some moment at which the record had more than `begun` bytes: how many it had.
    pub(crate) fn moment_after(&self, begun: u64, dice: &mut Dice) -> u64 {
        let first = self.entries.partition_point(|it| it.end < begun);
        let after = self.entries.get(first..).unwrap_or_default();
        after.get(dice.below(after.len().max(1))).map_or(begun, |it| it.end)
    }

    /// Writes to `image` what was on the disk when the record had `end` bytes; `is_mixed` leaves
    /// out any of what was not flushed, and writes the rest in any order. How many writes were
    /// left out.
    pub(crate) fn image(
        &self,
        image: &Path,
        end: u64,
        is_mixed: bool,
        dice: &mut Dice,
    ) -> Result<usize, RecordError> {
        let failed = |source| RecordError::File { path: image.to_owned(), source };
        let disk = File::create(image).map_err(failed)?;
        disk.set_len(BYTES).map_err(failed)?;
        let until = self.entries.partition_point(|it| it.end <= end);
        let known = &self.entries[..until];
        let flushed = known.iter().rposition(|it| it.is_flush).map_or(0, |it| it + 1);
        let (safe, open) = known.split_at(flushed);
        let mut open = open.to_vec();
        if is_mixed {
            open.retain(|_| dice.below(2) == 0);
            for place in (1..open.len()).rev() {
                open.swap(place, dice.below(place + 1));
            }
        }
        for entry in safe.iter().chain(&open) {
            self.apply(entry, &disk)?;
        }
        Ok(until - flushed - open.len())
    }

    fn apply(&self, entry: &Entry, disk: &File) -> Result<(), RecordError> {
        let mut bytes = vec![0; entry.length as usize];
        let failed = |source| RecordError::File { path: self.path.clone(), source };
        if !entry.is_discard {
            self.file.read_exact_at(&mut bytes, entry.data).map_err(failed)?;
        }
        disk.write_all_at(&bytes, entry.at).map_err(failed)
    }
}

fn numbers<const N: usize>(file: &File, place: u64) -> io::Result<[u64; N]> {
    let mut numbers = [0; N];
    for (number, place) in numbers.iter_mut().zip((place..).step_by(8)) {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, place)?;
        *number = u64::from_le_bytes(bytes);
    }
    Ok(numbers)
}
