//! What is installed stays installed: over a kill at any instant, a full disk, a broken file, and
//! a second manager.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process,
    str::FromStr,
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Dae, Netcat, SmallDisk};

/// How many calls are made before the manager is killed, at most.
const CALLS: u64 = 200;

/// Among how many names they choose.
const NAMES: u64 = 20;

/// The longest pause between an answer and the kill: longer than a call takes.
const PAUSE_US: u64 = 4000;

/// `DAE_M_2_1_ROUNDS` tells how many rounds, `DAE_M_2_1_SEED` begins with what an earlier run
/// printed.
#[test]
fn m_2_1_a_kill_at_any_instant_loses_nothing_that_was_acknowledged() {
    let rounds: u64 = setting("DAE_M_2_1_ROUNDS").unwrap_or(10);
    let seed = setting("DAE_M_2_1_SEED").unwrap_or_else(clock);
    println!("M-2.1: {rounds} rounds of {CALLS} calls, DAE_M_2_1_SEED={seed}");
    let mut random = Random(seed);
    let dae = Dae::start();
    let mut installed = BTreeSet::new();
    for round in 1..=rounds {
        let in_flight = change_until_killed(&dae, &mut installed, &mut random);

        dae.succeed(["up"]);

        let found = names(&dae);
        let mut with_it = installed.clone();
        toggle(&mut with_it, &in_flight);
        assert!(
            found == installed || found == with_it,
            "round {round}: {found:?}, acknowledged {installed:?}, in flight {in_flight}"
        );
        assert_eq!(dae.unix().ask("status", &json!([]))["manager"]["registry"], "ok");
        installed = found;
    }
}

#[test]
fn m_2_2_a_full_disk_is_an_error_and_the_registry_stays() {
    let dae = Dae::at_rest();
    let Some(disk) = SmallDisk::on(dae.home(), "512k") else { return };
    dae.succeed(["up"]);
    let mut client = dae.unix();
    install(&mut client, "Before");
    let file = dae.home().join("data/registry.toml");
    let registry = fs::read(&file).unwrap();
    disk.fill();

    let error = client.refuse("storage", "install", &sleeper("During"));

    assert_eq!(error["name"], "During");
    assert_eq!(fs::read(&file).unwrap(), registry);
    client.refuse("storage", "uninstall", &json!(["Before"]));
    assert_eq!(names(&dae), set(["Before"]));
    disk.make_room();
    install(&mut client, "After");
    assert_eq!(names(&dae), set(["After", "Before"]));
    dae.succeed(["down"]);
    dae.succeed(["up"]);
    assert_eq!(names(&dae), set(["After", "Before"]));
    dae.succeed(["down"]);
}

#[test]
fn m_2_3_a_second_up_says_where_the_first_manager_is() {
    let dae = Dae::start();
    let (pid, port) = (dae.pid(), dae.port());

    let second = dae.run(["up"]);
    let third = dae.run(["up", "--json"]);

    let said = [&*second.stdout, &*second.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(second.status.code(), Some(0), "{said}");
    assert!(said.contains(&pid.to_string()) && said.contains(&port.to_string()), "{said}");
    assert_eq!(third.status.code(), Some(0), "{third:?}");
    let place: Value = serde_json::from_slice(&third.stdout).unwrap();
    assert_eq!((&place["pid"], &place["port"]), (&json!(pid), &json!(port)));
    assert_eq!(dae.managers(), [pid]);
}

#[test]
fn m_2_3_two_ups_at_the_same_time_make_one_manager() {
    for _ in 0..3 {
        let dae = Dae::at_rest();

        let places = thread::scope(|scope| {
            let up = || dae.succeed(["up", "--json"]);
            [scope.spawn(up), scope.spawn(up)].map(|it| it.join().unwrap())
        });

        let [one, other] = places.map(|it| serde_json::from_str::<Value>(&it).unwrap());
        assert_eq!((&one["pid"], &one["port"]), (&other["pid"], &other["port"]));
        assert_eq!(json!(dae.managers()), json!([one["pid"]]));
    }
}

#[test]
fn m_2_4_unknown_keys_survive_a_rewrite() {
    let dae = Dae::start();
    install(&mut dae.unix(), "Sample");
    dae.succeed(["down"]);
    let file = dae.home().join("data/registry.toml");
    let written = fs::read_to_string(&file).unwrap();
    let (head, daemon) = written.split_once("[daemon.Sample]\n").unwrap();
    let edited = format!(
        "# by hand\n{head}shape = \"round\"\n\n[fleet]\nsize = 3\n\n\
         [daemon.Sample] # mine\ncolour = \"blue\"\n{daemon}"
    );
    fs::write(&file, edited).unwrap();

    dae.succeed(["up"]);
    let mut client = dae.unix();
    install(&mut client, "Other");
    client.ask("edit", &json!(["Sample", {"grace": "3s"}]));

    let text = fs::read_to_string(&file).unwrap();
    let kept = ["# by hand", "shape = \"round\"", "[fleet]", "size = 3", "# mine"];
    for kept in kept.iter().chain(&["colour = \"blue\"", "grace = \"3s\"", "[daemon.Other]"]) {
        assert!(text.contains(kept), "no `{kept}` in\n{text}");
    }
    dae.succeed(["down"]);
    dae.succeed(["up"]);
    assert_eq!(names(&dae), set(["Other", "Sample"]));
}

#[test]
fn m_2_5_a_thousand_installs_one_by_one() {
    let dae = Dae::start();
    let mut client = dae.unix();
    let start = Instant::now();

    for number in 0..1000 {
        install(&mut client, &format!("Daemon-{number}"));
    }

    let took = start.elapsed();
    let bare = 1000 * replacing_a_file(dae.home());
    println!("M-2.5: 1000 installs in {took:?} (bare: {bare:?}), to be at most 5 s in release");
    assert!(took < 20 * bare.max(Duration::from_secs(5)), "{took:?}");
    assert_eq!(names(&dae).len(), 1000);
}

#[test]
fn a_broken_registry_is_replaced_by_the_one_before() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "One");
    install(&mut client, "Two");
    dae.succeed(["down"]);
    let data = dae.home().join("data");
    fs::write(data.join("registry.toml"), "version = 1\n[daemon.One\n").unwrap();

    dae.succeed(["up"]);

    // The version before knew only the first.
    assert_eq!(names(&dae), set(["One"]));
    let status = dae.unix().ask("status", &json!([]));
    let registry = status["manager"]["registry"].as_str().unwrap();
    assert!(registry.contains("the version before is in force"), "{registry}");
    let log = fs::read_to_string(dae.home().join("state/logs/Dae/manager.log")).unwrap();
    assert!(log.contains("the registry was broken"), "{log}");
    let broken = fs::read_to_string(data.join("registry.toml.broken-1")).unwrap();
    assert_eq!(broken, "version = 1\n[daemon.One\n", "what somebody wrote is kept");
    install(&mut dae.unix(), "Three");
    assert_eq!(names(&dae), set(["One", "Three"]));
}

#[test]
fn a_broken_registry_without_one_before_stops_the_start_and_stays() {
    for (registry, before) in [("nonsense", "more nonsense"), ("version = 1\n[x", "version = 2\n")]
    {
        let dae = Dae::start();
        let mut client = dae.unix();
        install(&mut client, "One");
        install(&mut client, "Two");
        dae.succeed(["down"]);
        let data = dae.home().join("data");
        fs::write(data.join("registry.toml"), registry).unwrap();
        fs::write(data.join("registry.toml.prev"), before).unwrap();

        check_refused(&dae, "registry.toml");
    }
}

#[test]
fn a_registry_of_a_newer_version_stops_the_start_and_stays() {
    let dae = Dae::start();
    install(&mut dae.unix(), "One");
    dae.succeed(["down"]);
    fs::write(dae.home().join("data/registry.toml"), "version = 2\n").unwrap();

    check_refused(&dae, "newer");
}

/// `up` fails with a line that says `why`, leaves no manager, and the data as it was.
fn check_refused(dae: &Dae, why: &str) {
    let data = dae.home().join("data");
    let before = files(&data);

    let up = dae.run(["up"]);

    let said = String::from_utf8_lossy(&up.stderr);
    assert_eq!(up.status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{said}");
    assert_eq!(files(&data), before);
    assert!(dae.managers().is_empty());
}

/// The files of `directory` with their content.
fn files(directory: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
    paths.filter(|it| it.is_file()).map(|it| (it.clone(), fs::read(it).unwrap())).collect()
}

/// Installs and uninstalls in turn until the manager is killed. Takes into `installed` what was
/// acknowledged, and returns the name of what was not.
fn change_until_killed(dae: &Dae, installed: &mut BTreeSet<String>, random: &mut Random) -> String {
    let manager = dae.pid();
    let mut client = dae.unix();
    let (last, pause) = (random.below(CALLS), random.below(PAUSE_US));
    thread::scope(|scope| {
        let (answered, answers) = mpsc::channel();
        scope.spawn(move || {
            answers.iter().nth(last as usize);
            // Not to wait for anything: to come at an instant that nobody can foresee.
            thread::sleep(Duration::from_micros(pause));
            dae.kill_manager();
        });
        loop {
            let name = format!("Daemon-{}", random.below(NAMES));
            let packet = match installed.contains(&name) {
                true => format!("uninstall {}\n", json!([name])),
                false => format!("install {}\n", sleeper(&name)),
            };
            // The kill comes between two of these, or within one.
            let reply = client.send(packet).and_then(|()| client.read_line());
            match reply {
                Ok(line) if line.ends_with('\n') => {
                    assert!(!line.starts_with("err"), "pid {manager}: {line}");
                }
                _ => return name,
            }
            toggle(installed, &name);
            // Nobody counts any more once the kill is due.
            answered.send(()).ok();
        }
    })
}

/// How long this disk takes just now to replace a file for good, without any manager.
fn replacing_a_file(directory: &Path) -> Duration {
    const TIMES: u32 = 50;
    let (new, file) = (directory.join("bare.new"), directory.join("bare"));
    let start = Instant::now();
    for _ in 0..TIMES {
        fs::write(&new, [b'x'; 64 << 10]).unwrap();
        File::open(&new).unwrap().sync_all().unwrap();
        fs::rename(&new, &file).unwrap();
        File::open(directory).unwrap().sync_all().unwrap();
    }
    start.elapsed() / TIMES
}

fn toggle(names: &mut BTreeSet<String>, name: &str) {
    if !names.remove(name) {
        names.insert(name.to_owned());
    }
}

/// What `list` shows, stopped ones too.
fn names(dae: &Dae) -> BTreeSet<String> {
    let listed = dae.unix().ask("list", &json!([{ "all": true, "own": true }]));
    let names = listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
    names.collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn install(client: &mut Netcat, name: &str) {
    client.ask("install", &sleeper(name));
}

/// The arguments that install a program without starting it.
fn sleeper(name: &str) -> Value {
    let program = json!({ "program": "/bin/sleep", "args": ["infinity"], "no_start": true });
    json!([name, program])
}

/// Numbers that come again with the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

/// A seed that differs from run to run.
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) ^ u64::from(process::id())
}
