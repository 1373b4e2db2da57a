//! Logs as they grow.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::PathBuf,
    time::Duration,
};

use super::{
    line::{Line, Selection},
    merge::Merge,
    reader::{ReadError, Reader},
    rotation::INDEX,
    watch::{Watch, WatchError},
};

/// The most lines of one batch; with lines of 64 KiB 16 MiB.
const BATCH: usize = 256;

/// Why logs could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),

    /// A directory cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Follows logs over rotations, first what they hold already, merged by time.
///
/// Needs no manager. Blocking: [`Follow::next_batch`] with a timeout or without. In a task: ask
/// with no time to wait until a batch is empty, then wait for the descriptor to be readable.
#[derive(Debug)]
pub struct Follow {
    watch: Watch,
    merge: Merge,
}

impl Follow {
    /// Follows the logs in `dirs`, each from where `selection` begins; `lines: Some(0)` is only
    /// what comes from now on.
    ///
    /// A directory may be missing and come later, or go and come again.
    ///
    /// # Errors
    /// [`FollowError`] if a directory cannot be watched or a file cannot be read.
    pub fn open(dirs: Vec<PathBuf>, selection: &Selection) -> Result<Self, FollowError> {
        // Watched before they are read, so that nothing falls in between.
        let watch = Watch::new(dirs.clone(), INDEX.current)?;
        let readers: Result<_, _> =
            dirs.iter().map(|dir| Reader::open_following(dir, selection)).collect();
        Ok(Self { watch, merge: Merge::new(readers?) })
    }

    /// Gives some lines, each with the number of its directory, waiting for the first if need be.
    ///
    /// An empty batch before `timeout` is over means that something else changed; `None` waits for
    /// as long as it takes.
    ///
    /// # Errors
    /// [`FollowError`] if a file cannot be read or a new directory cannot be watched.
    pub fn next_batch(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Vec<(usize, Line)>, FollowError> {
        self.wake(Some(Duration::ZERO))?;
        let batch = self.batch()?;
        if !batch.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(batch);
        }
        self.wake(timeout)?;
        self.batch()
    }

    fn wake(&mut self, timeout: Option<Duration>) -> Result<(), FollowError> {
        for source in self.watch.changed(timeout)? {
            self.merge.wake(source);
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<Vec<(usize, Line)>, FollowError> {
        let mut batch = vec![];
        while batch.len() < BATCH {
            match self.merge.next_line() {
                Ok(Some(line)) => batch.push(line),
                Ok(None) => break,
                // What was read is not lost: the error comes again with the next batch.
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(batch)
    }
}

impl AsFd for Follow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl AsRawFd for Follow {
    fn as_raw_fd(&self) -> RawFd {
        self.watch.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;
    use crate::logs::fixture::{Keeper, text};

    /// One patience for all: only a test that fails waits for so long.
    const PATIENCE: Duration = Duration::from_secs(20);
    const NEW: Selection =
        Selection { lines: Some(0), since_ms: None, before_ms: None, stream: None, grep: None };

    fn keeper() -> (TempDir, Keeper) {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(&dir.path().join("Sample"));
        (dir, keeper)
    }

    fn now(follow: &mut Follow) -> Vec<String> {
        let batch = follow.next_batch(Some(Duration::ZERO)).unwrap();
        batch.iter().map(|(_, line)| text(line)).collect()
    }

    fn take(follow: &mut Follow, count: usize) -> Vec<(usize, String)> {
        let (mut lines, end) = (vec![], Instant::now() + PATIENCE);
        while lines.len() < count {
            assert!(Instant::now() < end, "{} of {count} lines", lines.len());
            let batch = follow.next_batch(Some(PATIENCE)).unwrap();
            lines.extend(batch.iter().map(|(source, line)| (*source, text(line))));
        }
        lines
    }

    #[test]
    fn only_what_is_new_comes_and_only_whole_lines() {
        let (_dir, mut keeper) = keeper();
        keeper.out(1, "old\nbe");
        let mut follow = Follow::open(vec![keeper.dir.clone()], &NEW).unwrap();
        assert_eq!(now(&mut follow), [""; 0]);
        keeper.out(2, "gun\nha");
        keeper.err(2, "error\n");
        assert_eq!(now(&mut follow), ["begun", "error"]);
        keeper.out(3, "lf\n");
        assert_eq!(now(&mut follow), ["half"]);
    }

    #[test]
    fn the_last_lines_come_first() {
        let (_dir, mut keeper) = keeper();
        keeper.out(1, "a\nb\nc\nd");
        let two = Selection { lines: Some(2), ..NEW };
        let mut follow = Follow::open(vec![keeper.dir.clone()], &two).unwrap();
        assert_eq!(now(&mut follow), ["b", "c"]);
        keeper.out(2, "\ne\n");
        assert_eq!(now(&mut follow), ["d", "e"]);
    }

    #[test]
    fn lines_written_before_and_after_a_rotation_are_not_lost() {
        let (_dir, mut keeper) = keeper();
        let mut follow = Follow::open(vec![keeper.dir.clone()], &NEW).unwrap();
        keeper.out(1, "a\nb");
        keeper.rotate(1);
        keeper.rotate(1);
        keeper.out(2, "b\n");
        keeper.rotate(2);
        assert_eq!(now(&mut follow), ["a", "bb"]);
        keeper.out(3, "c\n");
        let key = keeper.rename_data(3);
        assert_eq!(now(&mut follow), ["c"]);
        keeper.rename_index(key);
        assert_eq!(now(&mut follow), [""; 0]);
    }

    #[test]
    fn a_rotation_between_two_looks_loses_nothing() {
        let (_dir, mut keeper) = keeper();
        keeper.out(1, "a\n");
        let mut follow = Follow::open(vec![keeper.dir.clone()], &NEW).unwrap();
        let mut expected = vec![];
        for round in 0..20 {
            expected.extend([format!("{round} late"), format!("{round} new")]);
            keeper.out(round, format!("{round} late\n"));
            keeper.rotate(round);
            keeper.out(round, format!("{round} new\n"));
            if round > 3 {
                keeper.prune();
            }
            if round % 3 == 0 {
                assert_eq!(now(&mut follow), std::mem::take(&mut expected));
            }
        }
        assert_eq!(now(&mut follow), expected);
    }

    #[test]
    fn a_directory_may_come_later_and_come_again() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("logs/Sample");
        let mut follow = Follow::open(vec![dir.clone()], &NEW).unwrap();
        for text in ["first", "again"] {
            let mut keeper = Keeper::new(&dir);
            keeper.out(1, format!("{text}\nunfinished"));
            assert_eq!(take(&mut follow, 1), [(0, text.to_owned())]);
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn a_writer_at_full_speed_loses_no_line_over_rotations() {
        const LINES: usize = 20_000;
        let home = tempfile::tempdir().unwrap();
        let dirs = ["One", "Two"].map(|it| home.path().join(it));
        let mut follow = Follow::open(dirs.to_vec(), &NEW).unwrap();
        let writers = dirs.map(|dir| thread::spawn(move || write(Keeper::new(&dir), LINES)));
        let lines = take(&mut follow, 2 * LINES);
        for writer in writers {
            writer.join().unwrap();
        }
        for source in 0..2 {
            let ours = lines.iter().filter(|it| it.0 == source).map(|it| it.1.as_str());
            assert!(ours.eq((0..LINES).map(|it| it.to_string())), "source {source}");
        }
    }

    fn write(mut keeper: Keeper, lines: usize) {
        for number in 0..lines {
            let text = format!("{number}\n");
            let (head, tail) = text.split_at(1);
            keeper.out(number as u64, head);
            keeper.err(number as u64, "");
            keeper.out(number as u64, tail);
            if number % 400 == 0 {
                keeper.rotate(number as u64);
            }
        }
    }

    /// The line may come after the last look at a file and before it is seen to be renamed.
    #[test]
    fn a_line_written_just_before_a_rotation_is_not_lost() {
        const ROUNDS: usize = 1000;
        const AHEAD: usize = 4;
        let (_dir, mut keeper) = keeper();
        let mut follow = Follow::open(vec![keeper.dir.clone()], &NEW).unwrap();
        let (seen, next) = mpsc::channel();
        let writer = thread::spawn(move || {
            for number in 0..ROUNDS {
                keeper.out(number as u64, format!("{number}\n"));
                keeper.rotate(number as u64);
                if number > AHEAD {
                    next.recv().unwrap();
                    keeper.prune();
                }
            }
        });
        let mut number = 0;
        while number < ROUNDS {
            for line in take(&mut follow, 1) {
                assert_eq!(line, (0, number.to_string()));
                number += 1;
                seen.send(()).ok();
            }
        }
        writer.join().unwrap();
    }

    #[test]
    fn the_descriptor_is_readable_until_a_batch_is_empty() {
        let (_dir, mut keeper) = keeper();
        let mut follow = Follow::open(vec![keeper.dir.clone()], &NEW).unwrap();
        for text in ["one", "two"] {
            assert_eq!(now(&mut follow), [""; 0]);
            assert!(!is_readable(&follow));
            keeper.out(1, format!("{text}\n"));
            assert!(is_readable(&follow));
            assert_eq!(now(&mut follow), [text]);
        }
    }

    fn is_readable(follow: &Follow) -> bool {
        let mut polled = [PollFd::new(follow, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
    }
}
