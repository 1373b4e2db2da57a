//! `cargo xtask soak relay`: peers that come and go, messages that nobody gets, and one that never
//! reads; others must hardly notice, and nothing may be left of them.

mod nobody;
mod stalled;
mod visits;

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use clap::{Args, value_parser};

use self::stalled::Stalled;
use super::witness::Sample;
use crate::{
    bench::{
        clock::now,
        relay::{crowd::CrowdError, way::Way},
        server::{Server, ServerError, patient},
    },
    step::{self, StepError, announce, say},
    workspace::cargo,
};

#[derive(Args)]
pub(crate) struct Relay {
    /// How often everything is done; the first and the last time are compared
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u64).range(2..))]
    rounds: u64,

    /// Peers that come and go, each time
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    visits: usize,

    /// Messages for an id that nobody has, each time
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    lost: usize,

    /// MB that are sent past a peer that never reads, each time
    #[arg(long, default_value_t = 1_000, value_name = "MB")]
    past: usize,

    /// The release binary is there and good
    #[arg(long)]
    no_build: bool,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error(transparent)]
    Build(#[from] StepError),

    #[error(transparent)]
    Server(#[from] ServerError),

    #[error(transparent)]
    Crowd(#[from] CrowdError),

    #[error("the relay cannot be spoken to")]
    Speak(#[from] io::Error),

    #[error("{0} of the promises above do not hold")]
    Broken(usize),
}

/// What is promised, and whether it was kept.
struct Claims(usize);

/// What a peer that never reads, or all that happens here, may cost for a while.
const MOST_MIB: f64 = 64.0;

/// What may be left of it: an allocator keeps some of what it was given.
const LEFT_MIB: f64 = 8.0;

/// How much longer than without it the slowest hundredth may take beside who never reads.
const MOST_LATER: Duration = Duration::from_millis(1);

/// How long the relay is given to forget who has gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked at meanwhile.
const PERIOD: Duration = Duration::from_millis(50);

/// Does everything several times, and tells what came of it.
pub(crate) fn relay(arguments: &Relay) -> Result<(), RelayError> {
    if !arguments.no_build {
        announce("building the relay");
        step::run(&mut cargo(["build", "--release", "--package", "relay-daemon"]))?;
    }
    let server = Server::start(&Way::Ours.contender("".as_ref()))?;
    let (idle, mut claims, mut left) = (Sample::of(server.pid()), Claims(0), Vec::new());
    let idle = idle.unwrap_or_default();
    say(&format!("idle: {:.1} MiB, {} descriptors", mib(idle.rss_kb), idle.descriptors));
    for round in 1..=arguments.rounds {
        announce(&format!("round {round}"));
        once(arguments, &server, &mut claims)?;
        left.push(settled(&server, idle));
    }
    let above_idle = mib(peak_kb(server.pid()).saturating_sub(idle.rss_kb));
    claims.hold("MiB above idle at most", above_idle, above_idle < MOST_MIB);
    let (first, last) = (left[0], left[left.len() - 1]);
    let grown = mib(last.rss_kb) - mib(first.rss_kb);
    claims.hold("MiB more than after the first round", grown, grown < LEFT_MIB);
    let descriptors = last.descriptors as f64 - idle.descriptors as f64;
    claims.hold("descriptors more than when idle", descriptors, descriptors <= 0.0);
    match claims.0 {
        0 => say("all promises hold"),
        broken => return Err(RelayError::Broken(broken)),
    }
    Ok(())
}

fn once(arguments: &Relay, server: &Server, claims: &mut Claims) -> Result<(), RelayError> {
    let missing = visits::visit(server, arguments.visits)?;
    claims.hold("bytes of presence missing", missing as f64, missing == 0);
    let heard = nobody::send(server, arguments.lost)?;
    claims.hold("bytes heard of messages for nobody", heard as f64, heard == 0);
    let Stalled { without, beside, is_closed } = stalled::pass(server, arguments.past)?;
    let ms = |it: Duration| it.as_secs_f64() * 1e3;
    say(&format!("p99 {:.2} ms without who never reads, {:.2} beside", ms(without), ms(beside)));
    let later = beside.saturating_sub(without);
    claims.hold("ms later beside who never reads", ms(later), later <= MOST_LATER);
    claims.hold("peers that never read and were kept", f64::from(!is_closed), is_closed);
    Ok(())
}

impl Claims {
    fn hold(&mut self, what: &str, found: f64, is_so: bool) {
        let word = if is_so { "ok" } else { "BROKEN" };
        say(&format!("{word:<6} {found:.2} {what}"));
        self.0 += usize::from(!is_so);
    }
}

/// What the relay holds once it has forgotten everybody, or has had time to.
fn settled(server: &Server, idle: Sample) -> Sample {
    let latest = now() + PATIENCE;
    loop {
        let sample = Sample::of(server.pid()).unwrap_or_default();
        if sample.descriptors <= idle.descriptors || now() > latest {
            let (held, open) = (mib(sample.rss_kb), sample.descriptors);
            say(&format!("afterwards: {held:.1} MiB, {open} descriptors"));
            return sample;
        }
        sleep(PERIOD);
    }
}

/// The most memory that it has ever held.
fn peak_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX)
}

/// Who is in the database, as the relay tells it.
fn clients(server: &Server) -> io::Result<String> {
    let mut stream = patient(TcpStream::connect(server.address)?)?;
    let request = "GET /bench/clients HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
