//! What `cargo xtask bench` gives every supervisor to run. Its first act is to look at the clock;
//! then it says when that was, and who it is, to a socket of the bench.
//!
//! `probe sleep SOCKET NAME` sleeps from then on. `probe write SOCKET NAME GATE BYTES SIZE` waits
//! until somebody opens the pipe `GATE`, prints `BYTES` of numbered lines in writes of `SIZE`, says
//! so, and sleeps.
//!
//! The words may come as one argument, which is how a kernel hands on a line `#!/…/probe sleep …`:
//! so a run script costs no shell.

use std::{
    env,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixDatagram},
    process, thread,
    time::Duration,
};

use nix::time::ClockId;

/// The length of a line, its line feed included.
const LINE: usize = 100;

/// The digits at the start of a line.
const DIGITS: usize = 12;

fn main() -> io::Result<()> {
    let first = now();
    let words = env::args().skip(1).collect::<Vec<_>>().join(" ");
    match words.split(' ').collect::<Vec<_>>()[..] {
        ["sleep", socket, name, ..] => say(socket, name, first)?,
        ["write", socket, name, gate, bytes, size, ..] => {
            say(socket, name, first)?;
            drop(File::open(gate)?);
            print(number(bytes)?, number(size)?)?;
            say(socket, name, now())?;
        }
        _ => return Err(io::Error::other("expected `sleep SOCKET NAME` or `write …`")),
    }
    loop {
        thread::park();
    }
}

fn now() -> Duration {
    ClockId::CLOCK_MONOTONIC.now().expect("Linux always has a monotonic clock").into()
}

fn say(socket: &str, name: &str, at: Duration) -> io::Result<()> {
    let line = format!("{name} {} {}", process::id(), at.as_nanos());
    UnixDatagram::unbound()?.send_to(line.as_bytes(), socket).map(drop)
}

fn number(word: &str) -> io::Result<usize> {
    word.parse().map_err(io::Error::other)
}

/// Prints numbered lines, `size` bytes a write. A block is made once; only its numbers change.
fn print(bytes: usize, size: usize) -> io::Result<()> {
    let lines = (size / LINE).max(1);
    let mut block: Vec<u8> = (0..lines).flat_map(line).collect();
    // Not `Stdout`, which would make other writes of ours.
    let mut file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    for _ in 0..bytes / block.len() {
        file.write_all(&block)?;
        block.chunks_mut(LINE).for_each(|line| add(&mut line[..DIGITS], lines));
    }
    Ok(())
}

fn line(number: usize) -> Vec<u8> {
    let mut line = format!("{number:0DIGITS$} ").into_bytes();
    line.resize(LINE - 1, b'.');
    line.push(b'\n');
    line
}

/// Adds to a number in decimal digits.
fn add(digits: &mut [u8], mut carry: usize) {
    for digit in digits.iter_mut().rev() {
        if carry == 0 {
            return;
        }
        let sum = usize::from(*digit - b'0') + carry;
        *digit = b'0' + (sum % 10) as u8;
        carry = sum / 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_moved_on_has_the_lines_that_follow() {
        let mut block: Vec<u8> = (95..98).flat_map(line).collect();
        block.chunks_mut(LINE).for_each(|line| add(&mut line[..DIGITS], 905));
        assert_eq!(block, (1000..1003).flat_map(line).collect::<Vec<_>>());
    }
}
