//! A raw connection, as somebody with netcat has it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
    time::Duration,
};

use nix::{
    libc::linger,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket,
        sockopt::{Linger, RcvBuf},
    },
};
use serde_json::Value;

use super::{eventually::PATIENCE, kernel::unread};

/// How long [`Netcat::settle`] waits between two looks.
const LOOK: Duration = Duration::from_micros(100);

/// How often it looks before it goes on regardless: a daemon that has closed, or that makes us
/// wait, need not read.
const LOOKS: u32 = 500;

/// A connection that sends what it is told and shows what comes. Every wait ends with an error
/// after [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct Netcat {
    stream: BufReader<TcpStream>,
    /// Our address and the other's, where they have some.
    ends: Option<(SocketAddrV4, SocketAddrV4)>,
}

impl Netcat {
    /// Connects to `port` on loopback. What is sent leaves at once.
    pub(crate) fn tcp(port: u16) -> Self {
        let daemon = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let stream = TcpStream::connect(daemon).unwrap();
        stream.set_nodelay(true).unwrap();
        let SocketAddr::V4(own) = stream.local_addr().unwrap() else { unreachable!() };
        Self::over(stream, Some((own, daemon)))
    }

    /// Connects to `port` on the loopback of IPv6, where this machine has it.
    pub(crate) fn tcp6(port: u16) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect((Ipv6Addr::LOCALHOST, port))?, None))
    }

    /// Connects to `port` on loopback, with as little room for what comes as the kernel allows.
    pub(crate) fn narrow(port: u16) -> Self {
        Self::over(narrow(port), None)
    }

    /// Connects to the Unix socket at `path`.
    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        // Reading, writing, shutting down and time limits do not ask what kind of socket it is.
        Self::over(TcpStream::from(OwnedFd::from(stream)), None)
    }

    /// Over a connection that somebody has made.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self::over(stream, None)
    }

    fn over(stream: TcpStream, ends: Option<(SocketAddrV4, SocketAddrV4)>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream), ends }
    }

    /// Sends `bytes`, in one write where the kernel takes them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Waits until the other end has read all that was sent, so that what follows comes to it by a
    /// read of its own.
    pub(crate) fn settle(&self) {
        for _ in 0..LOOKS {
            thread::sleep(LOOK);
            match self.ends.map(|(own, other)| unread(own, other)) {
                Some(Some(1..)) => {}
                _ => return,
            }
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }

    /// The next line with its end; what is left of one at the end of the stream; then nothing.
    pub(crate) fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }

    /// All that comes until the other end closes. A reset is an error.
    pub(crate) fn read_to_end(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The same for what is no text.
    pub(crate) fn read_to_end_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Breaks the connection by RST.
    pub(crate) fn reset(self) {
        setsockopt(self.stream.get_ref(), Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }

    /// Sends one packet and returns the name and the arguments of its reply.
    pub(crate) fn call(&mut self, name: &str, args: &Value) -> (String, Value) {
        self.send(format!("{name} {args}\n")).unwrap();
        let line = self.read_line().unwrap();
        let (name, args) = line.split_once(' ').unwrap_or_else(|| panic!("{name}: got {line:?}"));
        (name.to_owned(), serde_json::from_str(args).unwrap())
    }
    /// Runs a command that must not fail, and returns its result.
    pub(crate) fn ask(&mut self, name: &str, args: &Value) -> Value {
        let (reply, mut args) = self.call(name, args);
        assert_ne!(reply, "err", "{name}: {args}");
        args.get_mut(0).map(Value::take).unwrap_or_default()
    }

    /// Runs a command that must fail with `code`, and returns the error.
    pub(crate) fn refuse(&mut self, code: &str, name: &str, args: &Value) -> Value {
        let (reply, mut answer) = self.call(name, args);
        assert_eq!(reply, "err", "{name} {args}: got {answer} where `{code}` was expected");
        assert_eq!(answer[0]["code"], code, "{name} {args}: {answer}");
        answer[0].take()
    }
}

/// A connection to `port` on loopback, with as little room for what comes as the kernel allows.
pub(super) fn narrow(port: u16) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    // Before the connection, or the window is promised already.
    setsockopt(&socket, RcvBuf, &1).unwrap();
    connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    socket.into()
}
