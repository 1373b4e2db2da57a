//! Finding and watching: what others are told of daemons, and how soon.

use std::{collections::BTreeMap, env, fs, thread};

use daemon::Manager;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::harness::{Dae, Netcat, binary};

/// How many events may wait in one stream: [`daemon::Limits`].
const STREAM_PACKETS: usize = 1024;

/// How many daemons go up and down together, to make many events soon.
const CROWD: usize = 20;

/// How many streams of one connection are not read: each event fills the kernel's room so many
/// times.
const STREAMS: usize = 60;

/// The least length of an event of a transition; in truth they have some three hundred bytes.
const EVENT_BYTES: usize = 200;

/// What a daemon goes through that is started.
const UP: [&str; 4] = ["state pending", "state starting", "state up", "up up"];

/// What it goes through that is stopped.
const DOWN: [&str; 3] = ["state stopping", "gone stopping", "state down"];

#[tokio::test]
async fn m_5_2_a_daemon_finds_another_by_name() {
    let dae = Dae::start();
    dae.unix().ask("install", &json!(["Sample", { "program": binary("sample") }]));
    let manager = Manager::at(dae.port());
    let expected = manager.find("Sample").await.unwrap();
    let mut took = vec![];
    for _ in 0..1000 {
        let start = Instant::now();
        let found = manager.find("Sample").await.unwrap();
        took.push(start.elapsed());
        assert_eq!((found.pid, found.port), (expected.pid, expected.port));
    }

    took.sort();
    let (p50, p99) = (took[500], took[990]);
    println!("M-5.2: find by name p50 {p50:?}, p99 {p99:?}; to be at most 1 ms (p50) in release");
    assert!(p50 < 20 * Duration::from_millis(1), "{p50:?}");
}

/// `DAE_M_5_3_DAEMONS` tells how many.
#[test]
fn m_5_3_a_watcher_sees_every_transition_in_order() {
    let number = env::var("DAE_M_5_3_DAEMONS").map_or(100, |it| it.parse().unwrap());
    let dae = Dae::start();
    let mut client = dae.unix();
    for index in 0..number {
        client.ask("install", &sleeper(&format!("Daemon-{index}")));
    }
    let mut watcher = Netcat::tcp(dae.port());
    let now = watcher.ask("watch", &json!(["Daemon*"]));
    assert_eq!(now.as_array().unwrap().len(), number);
    let reader = thread::spawn(move || {
        let mut told = Told::default();
        told.read(&mut watcher, number * (UP.len() + DOWN.len()));
        assert_eq!(watcher.ask("cancel", &json!([])), Value::Null);
        assert_eq!(watcher.read_line().unwrap(), "end [{\"reason\":\"cancelled\"}]\n");
        told
    });
    let start = Instant::now();

    client.ask("start", &json!(["all"]));
    println!("M-5.3: {number} daemons were up after {:?}", start.elapsed());
    client.ask("stop", &json!(["all"]));

    let told = reader.join().unwrap();
    let expected = [&UP[..], &DOWN].concat();
    assert_eq!(told.by_name.len(), number);
    for (name, steps) in &told.by_name {
        assert_eq!(*steps, expected, "{name}");
    }
    for (name, steps) in history(&dae) {
        let told: Vec<&str> =
            told.by_name[&name].iter().filter_map(|it| it.strip_prefix("state ")).collect();
        assert_eq!(told, steps, "{name}: the watcher and the history differ");
    }
}

#[test]
fn m_5_4_a_watcher_that_never_reads_is_ended_and_no_other() {
    let dae = Dae::start();
    let mut client = dae.unix();
    for index in 0..CROWD {
        client.ask("install", &sleeper(&format!("Daemon-{index}")));
    }
    let mut lazy = Netcat::narrow(dae.port());
    for stream in 0..STREAMS {
        lazy.send(format!("watch#{stream} [\"Daemon*\"]\n")).unwrap();
        assert!(lazy.read_line().unwrap().starts_with(&format!("watch#{stream} [[")));
    }
    let mut eager = Netcat::tcp(dae.port());
    eager.ask("watch", &json!(["Daemon*"]));
    // What the kernel takes from the manager, then a full queue, then one more.
    let in_kernel = send_buffer_limit() / (STREAMS * EVENT_BYTES);
    let a_round = CROWD * (UP.len() + DOWN.len());
    let rounds = (in_kernel + STREAM_PACKETS) / a_round + 2;
    let reader = thread::spawn(move || {
        let mut told = Told::default();
        told.read(&mut eager, rounds * a_round);
        told
    });

    for _ in 0..rounds {
        client.ask("start", &json!(["all"]));
        client.ask("stop", &json!(["all"]));
    }

    let told = reader.join().unwrap();
    let expected = [&UP[..], &DOWN].concat().repeat(rounds);
    assert!(told.by_name.values().all(|it| *it == expected), "{:?}", told.by_name);
    for _ in 0..STREAMS {
        let (stream, missed) = read_lagged(&mut lazy);
        assert!(missed > 0, "stream {stream}");
    }
    // Only the streams are over; the guest may ask, and watch again.
    assert_eq!(lazy.call("ping", &json!([1])), ("ping".into(), json!([1])));
    assert_eq!(lazy.ask("watch", &json!(["Daemon*"])).as_array().unwrap().len(), CROWD);
}

#[test]
fn a_watcher_sees_only_what_it_asked_for() {
    let dae = Dae::start();
    let mut client = dae.unix();
    for name in ["Watched", "Other"] {
        client.ask("install", &sleeper(name));
    }
    let mut watcher = Netcat::tcp(dae.port());
    watcher.refuse("bad-argument", "watch", &json!(["a.b"]));
    let now = watcher.ask("watch", &json!(["watch*"]));
    assert_eq!((&now[0]["name"], &now[1]), (&json!("Watched"), &Value::Null));
    watcher.refuse("conflict", "watch", &json!([]));

    client.ask("start", &json!(["Other"]));
    client.ask("start", &json!(["Watched"]));

    let mut told = Told::default();
    told.read(&mut watcher, UP.len());
    assert_eq!(
        told.by_name,
        BTreeMap::from([("Watched".to_owned(), UP.map(str::to_owned).into())])
    );
}

/// The events of one stream.
#[derive(Default)]
struct Told {
    /// Topic and state of each event, by the daemon's name.
    by_name: BTreeMap<String, Vec<String>>,
    seq: u64,
}

impl Told {
    /// Reads `number` events of the stream without a tag, none of which may be missing.
    fn read(&mut self, watcher: &mut Netcat, number: usize) {
        for _ in 0..number {
            let line = watcher.read_line().unwrap();
            let event = line.strip_prefix("event ").unwrap_or_else(|| panic!("{line:?}"));
            let event: Value = serde_json::from_str(event).unwrap();
            self.seq += 1;
            assert_eq!(event[2], self.seq, "{line}");
            let text = |it: &Value| it.as_str().unwrap().to_owned();
            let step = format!("{} {}", text(&event[0]), text(&event[1]["state"]));
            self.by_name.entry(text(&event[1]["name"])).or_default().push(step);
        }
    }
}

/// The states that each daemon went to, by the manager's own file.
fn history(dae: &Dae) -> BTreeMap<String, Vec<String>> {
    let events = dae.unix().ask("events", &json!([]));
    let mut states = BTreeMap::<_, Vec<_>>::new();
    for event in events.as_array().unwrap().iter().filter(|it| it["kind"] == "transition") {
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        states.entry(text("name")).or_default().push(text("to"));
    }
    states
}

/// Reads on to the next end of a stream, and returns which it is and how much it missed.
fn read_lagged(netcat: &mut Netcat) -> (String, u64) {
    loop {
        let line = netcat.read_line().unwrap();
        let (name, args) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let Some(stream) = name.strip_prefix("end#") else {
            assert!(name.starts_with("event#"), "{line}");
            continue;
        };
        let end: Value = serde_json::from_str(args).unwrap();
        assert_eq!(end[0]["reason"], "lagged", "{line}");
        return (stream.to_owned(), end[0]["missed"].as_u64().unwrap());
    }
}

/// How much of what is sent over a connection the kernel holds at most.
fn send_buffer_limit() -> usize {
    let limits = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    limits.split_whitespace().last().unwrap().parse().unwrap()
}

/// The arguments that install a program which is up at once, without starting it.
fn sleeper(name: &str) -> Value {
    let program = json!({
        "program": "/bin/sleep", "args": ["infinity"], "ready": "none", "no_start": true,
    });
    json!([name, program])
}
