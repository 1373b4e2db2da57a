//! One child: a leader, its tree, its pipes and its log.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::process::WaitStatus;

use super::clock::Now;
use super::exec;
use super::log::{Dropped, Stream};
use super::protocol::{Listed, Report, State, Status};
use super::shared_log::SharedLog;
use super::spawn::Started;
use super::stray::{Doubt, Stray};
use super::unopened::Unopened;
use crate::identity::Identity;
use crate::proc::{self, Pid};

/// How long the pipes of an empty tree are read on. Nobody of the tree can write any more; whoever
/// else has got hold of the other end shall not keep the daemon from a new start.
const DRAIN_MS: u64 = 1_000;

/// What one read gives of a child that has probably more to say: a page, which is also what many
/// programs write at once.
const LOUD_BYTES: usize = 4096;

/// A child that has written less than this since it was read a moment ago writes line by line.
const REST_BYTES: usize = 64 << 10;

/// What the pipe of a loud child should hold, so that it seldom waits for the keeper. The kernel
/// allows it until the user has 64 MiB in pipes, then the pipe stays as it is. One that says little
/// never needs it, and most of a thousand say little.
const WIDE_BYTES: usize = 1 << 20;

/// How long such a child fills its pipes before it is read again. Woken for every few lines, the
/// keeper takes the writer's own time: writes of 100 bytes came at 85 MB/s and cost 4.5 s of
/// processor a GB; with a rest of a millisecond it is 195 MB/s and 0.5 s. Counted in whole
/// milliseconds, so that it lasts one to two; a pipe of 1 MiB does not fill in that time.
const REST_MS: u64 = 2;

/// How soon it is looked again at a process that could not be told from others: nothing says that
/// there is a descriptor to see it by, or leave to.
const VERIFY_MS: u64 = 500;

/// A child from its spawn until it is forgotten.
#[derive(Debug)]
pub(super) struct Child {
    /// Which process the leader is or was.
    pub(super) identity: Identity,
    /// How far it came.
    pub(super) state: State,
    /// How often its tree is still to be swept; zero unless it is being killed.
    pub(super) sweeps_left: u8,
    /// Whether it has let go of its name: its leader is dead, and what is left of it may stay.
    pub(super) is_let_go: bool,
    /// Whether a manager has told it to end for good.
    pub(super) is_stopping: bool,
    spawn_id: u64,
    control: Option<UnixStream>,
    leader: Leader,
    outputs: [Option<OwnedFd>; 2],
    /// Whether somebody of an adopted tree may have pipes that are not read.
    lacks_outputs: bool,
    /// Pipes at their end, until nobody waits for them any more: see
    /// [`take_closing`](Self::take_closing).
    closing: Vec<OwnedFd>,
    /// Whose pipe has been made larger.
    is_wide: [bool; 2],
    is_paused: bool,
    log: Option<SharedLog>,
    unopened: Option<Unopened>,
    /// What the log of one that has ended could not be told.
    owed: Dropped,
    /// When it was read last, and until when it is left to fill its pipes.
    read_at_ms: u64,
    rests_until_ms: Option<u64>,
    is_log_complete: bool,
    tree_empty_at_ms: Option<u64>,
    is_adopted: bool,
    /// When it is tried again to tell whether it is the process of before.
    verify_at_ms: Option<u64>,
    /// Who is left of an adopted tree without its leader.
    pub(super) strays: Vec<Stray>,
    /// Who else may be.
    pub(super) doubt: Option<Doubt>,
}

/// What stands for the leader, and so for its group.
#[derive(Debug)]
pub(super) enum Leader {
    /// Its pid, which nobody else can have before it is reaped.
    Unreaped(Pid),
    /// Somebody else's child now: what was opened and then seen to be it.
    Adopted(OwnedFd),
    /// Perhaps the leader, perhaps a stranger, and so out of reach.
    Unverified(Option<OwnedFd>),
    /// What was opened before it was reaped: its pid may be somebody else's now. `None` if that
    /// failed; then nothing is sent to the group as a whole.
    Reaped(Option<OwnedFd>),
}

impl Child {
    /// A child whose program does not run yet.
    pub(super) fn new(spawn_id: u64, started: Started, log: SharedLog) -> Self {
        let leader = Leader::Unreaped(started.identity.pid);
        Self {
            identity: started.identity,
            state: State::Starting,
            sweeps_left: 0,
            is_let_go: false,
            is_stopping: false,
            spawn_id,
            control: Some(started.control),
            leader,
            outputs: started.outputs.map(Some),
            lacks_outputs: false,
            closing: Vec::new(),
            is_wide: [false; 2],
            is_paused: false,
            log: Some(log),
            unopened: None,
            owed: Dropped::default(),
            read_at_ms: 0,
            rests_until_ms: None,
            is_log_complete: false,
            tree_empty_at_ms: None,
            is_adopted: false,
            verify_at_ms: None,
            strays: Vec::new(),
            doubt: None,
        }
    }

    /// A child of a keeper that is gone.
    pub(super) fn adopted(
        identity: Identity,
        leader: Leader,
        outputs: [Option<OwnedFd>; 2],
        log: Result<SharedLog, Unopened>,
        now: Now,
    ) -> Self {
        let is_verified = matches!(leader, Leader::Adopted(_));
        let is_known = !matches!(leader, Leader::Unverified(_));
        let (log, unopened) = match log {
            Ok(log) => (Some(log), None),
            Err(unopened) => (None, Some(unopened)),
        };
        Self {
            identity,
            state: if is_verified { State::Running } else { State::Unverified },
            sweeps_left: 0,
            is_let_go: false,
            is_stopping: false,
            spawn_id: 0,
            control: None,
            leader,
            lacks_outputs: outputs.iter().any(Option::is_none),
            outputs,
            closing: Vec::new(),
            is_wide: [false; 2],
            is_paused: false,
            log,
            unopened,
            owed: Dropped::default(),
            read_at_ms: 0,
            rests_until_ms: None,
            is_log_complete: false,
            tree_empty_at_ms: None,
            is_adopted: true,
            verify_at_ms: (!is_known).then_some(now.steady_ms + VERIFY_MS),
            strays: Vec::new(),
            doubt: None,
        }
    }

    /// Whether its parent was a keeper that is gone, so that what it leaves behind does not come to
    /// this one.
    pub(super) fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// Whether it is to be looked again at who it is.
    pub(super) fn is_to_be_verified(&self, now: Now) -> bool {
        self.verify_at_ms.is_some_and(|at| at <= now.steady_ms)
    }

    /// Whether there is somebody to sweep away, or may be. Of an adopted tree without leader all
    /// are known.
    pub(super) fn is_swept(&self) -> bool {
        let may_live = self.is_led() || !self.is_adopted || !self.strays.is_empty();
        self.sweeps_left > 0 && may_live
    }

    /// Whether its leader lives or is unreaped.
    pub(super) fn is_led(&self) -> bool {
        !matches!(self.leader, Leader::Reaped(_))
    }

    /// What stands for the leader.
    pub(super) fn leader(&self) -> &Leader {
        &self.leader
    }

    /// The leader's pid while nobody else can have it.
    pub(super) fn unreaped(&self) -> Option<Pid> {
        if let Leader::Unreaped(pid) = self.leader { Some(pid) } else { None }
    }

    /// Whether a process of it may live.
    pub(super) fn has_tree(&self) -> bool {
        self.tree_empty_at_ms.is_none()
    }

    /// Whether its tree is empty and its log complete.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_tree() && self.is_log_complete
    }

    /// Its pipes that are to be read now.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (Stream, &OwnedFd)> {
        let both = Stream::ALL.into_iter().zip(&self.outputs);
        both.filter_map(|(stream, output)| Some((stream, output.as_ref()?)))
    }

    /// Whether some of its pipes were not to be had from its leader.
    pub(super) fn lacks_outputs(&self) -> bool {
        self.lacks_outputs
    }

    /// Whether its pipes are not read just now.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Takes pipes in the place of those that it lacks; tells which.
    pub(super) fn give_outputs(&mut self, found: [Option<OwnedFd>; 2]) -> Vec<Stream> {
        self.lacks_outputs = false;
        let mut given = Vec::new();
        for (stream, pipe) in Stream::ALL.into_iter().zip(found) {
            let output = &mut self.outputs[stream.index()];
            if output.is_none() && pipe.is_some() {
                *output = pipe;
                given.push(stream);
            }
        }
        given
    }

    /// What its log has still to be told of output that was dropped.
    pub(super) fn owed(&self) -> &Dropped {
        &self.owed
    }

    /// Leaves that to its next log, or what that could not be told either.
    pub(super) fn set_owed(&mut self, owed: Dropped) {
        self.owed = owed;
    }

    /// Whether its log has files to compress that nobody was told of.
    pub(super) fn take_raw(&mut self) -> bool {
        self.log.as_ref().is_some_and(SharedLog::take_raw)
    }

    /// Pipes that are to be closed, after nobody waits for them any more. Closing them is not
    /// enough for that: the manager has them too.
    pub(super) fn take_closing(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.closing)
    }

    /// Its log, until it is complete.
    pub(super) fn log(&self) -> Option<&SharedLog> {
        self.log.as_ref()
    }

    /// As `children` lists it.
    pub(super) fn listed(&self) -> Listed {
        Listed {
            name: self.identity.name.clone(),
            identity: self.identity.clone(),
            state: self.state.clone(),
            empty: self.is_empty(),
            let_go: self.is_let_go,
            stopping: self.is_stopping,
        }
    }

    /// Hears what comes before the program: that a step failed, or by silence that it runs.
    pub(super) fn listen(&mut self) -> Option<Report> {
        let mut said = [0; exec::FAILURE_BYTES];
        match self.control.as_mut()?.read(&mut said) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // One that was killed before it read its go gives an error; that it ended is then
            // told as the end of any program.
            heard => {
                self.control = None;
                let count = heard.unwrap_or(0);
                if let Some((step, errno)) = exec::parse_failure(&said[..count]) {
                    // Told when it is empty, so that nothing is left of it then.
                    self.state = State::Failed { step, errno };
                    return None;
                }
            }
        }
        self.state = State::Running;
        let (id, name) = (self.spawn_id, self.identity.name.clone());
        Some(Report::Spawned { id, name, identity: self.identity.clone() })
    }

    /// Keeps hold of the group of a leader that is about to be reaped.
    pub(super) fn before_reaping(&mut self) {
        if let Leader::Unreaped(pid) = self.leader {
            self.leader = Leader::Reaped(proc::open(pid).ok());
        }
    }

    /// Its leader was reaped. Of a program that never ran there is nothing to tell yet.
    pub(super) fn exited(&mut self, status: WaitStatus, now: Now) -> Option<Report> {
        if let State::Failed { .. } = self.state {
            return None;
        }
        Some(self.ended(status_of(status), now))
    }

    /// Its leader is dead.
    pub(super) fn ended(&mut self, status: Status, now: Now) -> Report {
        let at_ms = now.unix_ms;
        self.state = State::Exited { status, at_ms };
        let Identity { name, pid, .. } = self.identity.clone();
        Report::Exited { name, pid, status, at_ms }
    }

    /// Its leader, which was adopted, is dead. Only what was seen to be it stands for its group
    /// from now on.
    pub(super) fn lose_leader(&mut self) {
        self.leader = match std::mem::replace(&mut self.leader, Leader::Reaped(None)) {
            Leader::Adopted(pidfd) => Leader::Reaped(Some(pidfd)),
            _ => Leader::Reaped(None),
        };
    }

    /// What is told when it has become empty: only now may its name be used again.
    pub(super) fn emptied(&self) -> Report {
        let Identity { name, pid, .. } = self.identity.clone();
        match self.state {
            State::Failed { step, errno } => {
                Report::SpawnFailed { id: self.spawn_id, name, step, errno }
            }
            _ => Report::Empty { name, pid },
        }
    }

    /// No process of its tree is left.
    pub(super) fn tree_emptied(&mut self, now: Now) {
        self.tree_empty_at_ms = Some(now.steady_ms);
        self.sweeps_left = 0;
        self.leader = Leader::Reaped(None);
    }

    /// Reads what is in one pipe, at most as much as fits into the buffer, into the log.
    pub(super) fn capture(&mut self, stream: Stream, buffer: &mut [u8], now: Now) {
        let is_blocked = self.is_blocked();
        let output = &mut self.outputs[stream.index()];
        let Some(pipe) = (*output).as_ref().filter(|_| !is_blocked) else { return };
        let (count, is_ended) = fill(pipe, buffer);
        let is_loud = count >= REST_BYTES || now.steady_ms <= self.read_at_ms + 1;
        if is_loud && !std::mem::replace(&mut self.is_wide[stream.index()], true) {
            // Smaller is slower and nothing else.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, WIDE_BYTES);
        }
        match (&self.log, &mut self.unopened) {
            (Some(log), _) => log.append(stream, &buffer[..count], now),
            (None, Some(unopened)) => unopened.drop_output(stream, &buffer[..count]),
            (None, None) => {}
        }
        if is_ended {
            self.closing.extend(output.take());
        } else if is_loud && count < REST_BYTES {
            self.rests_until_ms = Some(now.steady_ms + REST_MS);
        }
        self.read_at_ms = now.steady_ms;
    }

    /// Whether reading is to stop (`Some(true)`) or to go on (`Some(false)`) from now on.
    pub(super) fn take_pause_change(&mut self) -> Option<bool> {
        let is_paused = self.is_blocked() || self.rests_until_ms.is_some();
        let was_paused = std::mem::replace(&mut self.is_paused, is_paused);
        (was_paused != is_paused).then_some(is_paused)
    }

    /// Does what is due by time: tries a full disk again, gives up pipes that do not end. True when
    /// the child has become empty.
    pub(super) fn tend(&mut self, buffer: &mut [u8], now: Now) -> bool {
        if self.is_log_complete {
            return false;
        }
        if let Some(log) = &self.log
            && log.retry_at_ms().is_some_and(|at| at <= now.steady_ms)
        {
            log.retry(now);
        }
        self.rests_until_ms = self.rests_until_ms.filter(|until| *until > now.steady_ms);
        if self.drained_at_ms().is_some_and(|at| at <= now.steady_ms) {
            self.drain(buffer, now);
        }
        let is_done = !self.is_blocked() && !self.has_tree() && self.outputs().next().is_none();
        if is_done {
            let unopened = self.unopened.take().map(Unopened::dropped);
            let log = self.log.take().map(|log| log.finish(now));
            self.owed = log.or(unopened).unwrap_or_default();
            self.is_log_complete = true;
        }
        is_done
    }

    /// Takes what the pipes hold, which is at most a buffer each, and closes them.
    fn drain(&mut self, buffer: &mut [u8], now: Now) {
        for stream in Stream::ALL {
            self.capture(stream, buffer, now);
            if self.is_blocked() {
                return;
            }
            self.closing.extend(self.outputs[stream.index()].take());
        }
    }

    /// Whether its output waits for room on the disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.log.as_ref().is_some_and(SharedLog::is_blocked)
            || self.unopened.as_ref().is_some_and(Unopened::is_blocked)
    }

    /// Whether it has no log and is to be given one.
    pub(super) fn wants_log(&self, now: Now) -> bool {
        self.unopened.as_ref().is_some_and(|it| it.retry_at_ms() <= now.steady_ms)
    }

    /// Tries again to open its log, or takes the one that somebody else of its name has.
    pub(super) fn open_log(&mut self, other: Option<SharedLog>, now: Now) {
        let Some(unopened) = &mut self.unopened else { return };
        self.log = other.or_else(|| unopened.open(now));
        self.unopened = self.unopened.take().filter(|_| self.log.is_none());
    }

    /// When [`tend`](Self::tend) is due, in steady milliseconds.
    pub(super) fn due_at_ms(&self) -> Option<u64> {
        let retry = self.log.as_ref().and_then(SharedLog::retry_at_ms);
        let open = self.unopened.as_ref().map(Unopened::retry_at_ms);
        retry
            .into_iter()
            .chain(open)
            .chain(self.verify_at_ms)
            .chain(self.rests_until_ms)
            .chain(self.drained_at_ms())
            .min()
    }

    fn drained_at_ms(&self) -> Option<u64> {
        let is_read = !self.is_log_complete && !self.is_blocked();
        self.tree_empty_at_ms.filter(|_| is_read).map(|since| since + DRAIN_MS)
    }
}

/// Reads on while there is much, so that what a loud child writes in small pieces is one piece in
/// the log; tells how much it was and whether that was the end.
fn fill(pipe: &OwnedFd, buffer: &mut [u8]) -> (usize, bool) {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(pipe, &mut buffer[filled..]) {
            Ok(0) => return (filled, true),
            Ok(count) => {
                filled += count;
                if count < LOUD_BYTES {
                    break;
                }
            }
            Err(Errno::AGAIN) => break,
            Err(_) => return (filled, true),
        }
    }
    (filled, false)
}

fn status_of(status: WaitStatus) -> Status {
    match status.terminating_signal() {
        Some(signal) => Status::Signal(signal),
        None => Status::Code(status.exit_status().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::protocol::LogSettings;

    #[test]
    fn what_is_in_a_pipe_is_read_before_it_is_given_up() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().to_owned();
        let now = Now { unix_ms: 1, steady_ms: 1 };
        let settings = LogSettings { dir, max_bytes: 1 << 20, keep: 1, patience_ms: 0 };
        let log = SharedLog::open(&settings, Dropped::default(), now).unwrap();
        let [(out, out_end), (err, _err_end)] = [(); 2].map(|()| rustix::pipe::pipe().unwrap());
        rustix::io::write(&out_end, b"late").unwrap();
        let (control, _) = UnixStream::pair().unwrap();
        rustix::io::ioctl_fionbio(&err, true).unwrap();
        let own = std::process::id();
        let identity = Identity::read("Sample", own, "secret", 1).unwrap();
        let mut child = Child::new(1, Started { identity, control, outputs: [out, err] }, log);
        child.tree_emptied(now);

        let at = |ms| Now { steady_ms: 1 + ms, ..now };
        assert!(!child.tend(&mut [0; 64], at(DRAIN_MS - 1)));
        assert!(child.tend(&mut [0; 64], at(DRAIN_MS)));
        assert_eq!(std::fs::read(home.path().join("current")).unwrap(), b"late");
    }
}
