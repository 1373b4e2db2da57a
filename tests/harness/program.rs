//! Definitions to install, and what is listed of what was.

use serde_json::{Value, json};

use super::workspace;

/// A child that does nothing, and does not start another process for that.
pub(crate) const IDLE: &str = "exec sleep 1000";

/// A child that no polite word ends.
pub(crate) const STUBBORN: &str = r#"trap "" TERM; while :; do sleep 1000; done"#;

/// A daemon that runs `script` in a shell and is ready at once, with `more` in its definition.
pub(crate) fn shell(script: &str, more: &Value) -> Value {
    let plain = json!({ "program": "/bin/sh", "args": ["-c", script], "ready": "none" });
    merged(plain, more)
}

/// A daemon that runs a program of `tests/programs`, with `more` in its definition.
pub(crate) fn program(file: &str, more: &Value) -> Value {
    let path = workspace().join("tests/programs").join(file);
    merged(json!({ "program": path }), more)
}

/// The process of what is listed.
pub(crate) fn pid(listed: &Value) -> u32 {
    let pid = listed["pid"].as_u64().unwrap_or_else(|| panic!("no pid: {listed}"));
    pid.try_into().unwrap()
}

fn merged(mut plain: Value, more: &Value) -> Value {
    let members = more.as_object().unwrap().clone();
    plain.as_object_mut().unwrap().extend(members);
    plain
}
