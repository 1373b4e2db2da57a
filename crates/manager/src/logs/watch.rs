//! Waits for changes in directories, some of which may not exist yet.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags},
    io::Errno,
};

/// Room for some dozens of events a read; the names in these directories are short.
const BUFFER_BYTES: usize = 4096;

/// A new name in a directory, or the end of the directory itself.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Watches directories for new files and for writes to one file of a known name.
///
/// Its descriptor is readable when [`Watch::changed`] has something to say.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    dirs: Vec<PathBuf>,
    file: &'static str,
    /// Which directories a watch stands for; not the parents of missing ones.
    watches: HashMap<i32, Vec<usize>>,
    missing: BTreeSet<usize>,
    changed: BTreeSet<usize>,
}

/// Why a directory could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A limit of the user is used up.
    #[error("cannot watch `{}`: too many watches (see fs.inotify.max_user_watches and max_user_instances)", dir.display())]
    TooMany {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },

    /// Anything else.
    #[error("cannot watch `{}`", dir.display())]
    Watch {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Watch {
    /// Watches `dirs` for new names and for writes to `file`.
    ///
    /// A directory that is missing, now or later, is watched as soon as it exists.
    ///
    /// # Errors
    /// [`WatchError`] if a limit is reached or a directory may not be read.
    pub fn new(dirs: Vec<PathBuf>, file: &'static str) -> Result<Self, WatchError> {
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|errno| {
                WatchError::new(dirs.first().map_or(Path::new("."), |it| it), errno)
            })?;
        let missing = (0..dirs.len()).collect();
        let (watches, changed) = (HashMap::new(), BTreeSet::new());
        let mut watch = Self { inotify, dirs, file, watches, missing, changed };
        watch.place_missing()?;
        Ok(watch)
    }

    /// Waits until a directory has changed and gives the numbers of all that have.
    ///
    /// May give none before `timeout` is over; `None` waits for as long as it takes.
    ///
    /// # Errors
    /// [`WatchError`] if a directory that came to be cannot be watched.
    pub fn changed(&mut self, timeout: Option<Duration>) -> Result<BTreeSet<usize>, WatchError> {
        if self.changed.is_empty() {
            self.wait(timeout).map_err(|it| self.broken(it))?;
        }
        self.take_events()?;
        Ok(std::mem::take(&mut self.changed))
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<(), Errno> {
        // A time too long for the kernel is as good as no end.
        let timeout = timeout.and_then(|it| Timespec::try_from(it).ok());
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn take_events(&mut self) -> Result<(), WatchError> {
        let mut news = vec![];
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => news.push(News::of(&event, self.file)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.broken(errno)),
            }
        }
        let is_any = !news.is_empty();
        for news in news {
            self.note(news);
        }
        if is_any { self.place_missing() } else { Ok(()) }
    }

    fn note(&mut self, news: News) {
        match news {
            News::Changed(watch) => self.mark_changed(watch),
            News::Appeared(watch, name) => {
                self.mark_changed(watch);
                let is_named = |at: &usize| self.dirs[*at].file_name() == Some(&name);
                self.missing.extend((0..self.dirs.len()).filter(is_named));
            }
            News::Gone(watch) => {
                // A directory that was moved away is still watched, under a name nobody asked for.
                inotify::remove_watch(&self.inotify, watch).ok();
                self.missing.extend(self.watches.remove(&watch).into_iter().flatten());
            }
            News::Lost => self.missing.extend(0..self.dirs.len()),
            News::Nothing => {}
        }
    }

    fn mark_changed(&mut self, watch: i32) {
        self.changed.extend(self.watches.get(&watch).into_iter().flatten());
    }

    fn place_missing(&mut self) -> Result<(), WatchError> {
        for at in std::mem::take(&mut self.missing) {
            self.watches.values_mut().for_each(|it| it.retain(|it| *it != at));
            if let Some(watch) = self.place(&self.dirs[at])? {
                self.watches.entry(watch).or_default().push(at);
                self.changed.insert(at);
            } else {
                self.missing.insert(at);
            }
        }
        self.watches.retain(|_, dirs| !dirs.is_empty());
        Ok(())
    }

    /// Watches a directory and its parent, or if there is none the deepest parent that exists.
    ///
    /// The parent tells when a directory is replaced. The directory itself does so only once all
    /// its files are closed, and a reader keeps them open.
    fn place(&self, dir: &Path) -> Result<Option<i32>, WatchError> {
        loop {
            let below = self.add_deepest_parent(dir)?;
            if let Some(watch) = self.add(dir, NAMES | WatchFlags::MODIFY)? {
                return Ok(Some(watch));
            }
            // Made before its parent was watched: nothing will tell.
            if !below.exists() {
                return Ok(None);
            }
        }
    }

    /// Watches the deepest parent that exists; returns what should be in it.
    fn add_deepest_parent<'a>(&self, dir: &'a Path) -> Result<&'a Path, WatchError> {
        let mut below = dir;
        for parent in dir.ancestors().skip(1) {
            if self.add(parent, NAMES | WatchFlags::MASK_ADD)?.is_some() {
                break;
            }
            below = parent;
        }
        Ok(below)
    }

    fn add(&self, dir: &Path, flags: WatchFlags) -> Result<Option<i32>, WatchError> {
        match inotify::add_watch(&self.inotify, dir, flags) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(WatchError::new(dir, errno)),
        }
    }

    fn broken(&self, errno: Errno) -> WatchError {
        WatchError::new(self.dirs.first().map_or(Path::new("."), |it| it), errno)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}

impl WatchError {
    fn new(dir: &Path, errno: Errno) -> Self {
        let (dir, source) = (dir.to_owned(), errno.into());
        match errno {
            Errno::NOSPC | Errno::MFILE => Self::TooMany { dir, source },
            _ => Self::Watch { dir, source },
        }
    }
}

/// What an event means for us.
#[derive(Debug)]
enum News {
    Changed(i32),
    Appeared(i32, OsString),
    Gone(i32),
    /// The kernel dropped events: anything may have changed.
    Lost,
    Nothing,
}

impl News {
    fn of(event: &Event<'_>, file: &str) -> Self {
        let is = |flags| event.events().intersects(flags);
        let name = event.file_name().map(|it| OsStr::from_bytes(it.to_bytes()));
        match name {
            _ if is(ReadFlags::QUEUE_OVERFLOW) => Self::Lost,
            None if is(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED) => {
                Self::Gone(event.wd())
            }
            Some(name) if is(ReadFlags::CREATE | ReadFlags::MOVED_TO) => {
                Self::Appeared(event.wd(), name.to_owned())
            }
            Some(name) if name == file => Self::Changed(event.wd()),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::Instant;

    use super::*;

    /// One patience for all: only a test that fails waits for so long.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn expect(watch: &mut Watch, wanted: &[usize]) {
        let (mut seen, end) = (BTreeSet::new(), Instant::now() + PATIENCE);
        while !wanted.iter().all(|it| seen.contains(it)) {
            assert!(Instant::now() < end, "only {seen:?} changed");
            seen.extend(watch.changed(Some(PATIENCE)).unwrap());
        }
    }

    fn is_quiet(watch: &mut Watch) -> bool {
        watch.changed(Some(Duration::ZERO)).unwrap().is_empty()
    }

    #[test]
    fn a_directory_is_found_when_it_comes_goes_and_comes_again() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state/logs/Sample");
        let mut watch = Watch::new(vec![dir.clone()], "current").unwrap();
        assert!(is_quiet(&mut watch));
        for _ in 0..2 {
            fs::create_dir_all(&dir).unwrap();
            expect(&mut watch, &[0]);
            fs::write(dir.join("current"), "x").unwrap();
            expect(&mut watch, &[0]);
            fs::remove_dir_all(home.path().join("state")).unwrap();
            assert!(is_quiet(&mut watch) || is_quiet(&mut watch));
        }
        fs::create_dir_all(home.path().join("elsewhere")).unwrap();
        fs::create_dir_all(&dir).unwrap();
        expect(&mut watch, &[0]);
    }

    #[test]
    fn only_the_directory_that_changed_is_named() {
        let home = tempfile::tempdir().unwrap();
        let dirs = ["One", "Two"].map(|it| home.path().join(it));
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("current"), "").unwrap();
            fs::write(dir.join("other"), "").unwrap();
        }
        let mut watch = Watch::new(dirs.to_vec(), "current").unwrap();
        assert_eq!(watch.changed(Some(PATIENCE)).unwrap(), BTreeSet::from([0, 1]));
        fs::write(dirs[1].join("other"), "x").unwrap();
        assert!(is_quiet(&mut watch));
        fs::write(dirs[1].join("current"), "x").unwrap();
        assert_eq!(watch.changed(Some(PATIENCE)).unwrap(), BTreeSet::from([1]));
        fs::rename(dirs[0].join("current"), dirs[0].join("@1-0")).unwrap();
        assert_eq!(watch.changed(Some(PATIENCE)).unwrap(), BTreeSet::from([0]));
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("Sample");
        fs::write(&dir, "").unwrap();
        let error = Watch::new(vec![dir.clone()], "current").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot watch `{}`", dir.display()));
    }
}
