//! What a kill and a signal reach, and what they do not.

use std::{fs, process::Command};

use manager::identity::Identity;
use manager::keeper::protocol::{Adopt, Refusal, Request, Scope, Status, Step};

use crate::harness::{Keeper, descendants, eventually, is_running, keeper_command, numbers};

/// The tree is found again by a secret that nobody shows while it is within `exec`.
#[test]
fn an_escape_is_seen_however_early_the_leader_ends() {
    for mut keeper in Keeper::start_both() {
        for _ in 0..50 {
            keeper.spawn("Sample", "(setsid env sleep 1000 >/dev/null 2>&1 &)");
            assert_eq!(keeper.exit("Sample"), Status::Code(0));
            keeper.kill("Sample");
            keeper.empty("Sample");
            assert_eq!(descendants(keeper.process.id()).len(), 0);
        }
    }
}

#[test]
fn a_group_is_signalled_when_its_leader_is_dead() {
    let mut keeper = Keeper::start();
    keeper.spawn("Sample", "sleep 1000 & echo $!");
    assert_eq!(keeper.exit("Sample"), Status::Code(0));
    let member = eventually(|| numbers(&keeper.log("Sample")).first().copied());
    let busy = keeper.order("Sample", "");
    assert_eq!(keeper.failure(busy), (Step::Name, libc::EBUSY));
    keeper.signal("Sample", libc::SIGTERM, Scope::Leader);
    assert_eq!(keeper.refusal(), Refusal::Gone);
    assert!(is_running(member));
    keeper.signal("Sample", libc::SIGTERM, Scope::Group);
    keeper.empty("Sample");
    assert!(!is_running(member));
}

/// Leaves its session, ignores SIGTERM, has no stream of ours and is nobody's child.
const ESCAPE: &str = "(setsid sh -c 'trap \"\" TERM; echo $$ >&3; exec 3>&-; while :; do sleep 9; done' \
    3>&1 >/dev/null 2>&1 &)";

#[test]
fn a_kill_ends_who_escaped() {
    let ends = ["", "; echo ready; sleep 1000"];
    let all = ends.into_iter().flat_map(|end| Keeper::start_both().map(|keeper| (keeper, end)));
    for (mut keeper, end) in all {
        keeper.spawn("Sample", &format!("{ESCAPE}{end}"));
        let escaped =
            eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
        if end.is_empty() {
            assert_eq!(keeper.exit("Sample"), Status::Code(0));
        }
        keeper.signal("Sample", libc::SIGTERM, Scope::Group);
        assert!(!keeper.list()[0].empty && is_running(escaped));
        keeper.kill("Sample");
        keeper.empty("Sample");
        assert!(!is_running(escaped));
        assert!(descendants(keeper.process.id()).is_empty());
    }
}

#[test]
fn a_kill_ends_nobody_else() {
    for mut keeper in Keeper::start_both() {
        for name in ["One", "Other"] {
            keeper.spawn(name, ESCAPE);
            keeper.exit(name);
        }
        let other = eventually(|| numbers(&keeper.log("Other")).first().copied());
        keeper.kill("One");
        keeper.empty("One");
        assert!(is_running(other));
        assert!(keeper.list().iter().all(|it| it.empty == (it.name == "One")));
    }
}

#[test]
fn many_are_killed_at_once() {
    for mut keeper in Keeper::start_both() {
        let names: Vec<_> = (0..50).map(|number| format!("Sample{number}")).collect();
        for name in &names {
            keeper.spawn(name, ESCAPE);
        }
        for name in &names {
            keeper.kill(name);
        }
        for name in &names {
            keeper.empty(name);
        }
        assert!(descendants(keeper.process.id()).is_empty());
    }
}

/// Shows nothing of its daemon: no secret, no session, no stream, no parent.
const ANONYMOUS: &str = "(setsid env -i sh -c 'trap \"\" TERM; echo $$ >&3; exec 3>&-; \
    while :; do sleep 9; done' 3>&1 >/dev/null 2>&1 &)";

#[test]
fn a_cgroup_holds_who_shows_nothing_of_its_daemon() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", &format!("{ANONYMOUS}; echo ready; sleep 1000"));
    let Some(cgroup) = identity.cgroup else { return skip("cgroups cannot be used here") };
    let escaped = eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
    keeper.kill("Sample");
    keeper.empty("Sample");
    assert!(!is_running(escaped));
    assert!(!cgroup.path().exists());
}

/// As after a crash of the keeper, when nobody is left who is its parent.
#[test]
fn what_a_killed_keeper_left_is_ended_by_its_cgroup_and_leaves_no_directory() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", &format!("{ANONYMOUS}; echo ready; sleep 1000"));
    let Some(cgroup) = identity.cgroup.clone() else {
        return skip("cgroups cannot be used here");
    };
    let escaped = eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    let stored = Identity::load(&Identity::path(&keeper.runtime(), "Sample")).unwrap();
    assert_eq!(stored, identity);

    keeper.process = keeper_command(keeper.home.path()).spawn().unwrap();
    keeper.connect();
    keeper.send(&Request::Adopt(Adopt { identity: stored, let_go: false, carried: None }));
    keeper.kill("Sample");
    keeper.empty("Sample");

    // Whoever inherited it has still to reap it.
    eventually(|| (!is_running(escaped)).then_some(()));
    assert!(!cgroup.path().exists());
    keeper.send(&Request::End {});
    assert!(keeper.ended().success());
    assert!(!cgroup.path().parent().unwrap().exists());
}

#[test]
fn a_cgroup_that_cannot_be_watched_is_looked_at_all_the_same() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", &format!("{ANONYMOUS}; echo ready; exec sleep 1000"));
    if identity.cgroup.is_none() {
        return skip("cgroups cannot be used here");
    }
    let escaped: u32 =
        eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    // In a namespace of its own, where nothing can be watched.
    let plain = keeper_command(keeper.home.path());
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user"]);
    if !unshare.args(["true"]).status().is_ok_and(|it| it.success()) {
        return skip("no namespace of users can be made here");
    }
    keeper.process = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c"])
        .args(["echo 0 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args())
        .spawn()
        .unwrap();
    keeper.connect();
    keeper.send(&Request::Adopt(Adopt { identity, let_go: false, carried: None }));
    keeper.signal("Sample", 9, Scope::Leader);
    keeper.exit("Sample");
    assert!(is_running(escaped));
    let escaped = manager::proc::raw(escaped).unwrap();
    rustix::process::kill_process(escaped, rustix::process::Signal::KILL).unwrap();
    keeper.empty("Sample");
}

#[test]
fn a_spawn_that_failed_leaves_no_cgroup_behind() {
    let mut keeper = Keeper::start();
    let Some(cgroup) = keeper.spawn("Sample", "sleep 1000").cgroup else {
        return skip("cgroups cannot be used here");
    };
    // Its identity cannot be stored, when there is a process already.
    fs::create_dir(keeper.runtime().join("running/Failing.json")).unwrap();
    let order = keeper.order("Failing", "true");
    assert_eq!(keeper.failure(order), (Step::Identity, libc::EISDIR));
    let is_left = || {
        let all = fs::read_dir(cgroup.path().parent().unwrap()).unwrap().flatten();
        all.filter(|it| it.file_name().to_string_lossy().starts_with("Failing")).count() > 0
    };
    eventually(|| (!is_left()).then_some(()));
    assert!(cgroup.path().exists());
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

#[test]
fn a_tree_that_grows_while_it_is_killed_is_killed() {
    let script = "breed() { trap breed TERM; sleep 1000 & sleep 1000 & wait; breed; }
        i=0; while [ $i -lt 30 ]; do breed & i=$((i+1)); done; echo ready; wait; wait";
    for mut keeper in Keeper::start_both() {
        keeper.spawn("Sample", script);
        keeper.until_logged("Sample", "ready");
        keeper.signal("Sample", libc::SIGTERM, Scope::Group);
        keeper.kill("Sample");
        keeper.empty("Sample");
        assert!(descendants(keeper.process.id()).is_empty());
    }
}

#[test]
fn short_lived_grandchildren_leave_no_zombies() {
    let mut keeper = Keeper::start();
    let script = "i=0; while [ $i -lt 200 ]; do (sleep 0.01 &); i=$((i+1)); done; echo ready
        sleep 1000";
    keeper.spawn("Sample", script);
    keeper.until_logged("Sample", "ready");
    // The shell and its last `sleep`.
    eventually(|| (descendants(keeper.process.id()).len() == 2).then_some(()));
}
