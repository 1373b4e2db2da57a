//! Common TCP as bytes: the vectors of the protocol's page, cut in every way, over real sockets.
//!
//! The vectors stand in `crates/common-tcp/PROTOCOL.md` and are read from there, so that the page
//! which others write their programs from cannot differ from what ours do.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Map, Value, json};

use crate::harness::{Dae, Daemon, Netcat, binary, workspace};

/// How many connections are cut at a time: enough to hide the waiting, far from any limit.
const AT_ONCE: usize = 32;

/// How much these may send in all: far from what guests together may leave unfinished.
const MOST_BYTES: usize = 4 << 20;

/// An input above this size is cut at [`some_places`] only: such are the vectors about the size of
/// a packet.
const LONG: usize = 4096;

/// The most bytes that a packet may have, from its name to its end.
const PACKET_LIMIT: usize = 1 << 20;

#[test]
fn the_sample_answers_every_vector_however_it_is_cut() {
    for vector in vectors() {
        let sample = Daemon::sample(&[]);
        let peer = Peer::of("Sample", sample.pid(), sample.port());
        check(&vector, &peer, &cuts(&vector), || sample.connect());
    }
}

#[test]
fn the_manager_answers_every_vector_however_it_is_cut() {
    let dae = Dae::start();
    let port = dae.port();
    let peer = Peer::of("Dae", dae.pid(), port);
    for vector in vectors() {
        check(&vector, &peer, &cuts(&vector), || Netcat::tcp(port));
    }
}

#[test]
fn a_unix_socket_carries_the_same_bytes() {
    let dae = Dae::start();
    dae.succeed(["install".as_ref(), "Sample".as_ref(), binary("sample").as_os_str()]);
    let sample = dae.eventually("Sample", |it| it["unix"].is_string());
    let socket = sample["unix"].as_str().unwrap().as_ref();

    let (_, credential) = Netcat::unix(socket).call("dae", &json!([]));
    let peer = Peer { name: "Sample", credential };
    for vector in vectors() {
        // This memory lives through all vectors, so each begins by emptying it.
        assert_eq!(Netcat::unix(socket).call("reset", &json!([])).0, "reset");
        check(&vector, &peer, &[vec![]], || Netcat::unix(socket));
    }
}

/// Vector 7.
#[test]
fn an_unfinished_packet_is_given_up_and_an_idle_connection_is_not() {
    let sample = Daemon::sample(&["--packet-timeout", "200ms"]);
    let mut idle = sample.connect();
    let mut unfinished = sample.connect();
    unfinished.send("dae").unwrap();

    let text = unfinished.read_to_end().unwrap();

    let timeout = Expected::Error { tag: None, code: "timeout".into(), members: Map::new() };
    let peer = Peer::of("Sample", sample.pid(), sample.port());
    assert!(timeout.is(&text, &peer), "{text:?}");
    assert_eq!(idle.call("ping", &json!(["still here"])), ("ping".into(), json!(["still here"])));
}

/// Vector 37.
#[test]
fn a_reset_connection_harms_no_other() {
    let sample = Daemon::sample(&[]);
    let mut other = sample.connect();
    for _ in 0..100 {
        let mut netcat = sample.connect();
        netcat.send("dae\n").unwrap();
        netcat.reset();
    }

    assert_eq!(other.call("ping", &json!([1])), ("ping".into(), json!([1])));
    assert_eq!(sample.connect().call("ping", &json!([2])), ("ping".into(), json!([2])));
}

/// Vector 38.
#[test]
fn a_connection_that_says_nothing_and_closes_harms_no_other() {
    let sample = Daemon::sample(&[]);
    let mut other = sample.connect();
    for _ in 0..100 {
        drop(sample.connect());
    }

    assert_eq!(other.call("ping", &json!([1])), ("ping".into(), json!([1])));
    assert_eq!(sample.connect().call("ping", &json!([2])), ("ping".into(), json!([2])));
}

/// What is sent in one go, and what must come of it.
struct Vector {
    number: u32,
    sent: Vec<u8>,
    then_half_closed: bool,
    answers: Vec<Expected>,
    stays_open: bool,
}

/// An answer, as the table has it.
#[derive(Debug)]
enum Expected {
    /// `C`
    Credential,
    /// `O`
    Commands,
    /// `E(…)`
    Error { tag: Option<String>, code: String, members: Map<String, Value> },
    /// Any other, to the byte.
    Exactly(String),
}

/// Who is asked.
struct Peer {
    name: &'static str,
    /// The arguments of its `credential`.
    credential: Value,
}

impl Peer {
    /// Somebody who was started by hand.
    fn of(name: &'static str, pid: u32, port: u16) -> Self {
        Self { name, credential: json!([name, pid, port, null]) }
    }

    /// Whether it has the commands of the sample, not only those of every daemon.
    fn is_sample(&self) -> bool {
        self.name == "Sample"
    }
}

impl Expected {
    /// Whether `line` is this answer of `peer`.
    fn is(&self, line: &str, peer: &Peer) -> bool {
        match self {
            _ if self.takes_the_sample() && !peer.is_sample() => {
                let code = "unknown-command".into();
                let tag = self.tag().map(str::to_owned);
                let unknown = Self::Error { tag, code, members: Map::new() };
                unknown.is(line, peer)
            }
            Self::Credential => line == format!("credential {}\n", peer.credential),
            Self::Commands => line.starts_with("commands [{") && line.ends_with("}]\n"),
            Self::Exactly(text) => line == text,
            Self::Error { tag, code, members } => {
                let name = tag.as_ref().map_or("err".into(), |tag| format!("err#{tag}"));
                let args =
                    line.strip_prefix(&format!("{name} [")).and_then(|it| it.strip_suffix("]\n"));
                let Some(Ok(Value::Object(error))) = args.map(serde_json::from_str) else {
                    return false;
                };
                error.get("code") == Some(&json!(code))
                    && error.get("message").is_some_and(Value::is_string)
                    && members.iter().all(|(name, value)| error.get(name) == Some(value))
            }
        }
    }

    /// Whether only the sample can answer so, since the command is one of its own.
    fn takes_the_sample(&self) -> bool {
        let own = |name: &str| ["all", "get", "memory", "reset", "set"].contains(&name);
        match self {
            Self::Exactly(text) => own(text.split([' ', '#']).next().unwrap()),
            Self::Error { members, .. } => {
                members.get("command").is_some_and(|it| own(it.as_str().unwrap()))
            }
            Self::Credential | Self::Commands => false,
        }
    }

    fn tag(&self) -> Option<&str> {
        match self {
            Self::Exactly(text) => text.split(' ').next().unwrap().split_once('#').map(|it| it.1),
            Self::Error { tag, .. } => tag.as_deref(),
            Self::Credential | Self::Commands => None,
        }
    }
}

/// Sends `vector` on a new connection for every one of `cuts`, and reports the first wrong ones.
fn check(vector: &Vector, peer: &Peer, cuts: &[Vec<usize>], connect: impl Fn() -> Netcat + Sync) {
    let next = AtomicUsize::new(0);
    let wrong = AtomicBool::new(false);
    let faults = Mutex::new(vec![]);
    let work = || {
        while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed))
            && !wrong.load(Ordering::Relaxed)
        {
            let lines = exchange(vector, cut, connect());
            if !is_right(vector, peer, &lines) {
                wrong.store(true, Ordering::Relaxed);
                faults.lock().unwrap().push(format!("cut at {cut:?}: got {lines:#?}"));
            }
        }
    };
    let at_once = (MOST_BYTES / vector.sent.len().max(1)).clamp(1, AT_ONCE);
    thread::scope(|scope| {
        for _ in 0..at_once.min(cuts.len()) {
            scope.spawn(work);
        }
    });

    let faults = faults.into_inner().unwrap();
    let (number, answers, state) = (vector.number, &vector.answers, vector.state());
    let name = peer.name;
    assert!(
        faults.is_empty(),
        "vector {number} to {name}: expected {answers:#?}, then {state}; {}",
        faults.join("\n")
    );
}

/// Sends `vector` cut at the places `cut`, and returns every line that came back.
///
/// If the connection is to stay open, the last one must be the answer to a `ping`: it shows both
/// that the connection lives and that nothing came unasked. Else the last one tells how the
/// connection ended.
fn exchange(vector: &Vector, cut: &[usize], mut netcat: Netcat) -> Vec<String> {
    send(vector, cut, &mut netcat);
    let mut lines = vec![];
    if vector.stays_open {
        netcat.send("ping []\n").ok();
        for _ in 0..=vector.answers.len() {
            match netcat.read_line() {
                Ok(line) => lines.push(line),
                Err(error) => return [lines, vec![error.to_string()]].concat(),
            }
        }
    } else {
        match netcat.read_to_end() {
            Ok(text) => lines.extend(text.split_inclusive('\n').map(str::to_owned)),
            Err(error) => lines.push(error.to_string()),
        }
    }
    lines
}

/// Sends the pieces, each to be read by itself.
fn send(vector: &Vector, cut: &[usize], netcat: &mut Netcat) {
    let ends = cut.iter().copied().chain([vector.sent.len()]);
    let mut start = 0;
    for end in ends {
        if start > 0 {
            netcat.settle();
        }
        // The daemon may have closed already, as vectors that it refuses want it to; what it said
        // before is there to be read.
        if netcat.send(&vector.sent[start..end]).is_err() {
            return;
        }
        start = end;
    }
    if vector.then_half_closed {
        if !cut.is_empty() {
            netcat.settle();
        }
        netcat.half_close().ok();
    }
}

fn is_right(vector: &Vector, peer: &Peer, lines: &[String]) -> bool {
    let ping = vector.stays_open.then(|| Expected::Exactly("ping []\n".into()));
    let expected: Vec<&Expected> = vector.answers.iter().chain(&ping).collect();
    lines.len() == expected.len() && expected.iter().zip(lines).all(|(it, line)| it.is(line, peer))
}

/// Every way to cut `vector`: not at all, in two at every byte, and byte by byte. A vector that
/// ends with a half-close is also cut before that.
fn cuts(vector: &Vector) -> Vec<Vec<usize>> {
    let size = vector.sent.len();
    let (places, pieces) = if size > LONG { some_places(size) } else { every_place(size) };
    let before_the_end = vector.then_half_closed.then(|| vec![size]);
    [vec![], pieces]
        .into_iter()
        .chain(places.into_iter().map(|it| vec![it]))
        .chain(before_the_end)
        .collect()
}

/// The places at which an input is cut in two, and those at which it is cut into pieces.
fn every_place(size: usize) -> (Vec<usize>, Vec<usize>) {
    ((1..size).collect(), (1..size).collect())
}

/// The same for a long input: in two along its head, about the limit, and along its tail; and in
/// pieces whose size divides nothing.
fn some_places(size: usize) -> (Vec<usize>, Vec<usize>) {
    let limit = PACKET_LIMIT - 4..PACKET_LIMIT + 4;
    let places = (1..12).chain(limit).chain(size - 4..size).collect();
    (places, (1..size).step_by(8191).collect())
}

impl Vector {
    fn state(&self) -> &'static str {
        if self.stays_open { "the connection open" } else { "the connection closed" }
    }
}

/// The table of vectors in the protocol's page.
fn vectors() -> Vec<Vector> {
    let page = fs::read_to_string(workspace().join("crates/common-tcp/PROTOCOL.md")).unwrap();
    let vectors: Vec<Vector> = page.lines().filter_map(vector).collect();
    assert_eq!(vectors.len(), 39, "rows that could be read");
    vectors
}

/// Reads a row such as ``| 17 | `set ["k"]⏎` | `E(bad-arity, "min":2)` | open |``.
fn vector(row: &str) -> Option<Vector> {
    let cells: Vec<&str> = row.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [number, sent, answers, then, ""] = cells[..] else { return None };
    let sent = sent.strip_prefix('`')?.strip_suffix('`')?;
    Some(Vector {
        number: number.parse().ok()?,
        then_half_closed: sent.ends_with('⊣'),
        sent: bytes(sent.trim_end_matches('⊣')),
        answers: answers.split('`').skip(1).step_by(2).map(answer).collect(),
        stays_open: match then {
            "open" => true,
            "closed" => false,
            other => panic!("vector {number}: {other:?} is neither open nor closed"),
        },
    })
}

/// Reads `C`, `O`, `E(code)`, `E#tag(code, "member":1)`, or a literal answer.
fn answer(text: &str) -> Expected {
    let error = || {
        let (tag, rest) = text.strip_prefix('E')?.strip_suffix(')')?.split_once('(')?;
        let (code, members) = rest.split_once(", ").unwrap_or((rest, ""));
        Some(Expected::Error {
            tag: tag.strip_prefix('#').map(str::to_owned),
            code: code.into(),
            members: serde_json::from_str(&format!("{{{members}}}")).unwrap(),
        })
    };
    match text {
        "C" => Expected::Credential,
        "O" => Expected::Commands,
        _ => error().unwrap_or_else(|| Expected::Exactly(String::from_utf8(bytes(text)).unwrap())),
    }
}

/// Reads the notation of the page: `⏎ ␍ ⇥` for LF, CR and TAB, `⟨16 03⟩` for bytes, `⟨65 × n⟩` for
/// repetition; all else stands for itself.
fn bytes(text: &str) -> Vec<u8> {
    let plain = |it: &str| it.replace('⏎', "\n").replace('␍', "\r").replace('⇥', "\t").into_bytes();
    let mut parts = text.split('⟨');
    let mut bytes = plain(parts.next().unwrap());
    for part in parts {
        let (special, rest) = part.split_once('⟩').unwrap();
        match special.split_once(" × ") {
            Some((times, what)) => bytes.extend(what.repeat(times.parse().unwrap()).bytes()),
            None => bytes.extend(special.split(' ').map(|it| u8::from_str_radix(it, 16).unwrap())),
        }
        bytes.extend(plain(rest));
    }
    bytes
}
