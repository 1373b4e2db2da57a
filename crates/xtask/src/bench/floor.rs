//! A bare epoll server that knows one answer: the floor under every server of this protocol.

use std::{io, net::Ipv4Addr, net::TcpListener, os::fd::AsRawFd};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, sockopt},
};

use super::protocol::Protocol;

const BUFFER: usize = 64 * 1024;

/// Serves until it is killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut floor = Floor::new(epoll::create(CreateFlags::CLOEXEC)?);
    let listening = listener.as_raw_fd() as u64;
    epoll::add(&floor.epoll, &listener, EventData::new_u64(listening), EventFlags::IN)?;
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&floor.epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                ready if ready == listening => floor.accept(&listener)?,
                ready => floor.answer(ready as usize),
            }
        }
    }
}

struct Floor {
    epoll: OwnedFd,
    /// By the number of their descriptor.
    guests: Vec<Option<OwnedFd>>,
    buffer: Vec<u8>,
    /// As many replies as there can be requests in the buffer.
    replies: Vec<u8>,
    reply_length: usize,
}

impl Floor {
    fn new(epoll: OwnedFd) -> Self {
        let asked = Protocol::CommonTcp.get();
        let replies = asked.reply.repeat(BUFFER / asked.request.len() + 1);
        let reply_length = asked.reply.len();
        Self { epoll, guests: Vec::new(), buffer: vec![0; BUFFER], replies, reply_length }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let guest = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?;
        sockopt::set_tcp_nodelay(&guest, true)?;
        let number = guest.as_raw_fd() as usize;
        epoll::add(&self.epoll, &guest, EventData::new_u64(number as u64), EventFlags::IN)?;
        if self.guests.len() <= number {
            self.guests.resize_with(number + 1, || None);
        }
        self.guests[number] = Some(guest);
        Ok(())
    }

    fn answer(&mut self, number: usize) {
        if self.exchange(number).is_err() {
            self.guests[number] = None;
        }
    }

    /// Answers each line that was read. A lone `set` has an answer of its own, so that the floor
    /// passes the check that all servers must pass.
    fn exchange(&mut self, number: usize) -> Result<(), Errno> {
        let guest = self.guests[number].as_ref().ok_or(Errno::BADF)?;
        let (length, _) = rustix::net::recv(guest, &mut self.buffer[..], RecvFlags::DONTWAIT)?;
        let replies = match &self.buffer[..length] {
            [] => return Err(Errno::PIPE),
            [b's', ..] => b"set []\n",
            lines => {
                let count = lines.iter().filter(|&&byte| byte == b'\n').count();
                &self.replies[..count * self.reply_length]
            }
        };
        rustix::net::send(guest, replies, SendFlags::NOSIGNAL).map(drop)
    }
}
