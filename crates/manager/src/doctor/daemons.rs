//! Whether what the manager says of daemons is what the kernel says.

use serde_json::Value;

use super::Check;
use crate::{
    proc::{Pid, stat, tree},
    scan::{Belonging, belongs_to},
};

/// A daemon that is said to be up.
struct Up<'a> {
    name: &'a str,
    pid: Pid,
    port: Option<u16>,
}

pub(super) fn check(daemons: &[Value]) -> Vec<Check> {
    let up: Vec<_> = daemons.iter().filter_map(Up::read).collect();
    let wrong = up.iter().filter_map(Up::wrong).collect();
    Check::all(
        "daemons",
        wrong,
        format!("{} of {} up, each where it is said to be", up.len(), daemons.len()),
    )
}

impl<'a> Up<'a> {
    fn read(entry: &'a Value) -> Option<Self> {
        let number = |key| entry.get(key).and_then(Value::as_u64);
        let is_up = entry.get("state")? == "up";
        let pid = number("pid").and_then(|it| it.try_into().ok()).filter(|_| is_up)?;
        let port = number("port").and_then(|it| it.try_into().ok());
        Some(Self { name: entry.get("name")?.as_str()?, pid, port })
    }

    /// What the kernel says differently. What it does not tell is no proof.
    fn wrong(&self) -> Option<Check> {
        let Self { name, pid, port } = self;
        let fix = || format!("dae restart {name}");
        if !matches!(stat(*pid), Ok(Some(it)) if !it.is_zombie()) {
            let detail = format!("`{name}` is said to be up, but there is no pid {pid}");
            return Some(Check::fail("daemons", detail, fix()));
        }
        let port = (*port)?;
        let detail = match belongs_to(port, &tree(*pid).ok()?).ok()? {
            Belonging::Tree(_) => return None,
            Belonging::Stranger(_) => format!("port {port} of `{name}` is another process's"),
            Belonging::Nobody => format!("nobody listens on port {port} of `{name}`"),
        };
        Some(Check::fail("daemons", detail, fix()))
    }
}
