//! A bare loop that passes on whatever a guest sends to all others: the floor under every server
//! that tells many.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, sockopt},
};

/// So much is read at once: more than a guest has on its way.
const BUFFER: usize = 256 << 10;

/// How the listening socket is called among those that are ready.
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed. Waits for who does not read: nobody else is then told either.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let mut passing = Passing {
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        guests: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    epoll::add(&passing.epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&passing.epoll, spare_capacity(&mut events), None)?;
        // Whoever has come before something was sent hears it.
        passing.accept(&listener)?;
        for event in events.iter().filter(|it| it.data.u64() != LISTENER) {
            passing.pass_on(event.data.u64() as usize);
        }
    }
}

struct Passing {
    epoll: OwnedFd,
    /// In the order in which they came; those who are gone leave a gap.
    guests: Vec<Option<OwnedFd>>,
    buffer: Vec<u8>,
}

impl Passing {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let guest = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(guest) => guest,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            sockopt::set_tcp_nodelay(&guest, true)?;
            let number = EventData::new_u64(self.guests.len() as u64);
            epoll::add(&self.epoll, &guest, number, EventFlags::IN)?;
            self.guests.push(Some(guest));
        }
    }

    fn pass_on(&mut self, from: usize) {
        let Some(guest) = &self.guests[from] else { return };
        let length = match rustix::net::recv(guest, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((length @ 1.., _)) => length,
            Err(Errno::AGAIN) => return,
            _ => return self.guests[from] = None,
        };
        for to in (0..self.guests.len()).filter(|it| *it != from) {
            self.tell(to, length);
        }
    }

    /// Sends what was read.
    fn tell(&mut self, to: usize, length: usize) {
        let Some(guest) = &self.guests[to] else { return };
        let mut sent = 0;
        while sent < length {
            match rustix::net::send(guest, &self.buffer[sent..length], SendFlags::NOSIGNAL) {
                Ok(more) => sent += more,
                Err(_) => return self.guests[to] = None,
            }
        }
    }
}
