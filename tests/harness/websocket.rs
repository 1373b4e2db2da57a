//! A WebSocket as a browser would open one, frame by frame.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{eventually::PATIENCE, netcat::narrow};

/// A client that sends what it is told and shows what comes. Every wait ends with an error after
/// [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct WebSocket {
    stream: BufReader<TcpStream>,
    last_id: u64,
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Text(String),
    /// The other end closes, with this code.
    Close(u16),
    /// The connection is over.
    End,
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl WebSocket {
    /// Opens one at `port` on loopback.
    pub(crate) fn connect(port: u16) -> Self {
        Self::handshake(port, &format!("host: 127.0.0.1:{port}\r\n")).unwrap()
    }

    /// Asks for one with these headers; the status if that is refused.
    pub(crate) fn handshake(port: u16, headers: &str) -> Result<Self, u16> {
        Self::at(port, "/", headers).map_err(|(status, _)| status)
    }

    /// Asks for one at `target`; the status and all of the answer if that is refused.
    pub(crate) fn at(port: u16, target: &str, headers: &str) -> Result<Self, (u16, String)> {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(), target, headers)
    }

    /// As [`WebSocket::at`], with as little room for what comes as the kernel allows.
    pub(crate) fn narrow_at(port: u16, target: &str) -> Self {
        Self::over(narrow(port), target, "host: localhost\r\n").unwrap()
    }

    /// Opens one at `port` on loopback, with as little room for what comes as the kernel allows.
    pub(crate) fn narrow(port: u16) -> Self {
        Self::narrow_at(port, "/")
    }

    fn over(stream: TcpStream, target: &str, headers: &str) -> Result<Self, (u16, String)> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut socket = Self { stream: BufReader::new(stream), last_id: 0 };
        let request = format!(
            "GET {target} HTTP/1.1\r\n{headers}upgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(socket.stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        match head[9..12].parse().unwrap() {
            101 => Ok(socket),
            status => {
                socket.stream.read_to_string(&mut head).unwrap();
                Err((status, head))
            }
        }
    }

    /// Sends a text.
    pub(crate) fn say(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes()).unwrap();
    }

    /// Sends a text that nobody may be there to take.
    pub(crate) fn try_say(&mut self, text: &str) -> io::Result<()> {
        self.send(TEXT, text.as_bytes())
    }

    /// Sends bytes that may be frames, or parts of some.
    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The frame that a client sends: of this first byte, with this payload.
    pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [0x5A, 0, 0xFF, 7];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.send(BINARY, bytes).unwrap();
    }

    /// Closes as RFC 6455 says, and leaves.
    pub(crate) fn close(mut self) {
        self.send(CLOSE, &1000_u16.to_be_bytes()).unwrap();
        while !matches!(self.hear(), Heard::Close(_) | Heard::End) {}
    }

    /// The next message; pings are answered.
    pub(crate) fn hear(&mut self) -> Heard {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "only pings have come");
            let Ok((opcode, payload)) = self.receive() else { return Heard::End };
            match opcode {
                TEXT => return Heard::Text(String::from_utf8(payload).unwrap()),
                CLOSE => {
                    return Heard::Close(
                        payload.first_chunk().map_or(1005, |it| u16::from_be_bytes(*it)),
                    );
                }
                PING => self.send(PONG, &payload).unwrap(),
                PONG => {}
                other => panic!("a frame of kind {other}"),
            }
        }
    }

    /// The next message as JSON.
    pub(crate) fn hear_json(&mut self) -> Value {
        match self.hear() {
            Heard::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?} where a text was expected"),
        }
    }

    /// Runs a command; all of its answer.
    pub(crate) fn call(&mut self, name: &str, args: &Value) -> Value {
        self.last_id += 1;
        self.say(&json!({ "id": self.last_id, "name": name, "args": args }).to_string());
        let answer = self.hear_json();
        assert_eq!(answer["id"], self.last_id, "{answer}");
        answer
    }

    /// Runs a command that must not fail, and returns its result.
    pub(crate) fn ask(&mut self, name: &str, args: &Value) -> Value {
        let mut answer = self.call(name, args);
        assert_eq!(answer["error"], Value::Null, "{name}: {answer}");
        answer["result"].take()
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(&Self::frame(0x80 | opcode, payload))
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => length.into(),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok((head[0] & 0xF, payload))
    }
}
