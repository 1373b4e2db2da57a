//! A guest that asks, waits for its answer, and notes how long that took.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::Duration,
};

use crate::{bench::clock::now, step::say};

/// What goes on beside the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Neither,
    Quiet,
    Attacked,
}

/// A guest with a thread of its own, as long as the process lives.
pub(crate) struct Guest {
    name: &'static str,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    phase: AtomicUsize,
    latencies: [Mutex<Vec<Duration>>; 3],
    failure: Mutex<Option<String>>,
}

/// Between two questions: often enough for a p99, seldom enough to be no load.
const PAUSE: Duration = Duration::from_millis(3);

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

impl Guest {
    pub(crate) fn new(name: &'static str, port: u16, request: &'static str) -> io::Result<Self> {
        Self::over(name, TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, request)
    }

    /// A guest over a connection on which something was said already.
    pub(crate) fn over(
        name: &'static str,
        stream: TcpStream,
        request: &'static str,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let shared = Arc::new(Shared::default());
        let guest = Self { name, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            if let Err(error) = shared.ask_on(stream, request) {
                *shared.failure.lock().expect("no thread panics") = Some(error.to_string());
            }
        });
        Ok(guest)
    }

    /// Tells how long answers took; what of it is too long.
    pub(crate) fn verdict(&mut self, slower: f64) -> Vec<String> {
        let mut times = [Phase::Quiet, Phase::Attacked].map(|phase| {
            self.shared.latencies[phase as usize].lock().expect("no thread panics").clone()
        });
        times.iter_mut().for_each(|it| it.sort_unstable());
        let [quiet, attacked] = &times;
        let ms = |times: &[Duration], share: f64| {
            let at = (times.len() as f64 * share) as usize;
            times.get(at).map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
        };
        let ratio = ms(attacked, 0.99) / ms(quiet, 0.99);
        say(&format!(
            "{:<11} quiet p50 {:.2} p99 {:.2} ms ({} answers); attacked p50 {:.2} p99 {:.2} ms ({}); p99 × {ratio:.2}",
            self.name,
            ms(quiet, 0.5),
            ms(quiet, 0.99),
            quiet.len(),
            ms(attacked, 0.5),
            ms(attacked, 0.99),
            attacked.len(),
        ));
        let failure = self.shared.failure.lock().expect("no thread panics").clone();
        let mut broken = Vec::from_iter(failure.map(|it| format!("{}: {it}", self.name)));
        if ratio.is_nan() || ratio > slower {
            broken.push(format!("{}: p99 is {ratio:.2} times the quiet one", self.name));
        }
        broken
    }
}

/// From now on what is measured counts to `phase`.
pub(crate) fn begin(guests: &[Guest], phase: Phase) {
    for guest in guests {
        guest.shared.phase.store(phase as usize, Relaxed);
    }
}

impl Shared {
    fn ask_on(&self, mut stream: TcpStream, request: &str) -> io::Result<()> {
        let mut replies = BufReader::new(stream.try_clone()?);
        let mut reply = String::new();
        loop {
            let phase = self.phase.load(Relaxed);
            let begun = now();
            stream.write_all(request.as_bytes())?;
            reply.clear();
            replies.read_line(&mut reply)?;
            if reply.is_empty() || reply.starts_with("err") {
                return Err(io::Error::other(format!("answered {reply:?}")));
            }
            let latency = now() - begun;
            self.latencies[phase].lock().expect("no thread panics").push(latency);
            sleep(PAUSE);
        }
    }
}
