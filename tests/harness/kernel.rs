//! What the kernel says of processes and sockets: the witness that no program can deceive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddrV4,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        signal::{self, Signal},
        socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
    },
    unistd::Pid,
};

/// The state `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The kind of a question to, and of an answer from, sock_diag(7).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// The TCP ports on which `pid` listens.
pub(crate) fn listening_ports(pid: u32) -> BTreeSet<u16> {
    let own = socket_inodes(pid);
    sockets()
        .into_iter()
        .filter(|it| it.listens && own.contains(&it.inode))
        .map(|it| it.local)
        .collect()
}

/// How many bytes from `from` wait to be read at `to`, or nothing when there is no such connection.
///
/// One question about one socket (sock_diag(7)), since the table of all takes long to print on a
/// machine with many.
pub(super) fn unread(from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let diag = SockProtocol::NetlinkSockDiag;
    let kernel = socket(AddressFamily::Netlink, SockType::Datagram, flags, diag).ok()?;
    send(kernel.as_raw_fd(), &question(from, to), MsgFlags::empty()).ok()?;
    let mut answer = [0; 1024];
    let size = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;

    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    // The header, then `idiag_rqueue` in `struct inet_diag_msg`.
    let waiting = answer[..size].get(16 + 56..16 + 60)?;
    (kind == SOCK_DIAG_BY_FAMILY).then(|| u32::from_ne_bytes(waiting.try_into().unwrap()))
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for the end of a connection at `to`.
fn question(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    const SIZE: u32 = 72;
    const REQUEST: u16 = 1;
    let address = |it: SocketAddrV4| [&it.ip().octets()[..], &[0; 12]].concat();
    [
        &SIZE.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &REQUEST.to_ne_bytes(),
        &[0; 8],                 // number and sender
        &[2, 6, 0, 0],           // AF_INET, TCP, no extensions
        &u32::MAX.to_ne_bytes(), // in any state
        &to.port().to_be_bytes(),
        &from.port().to_be_bytes(),
        &address(to),
        &address(from),
        &[0; 4],    // any interface
        &[0xFF; 8], // no cookie
    ]
    .concat()
}

/// The processes whose command line or environment names `path`.
pub(super) fn processes_naming(path: &Path) -> Vec<u32> {
    let path = path.to_str().unwrap().as_bytes();
    let names = |file: PathBuf| {
        fs::read(file).is_ok_and(|text| text.windows(path.len()).any(|it| it == path))
    };
    processes()
        .into_iter()
        .filter(|pid| ["cmdline", "environ"].iter().any(|it| names(of(*pid, it))))
        .collect()
}

/// The program that `pid` runs.
pub(super) fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(of(pid, "exe")).ok()
}

/// The environment with which `pid` was started.
pub(crate) fn environment(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read(of(pid, "environ")).unwrap_or_default();
    let variables = text.split(|byte| *byte == 0).filter(|it| !it.is_empty());
    // It may be anybody's, and then anything.
    let texts = variables.filter_map(|it| str::from_utf8(it).ok()?.split_once('='));
    texts.map(|(key, value)| (key.into(), value.into())).collect()
}

/// What `/proc/PID/status` says of `key`; nothing when there is no such process.
pub(crate) fn status(pid: u32, key: &str) -> Option<String> {
    let text = fs::read_to_string(of(pid, "status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// What `/proc/PID/stat` says of `pid` behind its name, which may hold anything; field 3 of
/// proc_pid_stat(5) is the first. Empty when there is no such process.
fn stat(pid: u32) -> Vec<String> {
    let line = fs::read_to_string(of(pid, "stat")).unwrap_or_default();
    let fields = line.rsplit_once(')').map_or("", |it| it.1);
    fields.split_whitespace().map(str::to_owned).collect()
}

/// The process group and the session of `pid`; nothing when there is no such process.
pub(crate) fn group_and_session(pid: u32) -> Option<(u32, u32)> {
    let fields = stat(pid);
    Some((fields.get(2)?.parse().unwrap(), fields.get(3)?.parse().unwrap()))
}

/// The processor time that `pid` has had. The kernel counts in hundredths of a second.
pub(crate) fn processor_ms(pid: u32) -> u64 {
    stat(pid)[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

/// The memory that `pid` has now.
pub(crate) fn memory_kib(pid: u32) -> u64 {
    status(pid, "VmRSS").unwrap().trim_end_matches(" kB").parse().unwrap()
}

/// How many files `pid` may have open.
pub(crate) fn soft_nofile(pid: u32) -> String {
    let limits = fs::read_to_string(of(pid, "limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// All children of `pid`, zombies too.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(of(pid, "task")).unwrap();
    let lists = threads.map(|it| fs::read_to_string(it.unwrap().path().join("children")).unwrap());
    let all = lists.collect::<Vec<_>>().join(" ");
    all.split_ascii_whitespace().map(|it| it.parse().unwrap()).collect()
}

/// The living processes that some spawn of the daemon `name` of the home `home` has started.
pub(crate) fn living(home: &Path, name: &str) -> BTreeSet<u32> {
    let is_its = |pid: &u32| {
        let environment = environment(*pid);
        let is_here = |it: &String| Path::new(it).starts_with(home);
        environment.get("DAE_DATA").is_some_and(is_here)
            && environment.get("DAE_NAME").is_some_and(|it| it == name)
    };
    processes().into_iter().filter(|pid| is_running(*pid)).filter(is_its).collect()
}

/// Whether `pid` runs; a zombie does not.
pub(crate) fn is_running(pid: u32) -> bool {
    status(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Ends `pid` by SIGKILL.
pub(crate) fn kill(pid: u32) {
    tell(pid, Signal::SIGKILL);
}

/// Sends `signal` to `pid`.
pub(crate) fn tell(pid: u32, signal: Signal) {
    signal::kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// A file or a link of `/proc/PID`.
pub(crate) fn of(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// All processes.
pub(crate) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A line of `/proc/net/tcp`.
struct Socket {
    local: u16,
    listens: bool,
    inode: u64,
}

/// All TCP sockets of the network namespace of this thread.
fn sockets() -> Vec<Socket> {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(listed).collect::<Vec<_>>())
        .collect()
}

/// Reads `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 …`.
fn listed(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some(Socket {
        local: u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?,
        listens: *fields.get(3)? == LISTEN,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The sockets that `pid` holds; none when it is gone.
fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(open) = fs::read_dir(of(pid, "fd")) else { return BTreeSet::new() };
    open.filter_map(|entry| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
    .collect()
}
