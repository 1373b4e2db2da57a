//! Who a process is and whose: the line of `/proc/PID/stat`.

use std::{fs, io, os::fd::OwnedFd};

use super::{Pid, open, visible};

/// The members of `/proc/PID/stat` that tell who a process is and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process itself.
    pub pid: Pid,
    /// The letter of `ps`: `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
    /// Who gets its exit status; 0 if that is nobody in our pid namespace.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: Pid,
    /// When it started, in clock ticks since boot (field 22).
    pub started: u64,
    /// How it ended, as `wait` would tell it. Zero while it runs, and for whoever may not trace it.
    pub status: Option<i32>,
}

impl Stat {
    /// Reads the line of `/proc/PID/stat`.
    ///
    /// The name of the program is any bytes, spaces and brackets among them; it ends at the last
    /// `)`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let pid = str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;

        let rest = str::from_utf8(line.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let &[state] = fields.next()?.as_bytes() else { return None };

        Some(Self {
            pid,
            state,
            parent: number(fields.next()?)?,
            group: number(fields.next()?)?,
            session: number(fields.next()?)?,
            started: fields.nth(15)?.parse().ok()?,
            status: fields.nth(29).and_then(|field| field.parse().ok()),
        })
    }

    /// Whether it has ended and only waits for its parent to ask how.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// A pidfd of the process that was seen, and not of whoever has its pid now.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pidfd = open(self.pid).ok()?;
        // What is read after it was opened is about the process it holds, or about a later one.
        let is_same = stat(self.pid).ok()??.started == self.started;
        is_same.then_some(pidfd)
    }
}

/// Reads who a process is.
pub fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    let line = visible(fs::read(format!("/proc/{pid}/stat")))?;
    Ok(line.and_then(|line| Stat::parse(&line)))
}

/// Group and session are -1 of one that is just being removed, which is no number of anybody.
fn number(field: &str) -> Option<Pid> {
    field.parse().ok().map(i32::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAIL: &str = "S 7 8 9 34816 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";

    #[test]
    fn a_name_may_hold_spaces_brackets_and_any_bytes() {
        for name in ["sh", "a b", "a) S 1 1 (b", ")", "", "x\ny"] {
            let stat = Stat::parse(format!("42 ({name}) {TAIL}\n").as_bytes()).unwrap();
            assert_eq!((stat.pid, stat.state, stat.parent), (42, b'S', 7), "{name}");
            assert_eq!((stat.group, stat.session, stat.started), (8, 9, 4711), "{name}");
        }
        assert!(Stat::parse(&[b"1 (\xff\xfe) ", TAIL.as_bytes()].concat()).is_some());
    }

    #[test]
    fn a_line_that_is_no_stat_is_none() {
        for line in ["", "(", ")(", "1 (a)", "1 (a) S 1 2", "x (a) S 7 8 9", "1 )a( S 1 2 3"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
        let cut = format!("1 (a) {}", TAIL.replace("S 7", "SS 7"));
        assert_eq!(Stat::parse(cut.as_bytes()), None);
    }

    #[test]
    fn how_it_ended_is_the_last_field() {
        let line = b"7 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 1 2 3 4 5 6 7 8 9 10 \
            11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 9472";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 1, 2, 3));
        assert_eq!((stat.started, stat.status), (4242, Some(37 << 8)));
    }

    #[test]
    fn only_the_process_that_was_seen_is_opened() {
        let own = stat(std::process::id()).unwrap().unwrap();
        assert!(own.open().is_some());
        assert!(Stat { started: own.started + 1, ..own }.open().is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            Stat::parse(&bytes);
            Stat::parse(&[b"1 (a) ", &bytes[..]].concat());
        }
    }
}
