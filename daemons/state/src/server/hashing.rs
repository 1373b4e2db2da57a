//! Threads that hash passwords, behind everybody who is served.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use daemon::Failure;
use rustix::process::nice;
use tokio::sync::oneshot;

/// So many wait for a thread; whoever comes then is told to come again. All of them have had their
/// turn within seconds.
const WAITING: usize = 64;

/// Who is served goes before; but on a machine with other work a login must not take for ever, as
/// it would behind all of that.
const NICE: i32 = 5;

/// What may be done for a password at once.
#[derive(Debug)]
pub(crate) struct Hashing {
    /// For those who are not known yet.
    pub(crate) newcomers: Hashers,
    /// For those who are logged in: they don't stand in line with whoever tries passwords.
    pub(crate) members: Hashers,
}

/// Some threads with one line before them.
pub(crate) struct Hashers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Hashing {
    /// `threads` at once, one of them for those who are logged in; two at least.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let newcomers = Hashers::start(threads.saturating_sub(1).max(1))?;
        Ok(Self { newcomers, members: Hashers::start(1)? })
    }
}

impl Hashers {
    fn start(threads: usize) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let waiting = Arc::clone(&waiting);
            Builder::new().name("hashing".to_owned()).spawn(move || work(&waiting))
        };
        let threads = (0..threads).map(start).collect::<io::Result<_>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Does `job` when its turn comes, unless nobody waits for it any more.
    ///
    /// # Errors
    /// `busy` when too many wait.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !done.is_closed() {
                drop(done.send(job()));
            }
        });
        let is_in_line = self.jobs.as_ref().is_some_and(|it| it.try_send(job).is_ok());
        if !is_in_line {
            return Err(Failure::new("busy", "too many passwords wait to be looked at"));
        }
        result.await.map_err(|_| Failure::internal("a password could not be hashed"))
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    // Of this thread alone. Without it all goes on, less politely.
    if let Err(error) = nice(NICE) {
        tracing::warn!(%error, "passwords are hashed at the priority of commands");
    }
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a password could not be hashed");
        }
    }
}

impl Drop for Hashers {
    fn drop(&mut self) {
        self.jobs = None;
        // What is left in line is waited for by nobody, so this takes as long as one hash.
        self.threads.drain(..).for_each(|it| drop(it.join()));
    }
}

impl fmt::Debug for Hashers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn who_finds_the_line_full_is_told_so_and_a_panic_costs_one_answer() {
        let hashers = Arc::new(Hashers::start(1).unwrap());
        let failed: Result<(), _> = hashers.run(|| panic!("on purpose")).await;
        assert_eq!(failed.unwrap_err().code(), "internal");
        let (open, gate) = channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let mut line = JoinSet::new();
        let spawn = |line: &mut JoinSet<_>, job: Job| {
            let hashers = Arc::clone(&hashers);
            line.spawn(async move { hashers.run(job).await.map_err(|it| it.code().to_owned()) });
        };
        let wait = move || {
            begun.send(()).ok();
            gate.recv().ok();
        };
        spawn(&mut line, Box::new(wait));
        has_begun.await.unwrap();
        (0..=WAITING).for_each(|_| spawn(&mut line, Box::new(|| {})));
        assert_eq!(line.join_next().await.unwrap().unwrap(), Err("busy".to_owned()));
        drop(open);
        let rest = line.join_all().await;
        assert_eq!(rest, vec![Ok(()); WAITING + 1]);
    }
}
