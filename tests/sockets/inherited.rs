//! What a daemon takes of what it was handed, as sd_listen_fds(3) has it; without a manager.

use std::{
    io::Read,
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::free_port;
use crate::harness::{Dae, Netcat, PATIENCE, binary, children, eventually, listening_ports, of};

/// A shell that becomes `doors` with its standard input as descriptor 3 and its output as 4.
const HAND_OVER: &str = r#"
    exec 3<&0 4<&1 </dev/null >/dev/null
    : "${LISTEN_PID:=$$}"
    export LISTEN_PID
    exec "$0"
"#;

/// A running `doors`; ends with its owner.
struct Doors(Child);

impl Doors {
    fn start(three: impl Into<OwnedFd>, four: impl Into<OwnedFd>, more: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", HAND_OVER]).arg(binary("examples/doors"));
        shell.env_remove("LISTEN_PID").env("LISTEN_FDS", "2").env("DOORS", "ws");
        shell.envs(more.iter().copied());
        shell.stdin(Stdio::from(three.into())).stdout(Stdio::from(four.into()));
        Self(shell.stderr(Stdio::null()).spawn().unwrap())
    }

    fn listens_on(&self, count: usize) {
        eventually("it listens", || (listening_ports(self.0.id()).len() == count).then_some(()));
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A socket that listens, and on which port.
fn bound() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Who answers at a door.
fn told(port: u16) -> String {
    let mut door = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    door.set_read_timeout(Some(PATIENCE)).unwrap();
    door.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    door.read_to_string(&mut text).unwrap();
    text
}

fn is_common_tcp(port: u16) -> bool {
    Netcat::tcp(port).call("ping", &serde_json::json!([])).0 == "ping"
}

#[test]
fn a_daemon_takes_a_socket_by_its_label_and_the_other_one_is_its_port() {
    for names in ["ws", "ws:", "ws:unknown"] {
        let ((door, door_port), (plain, port)) = (bound(), bound());
        let doors = Doors::start(door, plain, &[("LISTEN_FDNAMES", names)]);

        assert_eq!(told(door_port), format!("ws {}\n", doors.0.id()));
        assert!(is_common_tcp(port));
        doors.listens_on(2);
    }
}

#[test]
fn both_sockets_of_one_label_are_taken() {
    let ((one, first), (two, second)) = (bound(), bound());
    let doors = Doors::start(one, two, &[("LISTEN_FDNAMES", "ws:ws")]);
    for port in [first, second] {
        assert_eq!(told(port), format!("ws {}\n", doors.0.id()));
    }
    doors.listens_on(3);
}

#[test]
fn what_was_handed_to_another_process_is_not_taken() {
    let ((door, _), (plain, port)) = (bound(), bound());
    let variables = [("LISTEN_FDNAMES", "ws:"), ("LISTEN_PID", "1")];
    let doors = Doors::start(door, plain, &variables);
    doors.listens_on(3);
    let own = listening_ports(doors.0.id());
    assert!(own.contains(&port), "left open, and not listened to");
}

#[test]
fn what_does_not_listen_on_tcp_is_left_as_it_is() {
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (listener, port) = bound();
    let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let doors = Doors::start(datagrams, silent, &[("LISTEN_FDNAMES", "ws:")]);

    doors.listens_on(1);

    let own = *listening_ports(doors.0.id()).first().unwrap();
    assert!(is_common_tcp(own));
    for fd in ["fd/3", "fd/4"] {
        let link = std::fs::read_link(of(doors.0.id(), fd)).unwrap();
        assert!(link.to_str().unwrap().starts_with("socket:"), "{link:?}");
    }
    assert!(children(doors.0.id()).is_empty());
    drop(listener);
}

#[test]
fn a_socket_that_nobody_takes_is_warned_of() {
    let dae = Dae::start();
    let (wrong, plain) = (free_port(), free_port());
    dae.install(
        "Doors",
        &json!({
            "program": binary("examples/doors"), "env": { "DOORS": "ws" },
            "sockets": [format!("wss={wrong}"), plain.to_string()],
        }),
    );
    let log = eventually("it is warned of", || {
        let log = dae.succeed(["logs", "Doors"]);
        log.contains(" WARN ").then_some(log)
    });
    let warned: Vec<&str> = log.lines().filter(|it| it.contains(" WARN ")).collect();
    assert_eq!(warned.len(), 1, "{log}");
    for part in
        ["nobody takes", "label=\"wss\"", &format!("port={wrong}"), "known=\"ws, Common TCP\""]
    {
        assert!(warned[0].contains(part), "{part}: {log}");
    }
}

#[test]
fn what_was_taken_is_closed_on_exec() {
    const CLOSED_ON_EXEC: u32 = 0o2_000_000;
    let ((door, door_port), (plain, port)) = (bound(), bound());
    let doors = Doors::start(door, plain, &[("LISTEN_FDNAMES", "ws:")]);
    assert!(told(door_port).starts_with("ws ") && is_common_tcp(port));
    for fd in ["fdinfo/3", "fdinfo/4"] {
        let text = std::fs::read_to_string(of(doors.0.id(), fd)).unwrap();
        let flags = text.lines().find_map(|it| it.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & CLOSED_ON_EXEC, 0, "{text}");
    }
}
