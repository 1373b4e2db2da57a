//! Crashes: of one daemon again and again, of many at once; and of the manager, while they work.

mod clock;
mod gap;
mod links;
mod sleep;

use std::{collections::BTreeSet, env, thread};

use serde_json::{Value, json};

use crate::harness::{
    Dae, binary, events, eventually, kill, pid, processor_ms, shell, transitions, unix_ms,
};

/// How often one daemon is killed.
const KILLS: usize = 100;

/// So late may a start be on a busy machine; more would be a hang.
const LATE_MS: u64 = 20_000;

#[test]
fn m_8_1_every_crash_is_followed_by_one_replacement() {
    let dae = Dae::start();
    // Who runs holds the lock, so a second one would tell.
    let script = r#"exec 9>"$DAE_DATA/lock"; flock -n 9 || touch "$DAE_DATA/two"; exec sleep 1000"#;
    let more = json!({ "backoff": "1ms..1ms", "stable": "1ms" });
    let mut running = dae.install("Guarded", &shell(script, &more));
    let data = dae.home().join("data/daemons/Guarded");

    for number in 1..=KILLS {
        kill(pid(&running));
        let is_next = |it: &Value| it["state"] == "up" && it["pid"] != running["pid"];
        running = dae.eventually("Guarded", is_next);
        assert_eq!(running["restarts"], number);
    }

    assert!(data.join("lock").exists(), "it runs where this test looks");
    assert!(!data.join("two").exists(), "two of it ran at the same time");
    let past = transitions(&dae, "Guarded");
    let killed: Vec<&Value> = past.iter().filter(|it| it["exit"]["signal"] == 9).collect();
    assert_eq!(killed.len(), KILLS);
    let waits: Vec<u64> = killed.iter().map(|end| next_start(&past, end)).collect();
    let waits = sorted(waits);
    println!("M-8.1: kill to spawn, ms: p50 {}, max {}", waits[KILLS / 2], waits[KILLS - 1]);
}

#[test]
fn m_8_2_a_crash_loop_waits_as_the_formula_says() {
    const BASE: u64 = 40;
    const CAP: u64 = 160;
    const FAILURES: u64 = 23;
    let dae = Dae::start();
    let more = json!({ "ready": "dae", "backoff": format!("{BASE}ms..{CAP}ms") });
    dae.ask("install", &json!(["Loop", shell("exit 101", &more)])).unwrap_err();

    eventually("enough failures", || {
        let status = dae.ask("status", &json!(["Loop"])).unwrap();
        (status["failures"].as_u64().unwrap() > FAILURES).then_some(())
    });
    dae.ask("stop", &json!(["Loop"])).unwrap();

    let past = transitions(&dae, "Loop");
    let failed: Vec<&Value> = past.iter().filter(|it| it["exit"]["code"] == 101).collect();
    let mut at_cap = vec![];
    for (number, end) in (1..=FAILURES).zip(&failed) {
        let plain = CAP.min(BASE << (number - 1).min(10));
        let waited = next_start(&past, end);
        // Both times are cut to whole milliseconds.
        assert!(waited + 1 >= plain * 8 / 10, "{number}: {waited} ms for {plain}");
        assert!(waited <= plain * 12 / 10 + LATE_MS, "{number}: {waited} ms for {plain}");
        if plain == CAP {
            at_cap.push(waited);
        }
        let note = end["note"].as_str().unwrap();
        if number >= 3 {
            assert!(note.starts_with(&format!("crash loop: {number} failures in ")), "{note}");
            assert!(note.ends_with(", last: exit 101"), "{note}");
        }
    }
    println!("M-8.2: waits at the cap of {CAP} ms: {at_cap:?}");
    // Each may be late, but not all of them.
    assert!(at_cap.iter().any(|it| *it <= CAP * 12 / 10 + 20), "{at_cap:?}");
    assert!(at_cap.iter().collect::<BTreeSet<_>>().len() > 1, "no jitter: {at_cap:?}");
}

#[test]
fn m_8_2_a_hundred_crash_loops_cost_what_a_restart_costs() {
    const DAEMONS: usize = 100;
    const RESTARTS: usize = 400;
    let dae = Dae::start();
    let more = json!({ "backoff": "1s..1s", "no_start": true });
    for number in 0..DAEMONS {
        dae.install(&format!("Loop{number}"), &shell("exit 101", &more));
    }
    let (manager, keeper) = (dae.pid(), dae.keeper());
    let before = processor_ms(manager) + processor_ms(keeper);
    dae.unix().send("start [\"all\"]\n").unwrap();

    let restarts = eventually("they crash and come back", || {
        let listed = dae.ask("list", &json!([{ "all": true, "own": true }])).unwrap();
        let each = listed.as_array().unwrap().iter().map(|it| it["restarts"].as_u64().unwrap());
        Some(each.sum::<u64>()).filter(|it| *it >= RESTARTS as u64)
    });

    let spent = processor_ms(manager) + processor_ms(keeper) - before;
    let each_ms = spent as f64 / restarts as f64;
    let share = each_ms / 1000.0 * DAEMONS as f64 / 30.0 * 100.0;
    println!("M-8.2: {each_ms:.2} ms of CPU a restart, so 100 loops at 30 s cost {share:.2} %");
    assert!(each_ms < 500.0, "{each_ms} ms a restart");
}

#[test]
fn m_8_3_when_all_are_killed_at_once_few_start_at_a_time() {
    let count = number_of("DAE_TEST_KILLED", 100);
    let dae = Dae::start();
    let definition =
        json!({ "program": binary("sample"), "start_timeout": "5m", "no_start": true });
    let names: Vec<String> = (0..count).map(|number| format!("Sample{number}")).collect();
    for name in &names {
        dae.install(name, &definition);
    }
    dae.unix().send("start [\"all\"]\n").unwrap();
    let before = all_up(&dae, count, &BTreeSet::new());

    before.iter().for_each(|pid| kill(*pid));

    let after = all_up(&dae, count, &before);
    assert_eq!(after.len(), count);
    let most = most_starting(&events(&dae));
    let limit = (2 * thread::available_parallelism().unwrap().get()).max(4);
    println!("M-8.3: {count} killed at once, at most {most} of {limit} started at a time");
    assert!((2..=limit).contains(&most), "{most} at a time");
}

/// Waits until `count` daemons are up with none of the processes `old`, and returns theirs.
fn all_up(dae: &Dae, count: usize, old: &BTreeSet<u32>) -> BTreeSet<u32> {
    eventually("all are up", || {
        let listed = dae.ask("list", &json!([{ "all": true, "own": true }])).unwrap();
        let up = listed.as_array().unwrap().iter().filter(|it| it["state"] == "up");
        let pids: BTreeSet<u32> = up.map(pid).filter(|it| !old.contains(it)).collect();
        (pids.len() == count).then_some(pids)
    })
}

/// How many were between spawn and ready at the same time.
fn most_starting(events: &[Value]) -> usize {
    let mut starting = BTreeSet::new();
    let transitions = events.iter().filter(|it| it["kind"] == "transition");
    let counts = transitions.map(|it| {
        match it["to"] == "starting" {
            true => starting.insert(it["name"].as_str()),
            false => starting.remove(&it["name"].as_str()),
        };
        starting.len()
    });
    counts.max().unwrap_or_default()
}

/// How long after `end` the next process was started, in milliseconds.
fn next_start(past: &[Value], end: &Value) -> u64 {
    let is_next = |it: &&Value| it["seq"].as_u64() > end["seq"].as_u64() && it["to"] == "starting";
    let start = past.iter().find(is_next).unwrap_or_else(|| panic!("none after {end}"));
    unix_ms(&start["time"]).saturating_sub(unix_ms(&end["exited"]))
}

/// A number from the environment, for runs that are longer than the everyday one.
fn number_of(variable: &str, everyday: usize) -> usize {
    env::var(variable).map_or(everyday, |it| it.parse().unwrap())
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}
