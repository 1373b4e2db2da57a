//! Who tries passwords: of `root` and of names that nobody has, three on a connection.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread::sleep,
    time::Duration,
};

use clap::Args;

use crate::{bench::clock::now, step::say};

#[derive(Args)]
pub(crate) struct Guess {
    /// Passwords a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,

    /// How long
    #[arg(long, default_value_t = 20)]
    seconds: u64,

    /// The port of State
    port: u16,
}

/// As many as a connection may try at once.
const EACH: u32 = 3;

/// Longer than an answer to a wrong one is held back.
const HELD: Duration = Duration::from_millis(1500);

/// Tries passwords, and tells what came of them.
///
/// # Errors
/// Nobody can be connected to.
pub(crate) fn guess(arguments: &Guess) -> io::Result<()> {
    let (begun, length) = (now(), Duration::from_secs(arguments.seconds));
    let (mut opened, mut told) = (VecDeque::new(), BTreeMap::new());
    let mut tried = 0;
    while now() - begun < length {
        let due = ((now() - begun).as_secs_f64() * f64::from(arguments.rate)) as u32;
        while tried < due {
            opened.push_back((now(), tries(arguments.port, tried)?));
            tried += EACH;
        }
        while opened.front().is_some_and(|it| now() - it.0 > HELD)
            && let Some((_, stream)) = opened.pop_front()
        {
            count(stream, &mut told);
        }
        sleep(Duration::from_millis(1));
    }
    sleep(HELD);
    opened.into_iter().for_each(|it| count(it.1, &mut told));
    say(&format!("    {tried} passwords were tried; answers: {told:?}"));
    Ok(())
}

/// A connection that tries some, with those that were tried already as names.
fn tries(port: u16, tried: u32) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nonblocking(true)?;
    let (one, two) = (format!("u{tried}"), format!("v{tried}"));
    let auth = |(tag, user): (usize, &str)| format!("auth#{tag} [\"{user}\",\"guess {tried}\"]\n");
    let all: String = ["root", &one, &two].into_iter().enumerate().map(auth).collect();
    stream.write_all(all.as_bytes())?;
    Ok(stream)
}

/// Counts what has come by the code of each answer; `none` where there is none yet.
fn count(mut stream: TcpStream, told: &mut BTreeMap<String, u32>) {
    let mut came = String::new();
    // It would block where the daemon has not closed it.
    stream.read_to_string(&mut came).ok();
    let code = |line: &str| line.split('"').nth(3).unwrap_or("?").to_owned();
    let codes: Vec<String> = came.lines().map(code).collect();
    let missing = (EACH as usize).saturating_sub(codes.len());
    let missing = std::iter::repeat_n("none".to_owned(), missing);
    codes.into_iter().chain(missing).for_each(|it| *told.entry(it).or_default() += 1);
}
