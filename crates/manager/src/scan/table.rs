//! Which TCP sockets listen on this host.
//!
//! Asked of the kernel by [`diag`], which lists only what is wanted; where that does
//! not exist, read from `/proc/net`.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::diag;
use crate::proc::visible;

/// What the kernel calls one socket, also in the links of `/proc/PID/fd`.
pub type Inode = u64;

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Where it is bound; an IPv4 address in IPv6 clothes is an IPv4 address here.
    pub address: SocketAddr,
    /// The user who made it.
    pub uid: u32,
    /// Its name.
    pub inode: Inode,
}

impl Listener {
    /// Where to dial it on this host, in order; empty if a port alone does not lead there, since it
    /// is bound to some other address.
    pub fn dial(&self) -> &'static [IpAddr] {
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        match self.address.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST | Ipv4Addr::UNSPECIFIED) => &[V4],
            // Either can fail: `::1` is missing in many containers, `127.0.0.1` if IPV6_V6ONLY is
            // set.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => &[V4, V6],
            IpAddr::V6(Ipv6Addr::LOCALHOST) => &[V6],
            _ => &[],
        }
    }

    /// The kernel's preference among sockets of one port for who dials `127.0.0.1`, then `::1`:
    /// the lowest is reached.
    pub(super) fn rank(&self) -> u8 {
        match self.address.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => 0,
            IpAddr::V4(_) => 1,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => 2,
            IpAddr::V6(_) => 3,
        }
    }
}

/// Lists the sockets that listen, on any address.
pub fn listeners() -> io::Result<Vec<Listener>> {
    diag::listeners(None).or_else(|_| read())
}

/// Lists those of one port that can be reached on this host by that port alone, best first.
pub fn listeners_on(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = diag::listeners(Some(port)).or_else(|_| read())?;
    found.retain(|it| it.address.port() == port && !it.dial().is_empty());
    found.sort_by_key(Listener::rank);
    Ok(found)
}

fn read() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 there is no second file.
        found.extend(parse(&visible(fs::read(file))?.unwrap_or_default()));
    }
    Ok(found)
}

/// Reads `/proc/net/tcp` or `tcp6`; lines that are not of its form are left out.
pub(crate) fn parse(table: &[u8]) -> Vec<Listener> {
    table.split(|&byte| byte == b'\n').filter_map(row).collect()
}

fn row(line: &[u8]) -> Option<Listener> {
    /// `TCP_LISTEN` of the kernel.
    const LISTEN: &str = "0A";

    let mut fields = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (_row, local, _remote, state) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if state != LISTEN {
        return None;
    }
    let (_queues, _timer, _retries, uid) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (_timeout, inode) = (fields.next()?, fields.next()?);
    Some(Listener { address: address(local)?, uid: uid.parse().ok()?, inode: inode.parse().ok()? })
}

/// Reads `0100007F:1F90`: words of the network's bytes, printed as numbers of this machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let word = |at: usize| Some(hex(words.get(at..at + 8)?)?.to_ne_bytes());
    let ip = match words.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::try_from(hex(port)?).ok()?))
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd};

    use proptest::prelude::*;

    use super::{super::eventually, *};

    fn line(local: &str, state: &str) -> String {
        format!(
            "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 4711 1 00000000ba49724c 100 0 0 10 0"
        )
    }

    fn bound(local: &str) -> Option<SocketAddr> {
        parse(line(local, "0A").as_bytes()).first().map(|it| it.address)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_both_families_are_read() {
        for (local, address) in [
            ("0100007F:1F90", "127.0.0.1:8080"),
            ("00000000:0016", "0.0.0.0:22"),
            ("00000000000000000000000001000000:1F90", "[::1]:8080"),
            ("00000000000000000000000000000000:1F90", "[::]:8080"),
            ("0000000000000000FFFF00000100007F:1F90", "127.0.0.1:8080"),
        ] {
            assert_eq!(bound(local), Some(address.parse().unwrap()), "{local}");
        }
    }

    #[test]
    fn only_listening_rows_of_the_right_form_count() {
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid",
            &line("0100007F:1F90", "01"),
            &line("0100007F:1F91", "0A"),
            &line("0100007F:FFFFF", "0A"),
            &line("0100007F", "0A"),
            &line("01000é07F:1F90", "0A"),
            "   0: 0100007F:1F90 00000000:0000 0A",
            "",
        ]
        .join("\n");
        let found = parse(table.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].uid, found[0].inode, found[0].address.port()), (1000, 4711, 8081));
    }

    #[test]
    fn what_a_port_alone_does_not_reach_is_not_dialled() {
        let dialled = |address: &str| {
            Listener { address: address.parse().unwrap(), uid: 0, inode: 0 }.dial().len()
        };
        assert_eq!(["127.0.0.1:1", "0.0.0.0:1", "[::1]:1"].map(dialled), [1, 1, 1]);
        assert_eq!(dialled("[::]:1"), 2);
        assert_eq!(["127.0.0.2:1", "10.0.0.1:1", "[fe80::1]:1"].map(dialled), [0, 0, 0]);
    }

    #[test]
    fn both_ways_of_asking_find_a_real_socket() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();

        for table in [diag::listeners(None), read(), listeners(), listeners_on(address.port())] {
            let table = table.unwrap();
            let found = table.iter().find(|it| it.address == address).unwrap();
            assert_eq!(link.to_str().unwrap(), format!("socket:[{}]", found.inode));
            assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        }
        drop(socket);
        eventually(|| listeners_on(address.port()).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>, local in ".{0,40}", state in "0[A1]") {
            parse(&bytes);
            parse(line(&local, &state).as_bytes());
        }
    }
}
