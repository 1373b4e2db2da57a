//! The table of states, with real processes.
//!
//! A daemon's history, as `status` shows it, tells by which way it went; so nothing has to be seen
//! in the moment in which it is so.

mod pairs;
mod rows;

use serde_json::{Value, json};

use crate::harness::{Dae, unix_ms};

/// A child that fails at its first start and runs from the second on.
const ONCE_BROKEN: &str =
    r#"[ -e "$DAE_DATA/again" ] && exec sleep 1000; touch "$DAE_DATA/again"; exit 3"#;

/// Long enough that nothing but what a test does ends a wait.
const FOREVER: &str = "1h..1h";

/// One line of a daemon's history.
struct Past {
    at_ms: u64,
    to: String,
    note: Option<String>,
}

fn history(dae: &Dae, name: &str) -> Vec<Past> {
    let status = status(dae, name);
    let past = |it: &Value| Past {
        at_ms: unix_ms(&it["time"]),
        to: it["to"].as_str().unwrap().to_owned(),
        note: it["note"].as_str().map(str::to_owned),
    };
    status["history"].as_array().unwrap().iter().map(past).collect()
}

/// The states that `name` has come into, oldest first.
fn ways(dae: &Dae, name: &str) -> Vec<String> {
    let mut ways: Vec<String> = history(dae, name).into_iter().map(|it| it.to).collect();
    // From `stopping` to `stopping` is a changed note: the tree takes long, as on a machine that is
    // loaded.
    ways.dedup();
    ways
}

fn status(dae: &Dae, name: &str) -> Value {
    dae.ask("status", &json!([name])).unwrap()
}

fn is(state: &str) -> impl Fn(&Value) -> bool {
    move |listed| listed["state"] == state
}
