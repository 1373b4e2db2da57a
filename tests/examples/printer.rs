//! Prints numbered lines, one write each: `printer COUNT WIDTH [PER_SECOND [FIRST]]`.
//!
//! A line is its number, the time in Unix nanoseconds, and as many `x` as make `WIDTH` bytes with
//! the newline. Without a rate it prints as fast as it can; a `COUNT` of 0 has no end.

use std::{
    env,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    thread,
    time::{Duration, SystemTime},
};

fn main() -> io::Result<()> {
    let number =
        |at, default| env::args().nth(at).and_then(|it| it.parse().ok()).unwrap_or(default);
    let (count, width, rate, first) = (number(1, 0), number(2, 100), number(3, 0), number(4, 1));
    let last: u64 = if count == 0 { u64::MAX } else { first + count - 1 };
    // Not `Stdout`, which gathers lines.
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let begin = SystemTime::now();
    for line in first..=last {
        if let Some(due) = ((line - first) * 1_000_000).checked_div(rate) {
            let due = begin + Duration::from_micros(due);
            thread::sleep(due.duration_since(SystemTime::now()).unwrap_or_default());
        }
        out.write_all(text(line, width as usize).as_bytes())?;
    }
    Ok(())
}

fn text(line: u64, width: usize) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = format!("{line} {} ", now.as_nanos());
    text.extend(std::iter::repeat_n('x', width.saturating_sub(text.len() + 1)));
    text + "\n"
}
