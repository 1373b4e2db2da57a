//! What happened, as `dae events --json` tells it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::Dae;

/// All events of a home, oldest first. Needs no manager.
pub(crate) fn events(dae: &Dae) -> Vec<Value> {
    let text = dae.succeed(["events", "--json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The transitions of one daemon, oldest first.
pub(crate) fn transitions(dae: &Dae, name: &str) -> Vec<Value> {
    let is_its = |it: &Value| it["kind"] == "transition" && it["name"] == name;
    events(dae).into_iter().filter(is_its).collect()
}

/// Unix milliseconds of a time in an event: `2026-01-31T23:59:59.999Z`.
pub(crate) fn unix_ms(time: &Value) -> u64 {
    let time = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let number = |from: usize, to: usize| time[from..to].parse::<u64>().unwrap();
    // Years are counted from March, so that a leap day comes last.
    let month = (number(5, 7) + 9) % 12;
    let year = number(0, 4) - month / 10;
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + number(8, 10);
    let hours = (days - 719_469) * 24 + number(11, 13);
    ((hours * 60 + number(14, 16)) * 60 + number(17, 19)) * 1000 + number(20, 23)
}

/// The same for this moment.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}
