//! What a tree of a million nodes costs: to read, to hold, to change.
//!
//! `cargo run --release -p state-daemon --example size`

#![expect(clippy::print_stdout, reason = "it is for reading")]

use std::{error::Error, fs, hint::black_box, time::Duration};

use serde_json::{Value, json};
use state::{Limits, Node, Operation, Path, Request, State, actor::Actor, decide};

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

    let path = Path::of(["g50", "p500", "age"])?;
    let limits = Limits::default();
    let count = 100_000_u64;
    timed(&format!("{count} updates, each of a shared state"), || {
        let mut state = state.clone();
        for number in 0..count {
            let value = Node::from(state::node::Kind::Number(number.into()));
            let update = Operation::Update { path: path.clone(), value };
            let request = Request::one(update, number);
            let Ok(commit) = decide(&state, &Actor::server(), &request, &limits) else { break };
            state = commit.after;
        }
        black_box(state.revision())
    })?;
    Ok(())
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
    let limits = Limits { value_bytes: usize::MAX, ..Limits::default() };
    let update = Operation::Update { path: Path::ROOT, value };
    Ok(decide(&State::default(), &Actor::server(), &Request::one(update, 0), &limits)?.after)
}
