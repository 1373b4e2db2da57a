//! All subscribers, heard by one thread.

use std::{
    io::{self, Write},
    net::{SocketAddrV4, TcpStream},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, Shutdown},
};
use serde_json::{Value, json};

use super::{
    super::state::line,
    faults::Faults,
    plan::{self, USERS},
    reader::Reader,
};
use crate::bench::clock::now;

pub(super) struct Crowd {
    address: SocketAddrV4,
    tokens: Vec<String>,
    epoll: OwnedFd,
    pub(super) readers: Vec<Reader>,
    pub(super) faults: Faults,
    buffer: Vec<u8>,
}

/// How many come before all of them must have heard what there is.
const AT_ONCE: usize = 200;

/// How often it is looked whether all have heard enough.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Who says nothing for so long has lost something.
const STALLED: Duration = Duration::from_secs(60);

impl Crowd {
    /// Has so many subscribe, each with what it is told first; `tokens` are those of the users.
    pub(super) fn gather(
        address: SocketAddrV4,
        tokens: Vec<String>,
        count: usize,
        faults: Faults,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (readers, buffer) = (Vec::with_capacity(count), vec![0; 256 << 10]);
        let mut crowd = Self { address, tokens, epoll, readers, faults, buffer };
        while crowd.readers.len() < count {
            let from = crowd.readers.len();
            for number in from..count.min(from + AT_ONCE) {
                crowd.join(number, plan::user(number))?;
            }
            crowd.hear_until(|it| it.readers[from..].iter().all(|it| it.syncs > 0))?;
        }
        Ok(crowd)
    }

    /// One more, who is `user`; it is the one of this number in `readers`.
    pub(super) fn join(&mut self, number: usize, user: Option<usize>) -> io::Result<()> {
        let reader = Reader::new(number, user, self.connect(user, number, &json!({}))?);
        let data = EventData::new_u64(self.readers.len() as u64);
        epoll::add(&self.epoll, &reader.socket, data, EventFlags::IN)?;
        self.readers.push(reader);
        Ok(())
    }

    /// The reader of this number goes.
    pub(super) fn leave(&mut self, number: usize) -> io::Result<()> {
        let socket = &self.readers[number].socket;
        epoll::delete(&self.epoll, socket)?;
        Ok(rustix::net::shutdown(socket, Shutdown::Both)?)
    }

    /// It comes back as `user`, and says what it knows.
    pub(super) fn come_back(&mut self, number: usize, user: usize) -> io::Result<()> {
        let opts = json!({ "since": self.readers[number].rev });
        let socket = self.connect(Some(user), self.readers[number].number, &opts)?;
        let data = EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
        self.readers[number].come_back(socket);
        Ok(())
    }

    fn connect(&self, user: Option<usize>, number: usize, opts: &Value) -> io::Result<OwnedFd> {
        let mut stream = TcpStream::connect(self.address)?;
        let login = user.map(|it| line("auth", &json!([self.tokens[it]])));
        let mut pattern = plan::prefix(number);
        pattern.push("**".into());
        let subscribe = line("subscribe", &json!([pattern, opts]));
        stream.write_all((login.unwrap_or_default() + &subscribe).as_bytes())?;
        Ok(stream.into())
    }

    /// Has everybody ask what there is, and waits for the answers.
    pub(super) fn compare(&mut self) -> io::Result<()> {
        for reader in &mut self.readers {
            reader.is_answered = false;
            let request = line("get", &json!([reader.prefix()]));
            rustix::io::write(&reader.socket, request.as_bytes())?;
        }
        self.hear_until(|it| it.readers.iter().all(|it| it.is_answered))
    }

    /// Hears until `is_enough`; who hears nothing for too long before that is at fault.
    pub(super) fn hear_until(&mut self, is_enough: impl Fn(&Self) -> bool) -> io::Result<()> {
        let mut last = now();
        while !is_enough(self) {
            if self.hear()? > 0 {
                last = now();
            } else if now() - last > STALLED {
                self.faults.hold(false, "some have not heard everything", "nothing came for long");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hears what has come; how many were told something.
    pub(super) fn hear(&mut self) -> io::Result<usize> {
        let mut events = Vec::with_capacity(1024);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TURN)) {
            Err(Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            self.read(event.data.u64() as usize)?;
        }
        Ok(events.len())
    }

    fn read(&mut self, number: usize) -> io::Result<()> {
        let reader = &mut self.readers[number];
        match rustix::net::recv(&reader.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                self.faults.note(reader.number, "was sent away", "");
                reader.is_answered = true;
                Ok(epoll::delete(&self.epoll, &reader.socket)?)
            }
            Ok((length, _)) => {
                reader.take(&self.buffer[..length], &mut self.faults);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many sessions each user has.
    pub(super) fn audience(&self) -> Vec<usize> {
        let mut audience = vec![0; USERS];
        let users = (0..self.readers.len()).filter_map(plan::user);
        users.for_each(|it| audience[it] += 1);
        audience
    }
}
