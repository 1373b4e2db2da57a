//! Asks the kernel for listening sockets over netlink (`sock_diag(7)`).
//!
//! Beside `/proc/net/tcp` this skips the connections, of which there may be thousands, prints
//! nothing, and can ask for one port: with 1,000 listeners a tenth of the cost, for one port a
//! hundredth. Children that start are asked about many times a second, so it matters.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::table::Listener;

/// `SOCK_DIAG_BY_FAMILY`, the one type of request and answer here.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`: a negative errno follows.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the list is complete.
const DONE: u16 = 3;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of an answer from the kernel at most, and so of a buffer that never cuts one.
const ANSWER: usize = 64 << 10;

/// Lists the sockets that listen, of one port or of all.
///
/// # Errors
/// Whatever a kernel or a sandbox without this interface says; the caller has `/proc/net`.
pub(super) fn listeners(port: Option<u16>) -> io::Result<Vec<Listener>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    let mut buffer = vec![0; ANSWER];
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(&socket, &request(family, port.unwrap_or(0)), SendFlags::empty())?;
        loop {
            // The kernel has its next answer ready before it hands out this one: nothing to wait
            // for.
            let (_, size) = recv(&socket, &mut *buffer, RecvFlags::DONTWAIT)?;
            if read(&buffer[..size.min(ANSWER)], &mut found)? == Progress::Done {
                break;
            }
        }
    }
    Ok(found)
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`; port 0 is every port.
fn request(family: AddressFamily, port: u16) -> [u8; 72] {
    /// `NLM_F_REQUEST | NLM_F_DUMP`: the list, not one entry.
    const DUMP: u16 = 0x301;
    const TCP: u8 = 6;
    /// Bit 10, `TCP_LISTEN`.
    const LISTENING: u32 = 1 << 10;

    let mut request = [0; 72];
    request[..4].copy_from_slice(&72u32.to_ne_bytes());
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    // AF_INET and AF_INET6 are below 256 everywhere.
    request[16] = family.as_raw() as u8;
    request[17] = TCP;
    request[20..24].copy_from_slice(&LISTENING.to_ne_bytes());
    request[24..26].copy_from_slice(&port.to_be_bytes());
    request
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
}

/// Takes the listeners out of one answer.
pub(crate) fn read(mut answer: &[u8], found: &mut Vec<Listener>) -> io::Result<Progress> {
    while let Some(length) = u32_at(answer, 0).and_then(|it| usize::try_from(it).ok()) {
        let Some(message) = answer.get(..length).filter(|it| it.len() >= HEADER) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let body = &message[HEADER..];
        match u16::from_ne_bytes([message[4], message[5]]) {
            DONE => return failure(body).map_or(Ok(Progress::Done), Err),
            ERROR => return Err(failure(body).unwrap_or(io::ErrorKind::InvalidData.into())),
            BY_FAMILY => found.extend(listener(body)),
            _ => {}
        }
        // Each message begins at a multiple of four.
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// `struct inet_diag_msg`.
fn listener(body: &[u8]) -> Option<Listener> {
    let ip = match AddressFamily::from_raw((*body.first()?).into()) {
        AddressFamily::INET => IpAddr::from(Ipv4Addr::from(*body.get(8..)?.first_chunk::<4>()?)),
        AddressFamily::INET6 => {
            IpAddr::from(Ipv6Addr::from(*body.get(8..)?.first_chunk::<16>()?)).to_canonical()
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
    Some(Listener {
        address: SocketAddr::new(ip, port),
        uid: u32_at(body, 64)?,
        inode: u32_at(body, 68)?.into(),
    })
}

/// Errors and ends of a list begin with the same number: a negative errno, or 0.
fn failure(body: &[u8]) -> Option<io::Error> {
    let code = u32_at(body, 0)?.cast_signed();
    (code != 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn entry(family: AddressFamily, ip: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 72];
        body[0] = family.as_raw() as u8;
        body[4..6].copy_from_slice(&8080u16.to_be_bytes());
        body[8..8 + ip.len()].copy_from_slice(ip);
        body[64..68].copy_from_slice(&1000u32.to_ne_bytes());
        body[68..72].copy_from_slice(&4711u32.to_ne_bytes());
        message(BY_FAMILY, &body)
    }

    #[test]
    fn an_answer_is_read_to_its_end() {
        let mapped = [&[0; 10][..], &[255; 2], &[127, 0, 0, 1]].concat();
        let list = [
            entry(AddressFamily::INET, &[127, 0, 0, 1]),
            entry(AddressFamily::INET6, &mapped),
            message(99, b"odd"),
            entry(AddressFamily::UNIX, &[]),
            entry(AddressFamily::INET6, &[0; 16]),
        ]
        .concat();
        let mut found = Vec::new();
        assert_eq!(read(&list, &mut found).unwrap(), Progress::More);
        assert_eq!(read(&message(DONE, &[0; 4]), &mut found).unwrap(), Progress::Done);

        let addresses: Vec<_> = found.iter().map(|it| it.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:8080", "127.0.0.1:8080", "[::]:8080"]);
        assert!(found.iter().all(|it| (it.uid, it.inode) == (1000, 4711)));
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_a_broken_answer() {
        let refusal = message(ERROR, &(-2i32).to_ne_bytes());
        for answer in [&refusal[..], &message(DONE, &(-2i32).to_ne_bytes())] {
            let error = read(answer, &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        for broken in [&refusal[..10], &[0; 16], &message(ERROR, &[])] {
            assert!(read(broken, &mut Vec::new()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, kind in 0u16..25) {
            let mut found = Vec::new();
            read(&bytes, &mut found).ok();
            read(&message(kind, &bytes), &mut found).ok();
        }
    }
}
