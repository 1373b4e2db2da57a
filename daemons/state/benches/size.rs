//! What a tree of a million nodes costs: to read, to hold, to change.
//!
//! `cargo bench -p state-daemon --bench size`

#![expect(clippy::print_stdout, reason = "it is for reading")]

use std::{error::Error, fs, hint::black_box, time::Duration};

use serde_json::{Value, json};
use state::{
    Commit, Filter, Limits, Node, Operation, Path, Pattern, Request, State, Subscription,
    Subscriptions,
    actor::{Actor, SessionId},
    decide, deliver,
    entry::{Entry, Who},
    level::Level,
    node::Kind,
};

/// Objects of nine scalars each, by the thousand in a hundred objects.
fn value() -> Value {
    let person = |at: u32| {
        json!({
            "id": at, "name": format!("name-{at}"), "mail": format!("somebody-{at}@example.org"),
            "age": at % 100, "score": f64::from(at) / 3.0, "active": at.is_multiple_of(2), "tags": null,
            "city": "some city", "note": "a line of text that is longer than what fits in place",
        })
    };
    let group = |group: u32| {
        let people = (0..1000).map(|it| (format!("p{it}"), person(group * 1000 + it)));
        (format!("g{group}"), Value::Object(people.collect()))
    };
    Value::Object((0..100).map(group).collect())
}

/// The processor's time of this process, since the machine has other things to do.
fn processor() -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    let nanos = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}

fn resident() -> Result<usize, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/statm")?;
    Ok(text.split(' ').nth(1).unwrap_or_default().parse::<usize>()? * 4096)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> Result<T, Box<dyn Error>> {
    let start = processor()?;
    let result = work();
    println!("{what}: {:?} of processor", processor()? - start);
    Ok(result)
}

fn main() -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string(&value())?;
    let bytes = {
        let root: Node = timed("from JSON text", || serde_json::from_str(&text))??;
        let state = with(root)?;
        let mut bytes = Vec::new();
        timed("to a snapshot", || state.write(&mut bytes))??;
        bytes
    };
    println!("JSON {} MB, snapshot {} MB", text.len() >> 20, bytes.len() >> 20);
    drop(text);

    let state = timed("from a snapshot", || State::read(&mut &bytes[..]))??;
    let nodes = state.root().totals().nodes;
    println!("{nodes} nodes, about {} bytes of memory each", weight(&bytes)? / nodes);

    let wide: serde_json::Map<_, _> =
        (0..100_000).map(|it| (format!("k{it}"), json!(it))).collect();
    let wide = with(serde_json::from_value(Value::Object(wide))?)?;
    updates("updates of an object of 100000 members", wide, Path::of(["k777"])?)?;
    updates("updates of a small object", state, Path::of(["g50", "p500", "age"])?)?;
    crowd()
}

/// Updates at `path`, each of a state that somebody else still holds.
fn updates(what: &str, mut state: State, path: Path) -> Result<(), Box<dyn Error>> {
    const COUNT: u64 = 100_000;
    let limits = Limits::default();
    timed(&format!("{COUNT} {what}"), || {
        for number in 0..COUNT {
            let value = Node::from(Kind::Number(number.into()));
            let update = Operation::Update { path: path.clone(), value };
            let request = Request::one(update, number);
            let Ok(commit) = decide(&state, &Actor::server(), &request, &limits) else { break };
            state = commit.after;
        }
        black_box(state.revision())
    })?;
    Ok(())
}

/// One update, watched by many sessions at one place and by as many elsewhere.
fn crowd() -> Result<(), Box<dyn Error>> {
    const SESSIONS: u32 = 10_000;
    let before = with(serde_json::from_value(json!({"here": {"n": 0}}))?)?;
    let permit = Operation::UpdatePerms {
        path: Path::ROOT,
        who: Who::Everybody,
        entry: Some(Entry { level: Level::Viewer, is_important: false }),
    };
    let before = decided(&before, permit)?.after;
    let mut subscriptions = Subscriptions::default();
    for number in 0..SESSIONS {
        let session = SessionId::from(number.to_string());
        subscriptions.open(session.clone(), None, None);
        for steps in [["here", "**"], ["elsewhere", number.to_string().as_str()]] {
            let (pattern, filter) = (Pattern::of(steps)?, Filter::default());
            subscriptions.subscribe(&session, Subscription { pattern, filter }, 2)?;
        }
    }
    let path = Path::of(["here", "n"])?;
    let value = serde_json::from_value(json!(1))?;
    let commit = decided(&before, Operation::Update { path, value })?;
    let record = commit.record.ok_or("something was changed")?;
    let told = timed(&format!("telling {SESSIONS} sessions of one update"), || {
        deliver(&before, &commit.after, &record, &subscriptions)
    })?;
    println!("{} were told", told.len());
    Ok(())
}

fn decided(state: &State, operation: Operation) -> Result<Commit, Box<dyn Error>> {
    let limits = Limits { value_bytes: usize::MAX, ..Limits::default() };
    Ok(decide(state, &Actor::server(), &Request::one(operation, 0), &limits)?)
}

/// The memory of one state: the first few take what was used before.
fn weight(bytes: &[u8]) -> Result<usize, Box<dyn Error>> {
    let (mut states, mut before) = (Vec::new(), 0);
    for count in 0..10 {
        if count == 6 {
            before = resident()?;
        }
        states.push(State::read(&mut &*bytes)?);
    }
    Ok(resident()?.saturating_sub(before) / 4)
}

fn with(value: Node) -> Result<State, Box<dyn Error>> {
    Ok(decided(&State::default(), Operation::Update { path: Path::ROOT, value })?.after)
}
