//! A disk in memory that remembers every call, fails when it is told to, and can lose its power
//! anywhere.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use crate::{
    DiskError, Revision,
    store::disk::{Disk, Stored},
};

/// What a disk writes as a whole, or not.
const SECTOR: usize = 512;

/// All files by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What was done to the disk, and what was told outside.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
    SyncNames,
    Write(usize, u64, Vec<u8>),
    Allocate(usize, u64),
    Truncate(usize, u64),
    Sync(usize),
    /// After it the kernel takes what was written for stored, whether it is or not.
    SyncFailed(usize),
    Acknowledged(Revision),
    Snapshot(Revision),
}

/// What the power takes with it: what becomes of a change that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// Something else is there.
    Garbage,
}

/// Which calls fail, by their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) calls: Range<usize>,
    /// Only what needs room fails.
    pub(super) is_full: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sim(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    /// What is read, by number of file.
    contents: Vec<Vec<u8>>,
    /// What was there before the first call.
    before: Files,
    ops: Vec<Op>,
    calls: usize,
    faults: Faults,
    /// It is the test that looks: no call of that fails, or counts.
    is_looked_at: bool,
}

#[derive(Debug)]
struct File {
    sim: Sim,
    name: String,
    number: usize,
}

impl Sim {
    pub(super) fn with(files: Files) -> Self {
        let numbered = files.iter().enumerate();
        let names = numbered.map(|(number, (name, _))| (name.clone(), number)).collect();
        let contents = files.values().cloned().collect();
        Self(Arc::new(Mutex::new(State { names, contents, before: files, ..State::default() })))
    }

    pub(super) fn failing(faults: Faults) -> Self {
        let sim = Self::default();
        sim.state().faults = faults;
        sim
    }

    /// The next call fails, and no other.
    pub(super) fn fail_next(&self) {
        self.fail_after(1);
    }

    /// The call with this number from now on fails, and no other.
    pub(super) fn fail_after(&self, calls: usize) {
        self.fail(calls..calls + 1);
    }

    /// The calls with these numbers from now on fail, and no others.
    pub(super) fn fail(&self, calls: Range<usize>) {
        let mut state = self.state();
        state.faults.calls = state.calls + calls.start..state.calls + calls.end;
    }

    /// Lets a test look at what is there; no call of that fails, or counts.
    pub(super) fn look<T>(&self, look: impl FnOnce() -> T) -> T {
        self.state().is_looked_at = true;
        let seen = look();
        self.state().is_looked_at = false;
        seen
    }

    pub(super) fn ops(&self) -> Vec<Op> {
        self.state().ops.clone()
    }

    /// How many calls there were that could have failed.
    pub(super) fn calls(&self) -> usize {
        self.state().calls
    }

    pub(super) fn note(&self, op: Op) {
        self.state().ops.push(op);
    }

    /// What is there when the power goes now.
    pub(super) fn crash(&self, fate: impl FnMut() -> Fate) -> Files {
        let state = self.state();
        crash(&state.before, &state.ops, fate)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// One more call, which may fail.
    fn call(&mut self, act: &'static str, name: &str, takes_room: bool) -> Result<(), DiskError> {
        if self.is_looked_at {
            return Ok(());
        }
        self.calls += 1;
        let is_faulty = self.faults.calls.contains(&self.calls);
        let kind = match self.faults.is_full {
            true => io::ErrorKind::StorageFull,
            false => io::ErrorKind::Other,
        };
        if is_faulty && (takes_room || !self.faults.is_full) {
            return Err(DiskError { act, file: PathBuf::from(name), source: kind.into() });
        }
        Ok(())
    }
}

/// What is left of `ops` on the disk when the power goes after the last of them.
///
/// What was synced is there. Of everything else, sector by sector and name by name, `fate` decides.
pub(super) fn crash(before: &Files, ops: &[Op], mut fate: impl FnMut() -> Fate) -> Files {
    let mut names: BTreeMap<&str, usize> =
        before.keys().enumerate().map(|(number, name)| (&**name, number)).collect();
    let mut contents: BTreeMap<usize, Vec<u8>> = before.values().cloned().enumerate().collect();
    for (at, op) in ops.iter().enumerate() {
        let later = &ops[at + 1..];
        let names_synced = || later.iter().any(|it| matches!(it, Op::SyncNames));
        match op {
            Op::Create(name, number) => {
                if names_synced() || fate() == Fate::Kept {
                    names.insert(name, *number);
                }
                contents.entry(*number).or_default();
            }
            Op::Rename(from, to) if names_synced() || fate() == Fate::Kept => {
                // That it was made was lost, and what it was renamed to was not.
                let number = names.remove(&**from).or_else(|| last_created(&ops[..at], from));
                names.extend(number.map(|number| (&**to, number)));
            }
            Op::Remove(name) if names_synced() || fate() == Fate::Kept => {
                names.remove(&**name);
            }
            Op::Write(number, offset, bytes) => {
                let file = contents.entry(*number).or_default();
                for (range, piece) in sectors(*offset as usize, bytes) {
                    let fate = synced(later, *number).unwrap_or_else(&mut fate);
                    put(file, range.start, piece, fate);
                }
            }
            Op::Allocate(number, end) => {
                let file = contents.entry(*number).or_default();
                if synced(later, *number).unwrap_or_else(&mut fate) == Fate::Kept {
                    file.resize(file.len().max(*end as usize), 0);
                }
            }
            Op::Truncate(number, length)
                if synced(later, *number).unwrap_or_else(&mut fate) == Fate::Kept =>
            {
                contents.entry(*number).or_default().resize(*length as usize, 0);
            }
            _ => {}
        }
    }
    let file = |(name, number): (&str, usize)| (name.to_owned(), contents[&number].clone());
    names.into_iter().map(file).collect()
}

/// What the next sync says of a change to a file. One that failed says nothing, and none after it
/// does.
fn synced(later: &[Op], number: usize) -> Option<Fate> {
    let next = later.iter().find_map(|it| match it {
        Op::Sync(it) if *it == number => Some(Some(Fate::Kept)),
        Op::SyncFailed(it) if *it == number => Some(None),
        _ => None,
    });
    next.flatten()
}

fn last_created(ops: &[Op], wanted: &str) -> Option<usize> {
    ops.iter().rev().find_map(|it| match it {
        Op::Create(name, number) if name == wanted => Some(*number),
        _ => None,
    })
}

fn put(file: &mut Vec<u8>, at: usize, piece: &[u8], fate: Fate) {
    if fate == Fate::Lost {
        return;
    }
    file.resize(file.len().max(at + piece.len()), 0);
    let there = &mut file[at..at + piece.len()];
    match fate {
        Fate::Kept => there.copy_from_slice(piece),
        _ => there.iter_mut().enumerate().for_each(|(place, it)| *it = (place * 37 + at) as u8),
    }
}

/// A write, cut at the borders of sectors.
fn sectors(offset: usize, bytes: &[u8]) -> Vec<(Range<usize>, &[u8])> {
    let (mut all, mut at) = (Vec::new(), offset);
    while at < offset + bytes.len() {
        let end = ((at / SECTOR + 1) * SECTOR).min(offset + bytes.len());
        all.push((at..end, &bytes[at - offset..end - offset]));
        at = end;
    }
    all
}

fn missing(name: &str) -> DiskError {
    DiskError { act: "open", file: PathBuf::from(name), source: io::ErrorKind::NotFound.into() }
}

impl Disk for Sim {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let mut state = self.state();
        state.call("list", ".", false)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> Result<Arc<dyn Stored>, DiskError> {
        let mut state = self.state();
        state.call("create", name, true)?;
        let number = state.contents.len();
        state.contents.push(Vec::new());
        state.names.insert(name.to_owned(), number);
        state.ops.push(Op::Create(name.to_owned(), number));
        Ok(Arc::new(File { sim: self.clone(), name: name.to_owned(), number }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Stored>, DiskError> {
        let mut state = self.state();
        state.call("open", name, false)?;
        let number = state.names.get(name).copied();
        let number = number.ok_or_else(|| missing(name))?;
        Ok(Arc::new(File { sim: self.clone(), name: name.to_owned(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.call("rename", from, false)?;
        let number = state.names.remove(from).unwrap();
        state.names.insert(to.to_owned(), number);
        state.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let is_there = state.names.contains_key(name);
        state.call("remove", name, false)?;
        if !is_there {
            return Err(missing(name));
        }
        state.names.remove(name);
        state.ops.push(Op::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        state.call("sync", ".", false)?;
        state.ops.push(Op::SyncNames);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}

impl Stored for File {
    fn length(&self) -> Result<u64, DiskError> {
        let mut state = self.sim.state();
        state.call("look at", &self.name, false)?;
        Ok(state.contents[self.number].len() as u64)
    }

    fn modified(&self) -> Result<SystemTime, DiskError> {
        self.sim.state().call("look at", &self.name, false)?;
        Ok(SystemTime::UNIX_EPOCH)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut state = self.sim.state();
        state.call("read", &self.name, false)?;
        let content = &state.contents[self.number];
        let there = &content[content.len().min(offset as usize)..];
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        Ok(length)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let mut state = self.sim.state();
        let needs_room = offset as usize + bytes.len() > state.contents[self.number].len();
        let result = state.call("write", &self.name, needs_room);
        // Half of it may have gone through.
        let done = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        put(&mut state.contents[self.number], offset as usize, done, Fate::Kept);
        state.ops.push(Op::Write(self.number, offset, done.to_vec()));
        result
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let mut state = self.sim.state();
        state.call("allocate", &self.name, true)?;
        let content = &mut state.contents[self.number];
        content.resize(content.len().max((offset + length) as usize), 0);
        state.ops.push(Op::Allocate(self.number, offset + length));
        Ok(())
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        let mut state = self.sim.state();
        state.call("truncate", &self.name, false)?;
        state.contents[self.number].resize(length as usize, 0);
        state.ops.push(Op::Truncate(self.number, length));
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.sim.state();
        let result = state.call("sync", &self.name, false);
        let number = self.number;
        state.ops.push(if result.is_ok() { Op::Sync(number) } else { Op::SyncFailed(number) });
        result
    }

    fn forget(&self) {
        let mut state = self.sim.state();
        let names: Vec<_> = state.names.iter().map(|(name, it)| (name.clone(), *it)).collect();
        let Some((name, _)) = names.iter().find(|(_, number)| *number == self.number) else {
            return;
        };
        // Names are not what is forgotten.
        let mut ops = state.ops.clone();
        ops.push(Op::SyncNames);
        let files = crash(&state.before, &ops, || Fate::Lost);
        state.contents[self.number] = files[name].clone();
    }

    fn failed(&self, act: &'static str, source: io::Error) -> DiskError {
        DiskError { act, file: PathBuf::from(&self.name), source }
    }
}
