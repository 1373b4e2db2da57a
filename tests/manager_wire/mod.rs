//! Every verb of the manager over the wire, with good and with bad arguments.

mod door;
mod install;
mod managers;
mod past;
mod verbs;

use std::fs;

use serde_json::{Map, Value, json};

use crate::harness::Dae;

/// What is listed of our own, stopped ones too.
fn listed(dae: &Dae) -> Value {
    dae.unix().ask("list", &json!([{ "all": true, "own": true }]))
}

/// The one daemon of a report without errors.
fn only(report: Value) -> Value {
    assert_eq!(report["errors"], json!([]), "{report}");
    let [daemon] = &report["daemons"].as_array().unwrap()[..] else { panic!("{report}") };
    daemon.clone()
}

fn names(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

/// The arguments that install a program that speaks to nobody.
fn sleeper(name: &str) -> Value {
    json!([name, { "program": "/bin/sleep", "args": ["infinity"], "ready": "none" }])
}

/// The same, not started.
fn at_rest(name: &str) -> Value {
    let mut args = sleeper(name);
    let definition: &mut Map<String, Value> = args[1].as_object_mut().unwrap();
    definition.insert("no_start".into(), true.into());
    args
}

fn is_alive(pid: &Value) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}
