//! Listening sockets that dae holds for a daemon: whoever connects waits, and is not refused.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::free_port;
use crate::harness::{
    Dae, PATIENCE, binary, environment, eventually, is_running, kill, of, pid, shell, tell,
};

/// The daemon `Doors` with these sockets held, of which it serves the labels `doors`.
fn doors(sockets: &[String], doors: &str, backoff: &str) -> Value {
    json!({
        "program": binary("examples/doors"), "sockets": sockets, "env": { "DOORS": doors },
        "backoff": format!("{backoff}..{backoff}"), "stable": "1h",
    })
}

/// `Doors` with the one door `ws`, on a port of its own, and its process.
fn one_door(dae: &Dae, backoff: &str) -> (u16, u32) {
    let port = free_port();
    let doors = doors(&[format!("ws={port}")], "ws", backoff);
    (port, pid(&dae.install("Doors", &doors)))
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn connect(address: SocketAddr) -> TcpStream {
    let door = TcpStream::connect(address).unwrap_or_else(|it| panic!("{address}: {it}"));
    door.set_read_timeout(Some(PATIENCE)).unwrap();
    door
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect(local(port)).is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused)
}

/// Who answers at a door: its label and its process. Nobody if they died with us already let in.
fn told(door: TcpStream) -> Option<(String, u32)> {
    let mut line = String::new();
    BufReader::new(door).read_line(&mut line).ok()?;
    let (label, pid) = line.trim_end().split_once(' ')?;
    Some((label.to_owned(), pid.parse().unwrap()))
}

/// A guest that connects again and again, until it is told to end, or refused.
struct Guest {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Guest {
    fn at(port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let visit = move || {
            while !ends.load(SeqCst) {
                // Whom it meets is not its business.
                drop(told(connect(local(port))));
            }
        };
        Self { is_over, thread: thread::spawn(visit) }
    }

    /// Ends it; panics if it was ever refused.
    fn join(self) {
        self.is_over.store(true, SeqCst);
        self.thread.join().expect("it was refused");
    }
}

/// How many have connected to a port and are not let in yet, as the kernel counts them.
fn waiting_at(port: u16) -> u32 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let place = format!(":{port:04X} 00000000:0000 0A ");
    let line = table.lines().find(|line| line.contains(&place)).unwrap();
    let queues = line.split_whitespace().nth(4).unwrap();
    u32::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

fn up_again(dae: &Dae, before: u32) -> u32 {
    pid(&dae.eventually("Doors", |it| it["state"] == "up" && it["pid"] != before))
}

fn held(dae: &Dae, name: &str) -> Value {
    let listed = dae.listed(name).unwrap()["sockets"].clone();
    listed.as_array().unwrap().iter().map(|it| it["held"].clone()).collect()
}

fn kill_keeper(dae: &Dae) {
    let keeper = dae.keeper();
    kill(keeper);
    eventually("the keeper is dead", || (!is_running(keeper)).then_some(()));
    eventually("another keeper", || {
        let status = dae.ask("status", &json!([])).unwrap();
        let pid = status["manager"]["keeper"]["pid"].as_u64()?;
        (pid != u64::from(keeper)).then_some(())
    });
}

#[test]
fn who_connects_while_it_is_down_is_served_by_the_next_one() {
    let dae = Dae::start();
    let (port, first) = one_door(&dae, "2s");
    assert_eq!(told(connect(local(port))), Some(("ws".into(), first)));

    kill(first);
    dae.eventually("Doors", |it| it["state"] == "waiting");
    let waiting: Vec<TcpStream> = (0..100).map(|_| connect(local(port))).collect();
    assert_eq!(dae.listed("Doors").unwrap()["state"], "waiting", "nobody was there yet");

    let second = up_again(&dae, first);
    for door in waiting {
        assert_eq!(told(door), Some(("ws".into(), second)));
    }
}

#[test]
fn who_reads_the_log_is_told_that_a_port_is_somebody_else_s() {
    let (dae, port) = (Dae::start(), free_port());
    let other = TcpListener::bind(local(port)).unwrap();
    let refused = dae.ask("install", &json!(["Doors", doors(&[format!("ws={port}")], "ws", "1h")]));
    assert_eq!(refused.unwrap_err()["state"], "waiting");
    let own = std::process::id();
    let why = format!("cannot listen on 127.0.0.1:{port} for `ws`, which pid {own} has: ");
    let logs = dae.run(["logs", "Doors"]);
    let said = String::from_utf8(logs.stderr).unwrap();
    assert!(said.starts_with(&format!("dae: `Doors` is waiting: {why}")), "{said}");
    assert!(logs.status.success() && logs.stdout.is_empty(), "{said}");
    assert!(String::from_utf8(dae.run(["status", "Doors"]).stdout).unwrap().contains(&why));

    drop(other);
    dae.succeed(["restart", "Doors"]);
    let logs = dae.run(["logs", "Doors"]);
    assert!(logs.stderr.is_empty(), "{logs:?}");
}

#[test]
fn nobody_is_refused_over_twenty_kills() {
    let dae = Dae::start();
    let (port, mut now) = one_door(&dae, "1ms");
    let guest = Guest::at(port);
    for _ in 0..20 {
        let before = now;
        kill(before);
        now = up_again(&dae, before);
        assert_eq!(told(connect(local(port))), Some(("ws".into(), now)));
    }
    guest.join();
}

#[test]
fn nobody_is_refused_while_it_is_restarted_or_replaced() {
    let dae = Dae::start();
    let (port, first) = one_door(&dae, "1ms");
    let guest = Guest::at(port);
    dae.succeed(["restart", "Doors"]);
    let second = up_again(&dae, first);
    let again = doors(&[format!("ws={port}")], "ws", "2ms");
    let mut replaced = again.clone();
    replaced["replace"] = true.into();
    let third = pid(&dae.install("Doors", &replaced));
    assert_eq!(told(connect(local(port))), Some(("ws".into(), third)));
    assert_ne!(second, third);
    guest.join();
}

#[test]
fn nobody_is_refused_while_the_manager_is_dead_and_its_daemon_with_it() {
    let dae = Dae::start();
    let (port, first) = one_door(&dae, "1ms");
    let guest = Guest::at(port);

    dae.kill_manager();
    assert_eq!(told(connect(local(port))), Some(("ws".into(), first)));
    kill(first);
    eventually("it is dead", || (!is_running(first)).then_some(()));
    let waiting = connect(local(port));
    dae.succeed(["up"]);

    let second = up_again(&dae, first);
    assert_eq!(told(waiting), Some(("ws".into(), second)));
    assert_eq!(held(&dae, "Doors"), json!([true]));
    // The manager of now has what the one before held, and can hand it on.
    kill_keeper(&dae);
    kill(second);
    let third = up_again(&dae, second);
    assert_eq!(told(connect(local(port))), Some(("ws".into(), third)));
    guest.join();
}

#[test]
fn nobody_is_refused_while_the_keeper_is_dead_and_its_daemon_with_it() {
    let dae = Dae::start();
    let (port, first) = one_door(&dae, "1s");
    let guest = Guest::at(port);
    kill(first);
    dae.eventually("Doors", |it| it["state"] == "waiting");
    let waiting = connect(local(port));

    kill_keeper(&dae);

    let second = up_again(&dae, first);
    assert_eq!(told(waiting), Some(("ws".into(), second)));
    assert_eq!(held(&dae, "Doors"), json!([true]));
    // The keeper of now has what the one before held, though it has spawned nobody.
    kill_keeper(&dae);
    dae.kill_manager();
    kill(second);
    eventually("it is dead", || (!is_running(second)).then_some(()));
    let waiting = connect(local(port));
    dae.succeed(["up"]);
    let third = up_again(&dae, second);
    assert_eq!(told(waiting), Some(("ws".into(), third)));
    guest.join();
}

#[test]
fn when_manager_and_keeper_die_together_the_next_start_binds_anew() {
    let dae = Dae::start();
    let (port, first) = one_door(&dae, "1ms");
    let (manager, keeper) = (dae.pid(), dae.keeper());
    tell(manager, Signal::SIGSTOP);
    kill(keeper);
    kill(manager);
    eventually("both are dead", || (!is_running(keeper) && !is_running(manager)).then_some(()));
    dae.succeed(["up"]);
    dae.eventually("Doors", |it| it["state"] == "up");
    assert_eq!(told(connect(local(port))), Some(("ws".into(), first)), "its own is still open");
    assert_eq!(held(&dae, "Doors"), json!([false]));

    kill(first);

    let second = up_again(&dae, first);
    assert_eq!(told(connect(local(port))), Some(("ws".into(), second)));
    assert_eq!(held(&dae, "Doors"), json!([true]));
}

#[test]
fn several_labels_and_the_common_tcp_port_are_told_from_each_other() {
    let dae = Dae::start();
    let [ws, admin, plain] = [free_port(), free_port(), free_port()];
    let sockets = [format!("ws={ws}"), plain.to_string(), format!("admin={admin}")];
    let mut listed = dae.install("Doors", &doors(&sockets, "ws admin", "1ms"));
    for _ in 0..2 {
        let now = pid(&listed);
        assert_eq!(told(connect(local(ws))), Some(("ws".into(), now)));
        assert_eq!(told(connect(local(admin))), Some(("admin".into(), now)));
        assert_eq!(listed["port"], plain);
        assert!(dae.succeed(["call", "Doors", "ping"]).is_empty());
        kill(now);
        listed = dae.eventually("Doors", |it| it["state"] == "up" && it["pid"] != now);
    }
    assert_eq!(
        listed["sockets"],
        json!([
            { "label": "ws", "address": local(ws).to_string(), "held": true },
            { "address": local(plain).to_string(), "held": true },
            { "label": "admin", "address": local(admin).to_string(), "held": true },
        ])
    );
}

#[test]
fn a_child_has_its_sockets_behind_stderr_and_nothing_else() {
    let dae = Dae::start();
    let [one, two] = [free_port(), free_port()];
    let sockets = [format!("b={one}"), format!("a={two}")];
    let more = json!({ "sockets": sockets, "env": { "LISTEN_PID": "1" } });
    let child = pid(&dae.install("Shell", &shell("exec sleep 1000", &more)));
    eventually("it sleeps", || {
        let name = fs::read_to_string(of(child, "comm")).ok()?;
        (name == "sleep\n").then_some(())
    });
    let environment = environment(child);
    assert_eq!(environment["LISTEN_PID"], child.to_string());
    assert_eq!((&*environment["LISTEN_FDS"], &*environment["LISTEN_FDNAMES"]), ("2", "b:a"));
    let wanted: BTreeSet<String> = ["0", "1", "2", "3", "4"].map(Into::into).into();
    // At its start it reads files of its own.
    eventually("nothing else is open", || {
        let open = fs::read_dir(of(child, "fd")).unwrap();
        let open = open.map(|it| it.unwrap().file_name().into_string().unwrap());
        (open.collect::<BTreeSet<_>>() == wanted).then_some(())
    });
}

#[test]
fn a_port_that_is_taken_is_said_and_tried_again() {
    let dae = Dae::start();
    let port = free_port();
    let taken = TcpListener::bind(local(port)).unwrap();
    let definition = doors(&[format!("ws={port}")], "ws", "50ms");

    let failure = dae.ask("install", &json!(["Doors", definition])).unwrap_err();

    let own = std::process::id();
    let wanted =
        format!("cannot listen on 127.0.0.1:{port} for `ws`, which pid {own} has: Address");
    let message = failure["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("`Doors` is waiting: {wanted}")), "{failure}");
    assert_eq!((&failure["code"], &failure["errno"]), (&json!("spawn-failed"), &json!(98)));
    assert_eq!(held(&dae, "Doors"), json!([false]));
    drop(taken);
    dae.eventually("Doors", |it| it["state"] == "up");
    assert_eq!(told(connect(local(port))).unwrap().0, "ws");

    let second = dae.ask("install", &json!(["Other", definition])).unwrap_err();
    let message = second["message"].as_str().unwrap();
    assert!(message.contains("which is held for `Doors`: Address"), "{second}");
}

#[test]
fn a_stop_closes_and_a_start_opens_and_uninstall_closes_for_good() {
    let dae = Dae::start();
    let (port, _) = one_door(&dae, "1ms");
    for close in [&["stop", "Doors"][..], &["disable", "Doors", "--now"]] {
        dae.succeed(close);
        eventually("it is closed", || is_refused(port).then_some(()));
        assert_eq!(held(&dae, "Doors"), json!([false]));
        dae.succeed(["start", "Doors"]);
        assert_eq!(told(connect(local(port))).unwrap().0, "ws");
    }
    dae.succeed(["uninstall", "Doors"]);
    eventually("it is closed", || is_refused(port).then_some(()));
    drop(TcpListener::bind(local(port)).expect("nobody has it any more"));
    let (port, _) = one_door(&dae, "1ms");
    dae.succeed(["down"]);
    assert!(is_refused(port));
}

#[test]
fn who_is_given_up_refuses() {
    let dae = Dae::start();
    let port = free_port();
    let more = json!({ "sockets": [format!("ws={port}")], "give_up": "1/1h", "backoff": "1s..1s" });
    let child = pid(&dae.install("Shell", &shell("exec sleep 1000", &more)));
    kill(child);
    dae.eventually("Shell", |it| it["state"] == "waiting");
    drop(connect(local(port)));
    let child = pid(&dae.eventually("Shell", |it| it["state"] == "up"));
    kill(child);
    dae.eventually("Shell", |it| it["state"] == "failed");
    eventually("it is closed", || is_refused(port).then_some(()));
}

#[test]
fn what_is_edited_holds_from_the_next_start_on() {
    let dae = Dae::start();
    let (old, first) = one_door(&dae, "1ms");
    let new = free_port();
    let guest = Guest::at(old);
    // Only the label is another: the socket stays.
    let socket = fs::read_link(of(first, "fd/3")).unwrap();
    dae.succeed(["edit", "Doors", "--socket", &format!("other={old}"), "--env", "DOORS=other ws"]);
    assert_eq!(told(connect(local(old))), Some(("ws".into(), first)));
    dae.succeed(["restart", "Doors"]);
    let (label, second) = told(connect(local(old))).unwrap();
    assert_eq!((&*label, fs::read_link(of(second, "fd/3")).unwrap()), ("other", socket));
    guest.join();

    dae.succeed(["edit", "Doors", "--socket", &format!("ws={new}")]);
    assert!(!is_refused(old) && is_refused(new), "from the next start on");
    dae.succeed(["restart", "Doors"]);
    assert!(is_refused(old));
    assert_eq!(told(connect(local(new))).unwrap().0, "ws");

    // What the old one had does not stand in the way of the new one.
    dae.succeed(["edit", "Doors", "--socket", &format!("ws=0.0.0.0:{new}")]);
    dae.succeed(["restart", "Doors"]);
    assert_eq!(told(connect(local(new))).unwrap().0, "ws");

    dae.succeed(["edit", "Doors", "--unset", "sockets"]);
    dae.succeed(["restart", "Doors"]);
    assert!(is_refused(new) && dae.listed("Doors").unwrap().get("sockets").is_none());
}

#[test]
fn a_held_socket_is_neither_a_foreign_daemon_nor_the_port_of_its_own() {
    let dae = Dae::start();
    // Nobody ever accepts: who asked there would wait, and not be ready.
    let held_port = free_port();
    let sample = json!({ "program": binary("sample"), "sockets": [format!("ws={held_port}")] });
    let listed = dae.install("Sample", &sample);
    assert!(listed["port"].is_u64() && listed["port"] != held_port, "{listed}");
    let other_port = free_port();
    let port = json!({
        "program": binary("sample"), "sockets": [format!("ws={other_port}")], "ready": "port",
    });
    let own = dae.install("Port", &port);
    assert!(own["port"].is_u64() && own["port"] != other_port, "{own}");
    let waiting_port = free_port();
    let waits = json!({ "sockets": [format!("ws={waiting_port}")], "backoff": "1h..1h" });
    kill(pid(&dae.install("Waits", &shell("exec sleep 1000", &waits))));
    dae.eventually("Waits", |it| it["state"] == "waiting");

    let scanned: Value = serde_json::from_str(&dae.succeed(["scan", "--json"])).unwrap();

    let pids: BTreeSet<u64> =
        scanned["foreign"].as_array().unwrap().iter().filter_map(|it| it["pid"].as_u64()).collect();
    assert!(dae.processes().iter().all(|it| !pids.contains(&u64::from(*it))), "{scanned}");
    for port in [held_port, other_port, waiting_port] {
        assert_eq!(waiting_at(port), 0, "somebody has asked at {port}");
    }
}

#[test]
fn the_other_loopback_is_another_socket() {
    let port = free_port();
    let Ok(probe) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) else {
        println!("without IPv6 there is no other loopback");
        return;
    };
    drop(probe);
    let dae = Dae::start();
    let sockets = [format!("ws={port}"), format!("ws=[::1]:{port}")];
    let first = pid(&dae.install("Doors", &doors(&sockets, "ws", "1s")));
    kill(first);
    dae.eventually("Doors", |it| it["state"] == "waiting");
    let both = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    let waiting = both.map(|ip| connect((ip, port).into()));
    let second = up_again(&dae, first);
    for door in waiting {
        assert_eq!(told(door), Some(("ws".into(), second)));
    }
}

#[test]
fn a_socket_is_installed_and_shown_on_the_command_line() {
    let dae = Dae::start();
    let port = free_port();
    let program = binary("examples/doors");
    let flag = format!("ws={port}");
    let installed = dae.run([
        "install".as_ref(),
        "Doors".as_ref(),
        program.as_os_str(),
        "--socket".as_ref(),
        flag.as_ref(),
        "--env".as_ref(),
        "DOORS=ws".as_ref(),
    ]);
    assert!(installed.status.success(), "{installed:?}");
    let status = dae.succeed(["status", "Doors"]);
    assert!(status.contains(&format!("ws    127.0.0.1:{port}  held")), "{status}");
    dae.succeed(["stop", "Doors"]);
    let status = String::from_utf8(dae.run(["status", "Doors"]).stdout).unwrap();
    assert!(status.contains(&format!("ws  127.0.0.1:{port}  closed")), "{status}");
    let wrong = dae.run(["edit", "Doors", "--socket", "ws=0"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("`ws=[::1]:9163`"));
}
