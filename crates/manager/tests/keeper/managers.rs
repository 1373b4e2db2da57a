//! Keepers and their managers, one after the other.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use manager::keeper::protocol::{Refusal, Request, State, Status, Step};
use rustix::process::Signal;

use crate::harness::{Keeper, eventually, is_running, keeper_command};

#[test]
fn an_end_without_a_manager_is_told_to_the_next() {
    let mut keeper = Keeper::start();
    let go = keeper.fifo("go");
    let identity = keeper.spawn("Sample", &format!("read x < {}; echo end; exit 37", go.display()));
    keeper.disconnect();
    fs::write(go, "\n").unwrap();
    eventually(|| (!is_running(identity.pid)).then_some(()));
    keeper.connect();
    let listed = eventually(|| keeper.list().into_iter().find(|it| it.empty));
    assert_eq!(listed.identity, identity);
    assert!(matches!(listed.state, State::Exited { status: Status::Code(37), .. }));
    assert_eq!(keeper.log("Sample"), "end\n");
}

#[test]
fn a_failed_start_without_a_manager_is_told_to_the_next() {
    let mut keeper = Keeper::start();
    let mut order = keeper.order("Sample", "");
    order.program = "/no/such/program".into();
    keeper.send(&Request::Spawn(order));
    assert_eq!(keeper.list().len(), 1);
    keeper.disconnect();
    keeper.connect();
    let listed = eventually(|| keeper.list().into_iter().find(|it| it.empty));
    assert_eq!(listed.state, State::Failed { step: Step::Exec, errno: libc::ENOENT });
}

#[test]
fn the_newest_manager_replaces_an_older_one() {
    let mut keeper = Keeper::start();
    let mut old = keeper.link.take().unwrap();
    keeper.connect();
    assert_eq!(keeper.list(), []);
    assert_eq!(old.read_line(&mut String::new()).unwrap(), 0);
}

#[test]
fn who_only_knocks_or_talks_nonsense_replaces_nobody() {
    let mut keeper = Keeper::start();
    assert_eq!(keeper.list(), []);
    let mut manager = keeper.link.take().unwrap();
    keeper.connect();
    let silent = keeper.link.take();
    keeper.connect();
    keeper.link.as_mut().unwrap().get_mut().write_all(b"hello\n").unwrap();
    let said = keeper.link.as_mut().unwrap().read_line(&mut String::new());
    assert_eq!(said.unwrap(), 0, "it is sent away");
    drop(silent);

    std::mem::swap(&mut manager, keeper.link.as_mut().unwrap());
    assert_eq!(keeper.list(), [], "the manager is still heard");
}

#[test]
fn a_line_that_is_no_request_costs_one_answer() {
    let mut keeper = Keeper::start();
    assert_eq!(keeper.list(), []);
    keeper.link.as_mut().unwrap().get_mut().write_all(b"{\"dance\":{}}\n").unwrap();
    assert_eq!(keeper.refusal(), Refusal::Unreadable);
    keeper.kill("Nobody");
    assert_eq!(keeper.refusal(), Refusal::Unknown);
}

#[test]
fn a_directory_has_one_keeper_and_a_dead_one_is_replaced() {
    let mut keeper = Keeper::start();
    let second = keeper_command(keeper.home.path()).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(second.stderr).unwrap();
    assert_eq!(told, format!("dae: a keeper already runs in `{}`\n", keeper.runtime().display()));
    assert_eq!(second.status.code(), Some(1));

    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    keeper.process = keeper_command(keeper.home.path()).spawn().unwrap();
    keeper.connect();
    assert_eq!(keeper.list(), []);
    let mode = fs::metadata(keeper.runtime().join(".keeper.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_keeper_ends_only_when_nobody_is_left() {
    let mut keeper = Keeper::start();
    keeper.spawn("Sample", "sleep 1000");
    let pid = rustix::process::Pid::from_child(&keeper.process);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    keeper.send(&Request::End {});
    assert_eq!(keeper.refusal(), Refusal::Alive);
    keeper.kill("Sample");
    assert_eq!(keeper.exit("Sample"), Status::Signal(libc::SIGKILL));
    keeper.empty("Sample");
    keeper.send(&Request::End {});
    assert!(keeper.ended().success());
    assert!(!keeper.runtime().join(".keeper.sock").exists());
}
