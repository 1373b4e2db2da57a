//! A child survives its keeper, its manager, and both: `crates/manager/SURVIVAL.md`.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Dae, IDLE, binary, eventually, finish, is_running, kill, living, of, pid, processes, shell,
    status, tell,
};

/// A child that counts into its log, and ends with 37 when it is told to.
const COUNTER: &str = r#"
    trap 'echo "at last"; exit 37' USR2
    n=0
    while :; do n=$((n + 1)); echo "line $n"; sleep 0.01 & wait $!; done
"#;

/// A child that does nothing, with a child in a session of its own that does not end by SIGTERM.
const FAMILY: &str = r#"
    setsid sh -c 'trap "" TERM; while :; do sleep 1000; done' </dev/null >/dev/null 2>&1 &
    exec sleep 1000
"#;

#[test]
fn who_is_busy_when_its_manager_is_replaced_is_left_to_its_work() {
    let dae = Dae::start();
    let sample = json!({ "program": binary("sample"), "start_timeout": "2s" });
    let before = pid(&dae.install("Sample", &sample));
    // It has to be older than it was given to become ready.
    let began = tokio::time::Instant::now();
    eventually("it is old", || (began.elapsed().as_secs() >= 3).then_some(()));
    tell(before, Signal::SIGSTOP);

    dae.kill_manager();
    dae.succeed(["up"]);

    let after = dae.eventually("Sample", |it| it["state"] != "starting");
    assert_eq!((&after["state"], pid(&after)), (&json!("up"), before), "{after}");
    assert!(after["note"].as_str().unwrap().contains("does not answer"), "{after}");
    tell(before, Signal::SIGCONT);
    assert!(is_running(before));
    stop(&dae, "Sample");
}

#[test]
fn a_keeper_that_has_only_adopted_compresses_logs_too() {
    let dae = Dae::start();
    let more = json!({ "log_max": "64K", "log_keep": 4 });
    dae.install("Loud", &shell("while :; do seq 2000; sleep 0.05; done", &more));
    let compressed = || -> BTreeSet<PathBuf> {
        let files = fs::read_dir(dae.home().join("state/logs/Loud")).unwrap().flatten();
        files.map(|it| it.path()).filter(|it| it.extension().is_some_and(|it| it == "gz")).collect()
    };
    eventually("files are compressed", || (!compressed().is_empty()).then_some(()));

    kill_keeper(&dae);

    let before = compressed();
    eventually("newer ones are", || compressed().is_disjoint(&before).then_some(()));
}

#[test]
fn a_log_that_cannot_be_opened_at_an_adoption_is_tried_again() {
    let dae = Dae::start();
    dae.install("Counter", &shell(COUNTER, &json!({ "restart": "never" })));
    until_logged(&dae, "Counter", |log| log.contains("line 10").then_some(()));
    let (manager, first) = (dae.pid(), keeper(&dae).unwrap());
    let (logs, aside) = (dae.home().join("state/logs/Counter"), dae.home().join("aside"));
    tell(manager, Signal::SIGSTOP);
    kill(first);
    eventually("the keeper is dead", || (!is_running(first)).then_some(()));
    fs::rename(&logs, &aside).unwrap();
    fs::write(&logs, "no directory").unwrap();
    tell(manager, Signal::SIGCONT);
    eventually("another keeper", || keeper(&dae).filter(|pid| *pid != first));

    fs::remove_file(&logs).unwrap();
    fs::rename(&aside, &logs).unwrap();

    let counted = log(&dae, "Counter").len();
    until_logged(&dae, "Counter", |log| log.len().checked_sub(counted + 100));
    tell(pid(&dae.listed("Counter").unwrap()), Signal::SIGUSR2);
    dae.eventually("Counter", |it| it["note"] == "exit 37");
    let gaps = counted_by(&dae, "Counter").windows(2).filter(|it| it[1] != it[0] + 1).count();
    assert!(gaps <= 1, "{}", log(&dae, "Counter"));
}

#[test]
fn what_may_stay_is_heard_by_the_next_keeper_too() {
    const LEAVES: &str = r#"
        setsid sh -c 'n=0; while :; do n=$((n + 1)); echo "line $n"; sleep 0.02; done' &
        exec sleep 1000
    "#;
    for environment in [&[][..], &[("DAE_CGROUP", "off".as_ref())]] {
        let dae = Dae::start_by("exec \"$0\" up", environment);
        let keep = json!({ "leftovers": "keep", "restart": "never" });
        let leader = pid(&dae.install("Leaves", &shell(LEAVES, &keep)));
        until_logged(&dae, "Leaves", |log| log.contains("line 1").then_some(()));
        kill(leader);
        dae.eventually("Leaves", |it| it["state"] == "failed");

        kill_keeper(&dae);

        let counted = log(&dae, "Leaves").len();
        until_logged(&dae, "Leaves", |log| log.len().checked_sub(counted + 100));
    }
}

#[test]
fn who_cannot_be_told_from_others_is_left_alone_until_that_is_possible() {
    let dae = Dae::start();
    for (name, more) in [
        ("Idle", json!({})),
        ("Once", json!({ "enabled": false })),
        ("Ended", json!({})),
        ("Stopped", json!({})),
    ] {
        dae.install(name, &shell(IDLE, &more));
    }
    let [idle, once, ended, stopped] =
        ["Idle", "Once", "Ended", "Stopped"].map(|name| pid(&dae.listed(name).unwrap()));
    kill_both(&dae);
    let mut next = dae.command(["keeper", "--runtime"]);
    let mut next = next.arg(dae.home().join("run")).spawn().unwrap();
    let descriptors = of(next.id(), "fd");
    // Sixteen that it keeps are copies of the first.
    let pollers = || {
        let all = fs::read_dir(&descriptors).unwrap().flatten();
        let is_epoll = |it: &PathBuf| it.to_string_lossy().contains("eventpoll");
        all.filter_map(|it| fs::read_link(it.path()).ok()).filter(is_epoll).count()
    };
    eventually("the keeper waits", || (pollers() == 17).then_some(()));
    // It has room for its manager, and then for nobody any more.
    let room = fs::read_dir(&descriptors).unwrap().count() - 16 + 1;
    limit_descriptors(next.id(), room);

    dae.succeed(["up"]);

    let waits = dae.eventually("Idle", |it| it["state"] == "waiting");
    assert!(waits["note"].as_str().unwrap().contains("cannot tell"), "{waits}");
    let rests = dae.listed("Once").unwrap();
    assert_eq!(rests["state"], "down");
    assert_eq!(rests["note"], format!("cannot tell whether pid {once} is it"));
    assert_eq!(dae.ask("stop", &json!(["Stopped"])).unwrap()["daemons"][0]["state"], "down");
    assert!([idle, once, ended, stopped].iter().all(|pid| is_running(*pid)));
    kill(ended);

    limit_descriptors(next.id(), 1024);

    for (name, before) in [("Idle", idle), ("Once", once)] {
        let after = dae.eventually(name, |it| it["state"] == "up");
        assert_eq!(pid(&after), before);
        stop(&dae, name);
        assert!(!is_running(before));
    }
    eventually("who was stopped meanwhile ends", || (!is_running(stopped)).then_some(()));
    dae.eventually("Stopped", |it| it["state"] == "down");
    dae.eventually("Ended", |it| it["state"] == "up" && it["pid"] != ended);
    dae.succeed(["down"]);
    next.wait().unwrap();
}

fn limit_descriptors(pid: u32, most: usize) {
    let (pid, limit) = (pid.to_string(), format!("--nofile={most}:4096"));
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

#[test]
fn m_8_5_children_of_a_killed_keeper_are_adopted_as_they_are() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    dae.install("Counter", &shell(COUNTER, &json!({ "restart": "never" })));
    dae.install("Family", &shell(FAMILY, &json!({ "grace": "100ms" })));
    let names = ["Sample", "Counter", "Family"];
    let before = names.map(|name| dae.listed(name).unwrap());

    let next = kill_keeper(&dae);

    let after = names.map(|name| dae.listed(name).unwrap());
    for (before, after) in before.iter().zip(&after) {
        for key in ["name", "state", "pid", "port", "since", "restarts"] {
            assert_eq!(before[key], after[key], "{after}");
        }
        assert!(is_running(pid(after)));
        assert_ne!(status(pid(after), "PPid"), Some(next.to_string()), "adopted, not spawned");
    }
    // Its output is read on, and its end is known as that of any other.
    let counted = until_logged(&dae, "Counter", |log| Some(log.len()));
    until_logged(&dae, "Counter", |log| log.len().checked_sub(counted + 100));
    tell(pid(&after[1]), Signal::SIGUSR2);
    let failed = dae.eventually("Counter", |it| it["state"] == "failed");
    assert_eq!(failed["note"], "exit 37");
    assert_counted(&dae, "Counter");
    assert!(log(&dae, "Counter").ends_with("at last\n"));
    // Who crashes comes back, as the new keeper's own.
    kill(pid(&after[0]));
    let again = dae.eventually("Sample", |it| it["state"] == "up" && it["pid"] != after[0]["pid"]);
    assert_eq!(status(pid(&again), "PPid"), Some(next.to_string()));
    // Who is stopped leaves nobody.
    dae.eventually("Family", |it| it["state"] == "up");
    stop(&dae, "Family");
    assert_eq!(living(dae.home(), "Family"), BTreeSet::new());
}

#[test]
fn m_8_5_who_ends_between_two_keepers_is_told_with_its_code_and_its_last_lines() {
    let dae = Dae::start();
    let never = json!({ "restart": "never" });
    let counter = pid(&dae.install("Counter", &shell(COUNTER, &never)));
    let killed = pid(&dae.install("Killed", &shell(IDLE, &never)));
    let done = pid(&dae.install(
        "Done",
        &shell("trap 'exit 0' USR2; while :; do sleep 1000 & wait; kill $!; done", &never),
    ));
    until_logged(&dae, "Counter", |log| log.contains("line 10").then_some(()));
    eventually("the shell waits", || (living(dae.home(), "Done").len() > 1).then_some(()));
    let (manager, first) = (dae.pid(), keeper(&dae).unwrap());

    // Nobody can start another keeper now.
    tell(manager, Signal::SIGSTOP);
    kill(first);
    eventually("the keeper is dead", || (!is_running(first)).then_some(()));
    tell(counter, Signal::SIGUSR2);
    tell(done, Signal::SIGUSR2);
    kill(killed);
    for pid in [counter, done, killed] {
        eventually("the end of a child", || (!is_running(pid)).then_some(()));
    }
    tell(manager, Signal::SIGCONT);

    let told = |name| {
        let ended = dae.eventually(name, |it| it["state"] == "failed" || it["state"] == "down");
        ended["note"].as_str().unwrap().to_owned()
    };
    assert_eq!(told("Counter"), "exit 37");
    assert_eq!(told("Killed"), "killed by SIGKILL");
    assert_eq!(told("Done"), if remembers() { "exit 0" } else { "ended unseen" });
    assert_counted(&dae, "Counter");
    assert!(log(&dae, "Counter").ends_with("at last\n"));
}

/// What a keeper has read and not yet written dies with it, which is a matter of microseconds. So
/// each death may cost each child one gap, and nothing else: no line twice, none out of order.
#[test]
fn m_8_5_a_keeper_may_be_killed_again_and_again() {
    const KILLS: usize = 20;
    let dae = Dae::start();
    let names: Vec<String> = (0..8).map(|number| format!("Counter-{number}")).collect();
    for name in &names {
        dae.install(name, &shell(COUNTER, &json!({})));
    }
    let pids = || names.iter().map(|name| pid(&dae.listed(name).unwrap())).collect::<Vec<_>>();
    let before = pids();

    for _ in 0..KILLS {
        kill_keeper(&dae);
    }

    assert_eq!(pids(), before);
    for name in &names {
        let counted = until_logged(&dae, name, |log| Some(log.len()));
        until_logged(&dae, name, |log| log.len().checked_sub(counted + 100));
        let numbers = counted_by(&dae, name);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{name}: {numbers:?}");
        let gaps = numbers.windows(2).filter(|it| it[1] != it[0] + 1).count();
        println!("{name}: {} lines, {gaps} gaps", numbers.len());
        assert!(gaps <= KILLS, "{name}: {numbers:?}");
    }
    // Neither zombies nor descriptors are left of so many keepers.
    let manager = dae.pid();
    let parent = manager.to_string();
    let own = processes().into_iter().filter(|it| status(*it, "PPid").as_ref() == Some(&parent));
    assert_eq!(own.count(), 1, "the keeper alone");
    let descriptors = fs::read_dir(of(manager, "fd")).unwrap();
    let links = descriptors.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
    let pipes = links.filter(|it| it.to_string_lossy().starts_with("pipe:")).count();
    // Its own standard streams may be pipes, too.
    assert!(pipes <= 2 * names.len() + 4, "{pipes} pipes");
}

#[test]
fn who_is_being_stopped_when_the_keeper_dies_is_asked_again() {
    const ASKED_TWICE: &str = r#"
        n=0
        trap 'n=$((n + 1)); echo "asked $n"; [ $n = 1 ] || exit 0' TERM
        while :; do sleep 1000 & wait; kill $!; done
    "#;
    let dae = Dae::start();
    dae.install("Stubborn", &shell(ASKED_TWICE, &json!({ "grace": "1h" })));
    eventually("the shell waits", || (living(dae.home(), "Stubborn").len() > 1).then_some(()));
    std::thread::scope(|scope| {
        scope.spawn(|| dae.ask("stop", &json!(["Stubborn"])).unwrap());
        until_logged(&dae, "Stubborn", |log| log.contains("asked 1").then_some(()));
        kill_keeper(&dae);
    });
    assert_eq!(dae.listed("Stubborn").unwrap()["state"], "down");
    assert_eq!(living(dae.home(), "Stubborn"), BTreeSet::new());
}

#[test]
fn who_is_started_when_the_keeper_does_not_answer_is_started_by_the_next() {
    let dae = Dae::start();
    let first = keeper(&dae).unwrap();
    tell(first, Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let installed =
            scope.spawn(|| dae.install("Sample", &json!({ "program": binary("sample") })));
        dae.eventually("Sample", |it| it["state"] == "starting");
        kill(first);
        assert_eq!(installed.join().unwrap()["state"], "up");
    });
    assert_eq!(living(dae.home(), "Sample").len(), 1);
}

/// The keeper listens to who came last; the manager has to come again.
#[test]
fn a_broken_link_restarts_nothing() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    dae.install("Counter", &shell(COUNTER, &json!({ "restart": "never" })));
    let before = ["Sample", "Counter"].map(|name| dae.listed(name).unwrap());
    let first = keeper(&dae).unwrap();

    for _ in 0..5 {
        let mut other = UnixStream::connect(dae.home().join("run/.keeper.sock")).unwrap();
        other.write_all(b"{\"list\":{}}\n").unwrap();
        // It is hung up on as soon as the manager is back.
        other.read_to_end(&mut vec![]).unwrap();
        eventually("the link is back", || keeper(&dae));
    }

    assert_eq!(keeper(&dae), Some(first));
    for before in before {
        let after = dae.listed(before["name"].as_str().unwrap()).unwrap();
        for key in ["state", "pid", "since", "restarts"] {
            assert_eq!(before[key], after[key], "{after}");
        }
    }
    tell(pid(&dae.listed("Counter").unwrap()), Signal::SIGUSR2);
    dae.eventually("Counter", |it| it["note"] == "exit 37");
    assert_counted(&dae, "Counter");
}

#[test]
fn children_outlive_manager_and_keeper_at_once() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    dae.install("Counter", &shell(COUNTER, &json!({ "restart": "never" })));
    dae.install("Family", &shell(FAMILY, &json!({ "grace": "100ms" })));
    let names = ["Sample", "Counter", "Family"];
    let before = names.map(|name| pid(&dae.listed(name).unwrap()));
    let written = until_logged(&dae, "Counter", |log| log.contains("line 10").then_some(log.len()));

    kill_both(&dae);
    dae.succeed(["up"]);

    let after = names.map(|name| pid(&dae.eventually(name, |it| it["state"] == "up")));
    assert_eq!(after, before);
    until_logged(&dae, "Counter", |log| log.len().checked_sub(written + 100));
    tell(after[1], Signal::SIGUSR2);
    let told = dae.eventually("Counter", |it| it["state"] == "failed");
    assert_eq!(told["note"], "exit 37");
    let gaps = counted_by(&dae, "Counter").windows(2).filter(|it| it[1] != it[0] + 1).count();
    assert!(gaps <= 1, "{}", log(&dae, "Counter"));
    stop(&dae, "Family");
    assert_eq!(living(dae.home(), "Family"), BTreeSet::new());
}

#[test]
fn what_ended_while_nobody_lived_is_cleared_up_and_started_again() {
    let dae = Dae::start();
    let family = shell(FAMILY, &json!({ "grace": "100ms" }));
    let leader = pid(&dae.install("Family", &family));
    let once = shell(IDLE, &json!({ "restart": "never" }));
    let single = pid(&dae.install("Once", &once));
    let before = eventually("the family is complete", || {
        Some(living(dae.home(), "Family")).filter(|it| it.len() >= 3)
    });
    kill_both(&dae);
    for pid in [leader, single] {
        kill(pid);
        eventually("its end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    }

    dae.succeed(["up"]);

    let again = dae.eventually("Family", |it| it["state"] == "up" && it["pid"] != leader);
    eventually("all of it is new", || {
        let now = living(dae.home(), "Family");
        (now.len() == before.len() && now.is_disjoint(&before)).then_some(())
    });
    assert_eq!(again["restarts"], 1);
    let failed = dae.eventually("Once", |it| it["state"] == "failed");
    assert_eq!(failed["note"], "ended unseen");
}

#[test]
fn m_8_6_a_stranger_with_the_same_pid_is_neither_signalled_nor_adopted() {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        unshare
    };
    let can = unshare().args(["sh", "-c", "echo 100 > /proc/sys/kernel/ns_last_pid"]).output();
    if !can.is_ok_and(|it| it.status.success()) {
        println!("M-8.6 skipped: no pid namespace can be made here, or its next pid not chosen");
        return;
    }
    // In a namespace of its own, in which the shell is init.
    const SCRIPT: &str = r#"
        field() { sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }
        "$0" up >/dev/null
        "$0" install Idle /bin/sleep --ready none -- 1000 >/dev/null
        child=$("$0" list --own --json | tr -d ' \n' | field pid)
        manager=$("$0" status --json | tr -d ' \n' | sed 's/.*"manager":{//' | field pid)
        for pid in $(ls /proc | grep -x '[0-9]*'); do
            [ $pid = 1 ] || [ $pid = $child ] || kill -KILL $pid 2>/dev/null
        done
        kill -KILL $child
        while [ -e /proc/$child ] || [ -e /proc/$manager ]; do sleep 0.01; done
        stranger=0
        while [ $stranger != $child ]; do
            echo $((child - 1)) > /proc/sys/kernel/ns_last_pid
            sleep 999 &
            stranger=$!
        done
        "$0" up >/dev/null
        "$0" wait Idle >/dev/null
        "$0" list --own --json | tr -d ' \n' | sed "s/.*\"pid\":\([0-9]*\).*/now \1/"
        echo
        echo "was $child"
        tr '\0' ' ' < /proc/$stranger/cmdline
        grep State /proc/$stranger/status
        "$0" stop Idle >/dev/null
        grep State /proc/$stranger/status
        "$0" down >/dev/null
    "#;
    let dae = Dae::at_rest();
    let mut command = unshare();
    command.args(["sh", "-c", SCRIPT]).arg(binary("dae")).env("DAE_HOME", dae.home());
    let output = finish(command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{errors}");
    let number = |word: &str| -> u32 {
        let line = said.lines().find_map(|line| line.strip_prefix(word));
        line.and_then(|it| it.trim().parse().ok()).unwrap_or_else(|| panic!("{said}{errors}"))
    };
    assert_ne!(number("now "), number("was "), "{said}");
    assert!(said.contains("sleep 999 "), "the pid was not forced: {said}");
    assert_eq!(said.matches("S (sleeping)").count(), 2, "{said}{errors}");
}

#[test]
fn a_copy_of_a_home_leaves_the_processes_of_the_original_alone() {
    let dae = Dae::start();
    let before = pid(&dae.install("Idle", &shell(IDLE, &json!({}))));
    let once = pid(&dae.install("Once", &shell(IDLE, &json!({ "enabled": false }))));
    let copy = Dae::at_rest();
    let all = dae.home().join(".");
    assert!(Command::new("cp").arg("-a").arg(all).arg(copy.home()).status().unwrap().success());

    copy.succeed(["up"]);

    let after = copy.eventually("Idle", |it| it["state"] == "up");
    assert_ne!(pid(&after), before);
    assert_eq!(copy.listed("Once").unwrap()["state"], "down");
    copy.succeed(["down"]);
    for (name, pid) in [("Idle", before), ("Once", once)] {
        assert!(is_running(pid));
        assert_eq!(dae.listed(name).unwrap()["pid"], pid);
    }
    // The original knows them still.
    kill_both(&dae);
    dae.succeed(["up"]);
    assert_eq!(pid(&dae.eventually("Idle", |it| it["state"] == "up")), before);
}

#[test]
fn m_8_7_after_another_boot_nothing_is_adopted_and_nobody_signalled() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    dae.install("Once", &shell(IDLE, &json!({ "enabled": false })));
    let before = ["Idle", "Once"].map(|name| pid(&dae.listed(name).unwrap()));
    kill_both(&dae);
    let running = dae.home().join("run/running");
    for name in ["Idle", "Once"] {
        let path = running.join(format!("{name}.json"));
        let mut identity: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        identity["boot_id"] = "00000000-0000-4000-8000-000000000000".into();
        fs::write(&path, identity.to_string()).unwrap();
    }

    dae.succeed(["up"]);

    let again = dae.eventually("Idle", |it| it["state"] == "up");
    assert_ne!(pid(&again), before[0]);
    assert_eq!(dae.listed("Once").unwrap()["state"], "down");
    assert!(fs::read(running.join("Once.json")).unwrap().starts_with(b"\n"), "it tells of nobody");
    assert!(before.iter().all(|pid| is_running(*pid)));
    // In another boot they would not be there.
    before.into_iter().for_each(kill);
}

#[test]
fn what_tells_of_a_child_stays_for_the_next_one_and_goes_with_the_daemon() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    let file = dae.home().join("run/running/Idle.json");
    let is_told_of = || fs::read(&file).is_ok_and(|it| it.starts_with(b"{"));
    assert!(is_told_of());

    dae.succeed(["stop", "Idle"]);
    eventually("it tells of nobody", || (file.exists() && !is_told_of()).then_some(()));
    dae.succeed(["start", "Idle"]);
    assert!(is_told_of());

    dae.succeed(["uninstall", "Idle"]);
    eventually("it is gone", || (!file.exists()).then_some(()));
}

/// Kills manager and keeper, neither of which can start the other again.
fn kill_both(dae: &Dae) {
    let (manager, keeper) = (dae.pid(), keeper(dae).unwrap());
    tell(manager, Signal::SIGSTOP);
    for pid in [keeper, manager] {
        kill(pid);
        eventually("both are dead", || (!is_running(pid)).then_some(()));
    }
}

/// Whether the kernel remembers how somebody else's child has ended (Linux 6.15).
fn remembers() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(|it| it.parse::<u32>());
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
    (next(), next()) >= (6, 15)
}

/// Stops a daemon. On a machine with so much to do that it seems to be unkillable, that takes
/// longer.
fn stop(dae: &Dae, name: &str) {
    drop(dae.ask("stop", &json!([name])));
    dae.eventually(name, |it| it["state"] == "down");
}

/// Kills the keeper and waits for the one that comes after it.
fn kill_keeper(dae: &Dae) -> u32 {
    let before = eventually("a keeper", || keeper(dae));
    kill(before);
    eventually("another keeper", || keeper(dae).filter(|pid| *pid != before))
}

fn keeper(dae: &Dae) -> Option<u32> {
    let status = dae.ask("status", &json!([])).unwrap();
    let keeper = &status["manager"]["keeper"];
    keeper["trouble"].is_null().then(|| keeper["pid"].as_u64()?.try_into().ok())?
}

fn log_path(dae: &Dae, name: &str) -> PathBuf {
    dae.home().join("state/logs").join(name).join("current")
}

fn log(dae: &Dae, name: &str) -> String {
    fs::read_to_string(log_path(dae, name)).unwrap_or_default()
}

fn until_logged<T>(dae: &Dae, name: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
    eventually(&format!("the log of {name} is as wanted"), || wanted(&log(dae, name)))
}

/// Asserts that what a counter has printed is in its log, once each and in order.
fn assert_counted(dae: &Dae, name: &str) {
    let numbers = counted_by(dae, name);
    let all: Vec<u32> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, all);
}

fn counted_by(dae: &Dae, name: &str) -> Vec<u32> {
    let log = log(dae, name);
    log.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}
