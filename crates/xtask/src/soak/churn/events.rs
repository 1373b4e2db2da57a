//! Whether the history has all that happened.

use std::collections::BTreeMap;

use serde_json::Value;

/// The signal that asks a process to end.
const SIGTERM: i32 = 15;

/// A daemon that was killed here.
#[derive(Clone, Debug)]
pub(super) struct Kill {
    pub(super) name: String,
    pub(super) pid: u64,
    pub(super) signal: i32,
    /// In Unix ms, for people.
    #[expect(dead_code, reason = "shown where a kill is missing")]
    pub(super) at_ms: u64,
}

/// Those kills after which the history does not have the end of that process by that signal, and
/// then another process or the removal of the daemon.
pub(super) fn missing(events: &[Value], kills: &[Kill]) -> Vec<Kill> {
    let mut of: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in events {
        if let Some(name) = event["name"].as_str() {
            of.entry(name).or_default().push(event);
        }
    }
    let is_missing = |kill: &&Kill| !of.get(&*kill.name).is_some_and(|it| is_told(it, kill));
    kills.iter().filter(is_missing).cloned().collect()
}

fn is_told(events: &[&Value], kill: &Kill) -> bool {
    // A daemon of the SDK takes SIGTERM for a word, and ends well.
    let is_end = |it: &&Value| {
        let is_obeyed = kill.signal == SIGTERM && it["exit"]["code"] == 0;
        it["pid"] == kill.pid && (it["exit"]["signal"] == kill.signal || is_obeyed)
    };
    let is_next = |it: &&Value| it["to"] == "up" && it["pid"] != kill.pid;
    let is_removal = |it: &&Value| it["kind"] == "command" && it["command"] == "uninstall";
    match events.iter().position(is_end) {
        Some(end) => events[end..].iter().any(is_next) || events.iter().any(is_removal),
        None => false,
    }
}

/// How often a number is not the one before and one more.
pub(super) fn gaps(events: &[Value]) -> usize {
    let numbers: Vec<u64> = events.iter().filter_map(|it| it["seq"].as_u64()).collect();
    numbers.windows(2).filter(|it| it[1] != it[0] + 1).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kill_is_told_by_its_end_and_by_what_comes_after_it() {
        let kill = Kill { name: "A".into(), pid: 1, signal: 9, at_ms: 0 };
        let end = json!({ "name": "A", "to": "pending", "pid": 1, "exit": { "signal": 9 } });
        let next = json!({ "name": "A", "to": "up", "pid": 2 });
        let told = |events: &[Value]| missing(events, std::slice::from_ref(&kill)).is_empty();
        assert!(told(&[end.clone(), next.clone()]));
        assert!(!told(&[next.clone(), end.clone()]), "it came before the end");
        assert!(!told(std::slice::from_ref(&next)));
        let other = json!({ "name": "A", "to": "pending", "pid": 1, "exit": { "signal": 15 } });
        assert!(!told(&[other, next]));
    }

    #[test]
    fn a_gap_is_seen() {
        assert_eq!(gaps(&[json!({ "seq": 1 }), json!({ "seq": 2 }), json!({ "seq": 4 })]), 1);
    }
}
