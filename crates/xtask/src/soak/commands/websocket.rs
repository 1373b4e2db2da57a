//! The same over WebSocket, where each message has one answer.

use std::{
    io::{self, Read, Write},
    net::{SocketAddrV4, TcpStream},
};

use serde_json::{Value, json};

use super::{Answers, Session};
use crate::bench::{
    protocol::HANDSHAKE,
    relay::way::{frame, read_head},
    server::patient,
};

pub(super) struct WebSocket {
    stream: TcpStream,
    asked: u64,
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

impl WebSocket {
    pub(super) fn connect(address: SocketAddrV4) -> io::Result<Self> {
        let mut stream = patient(TcpStream::connect(address)?)?;
        stream.write_all(HANDSHAKE.as_bytes())?;
        read_head(&mut stream)?;
        Ok(Self { stream, asked: 0 })
    }

    /// The next text; none if it is closed.
    fn hear(&mut self) -> io::Result<Option<String>> {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let length = match head[1] {
                126 => self.number::<2>()?,
                127 => self.number::<8>()?,
                short => short.into(),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload)?;
            match head[0] {
                TEXT => return Ok(Some(String::from_utf8_lossy(&payload).into_owned())),
                CLOSE => return Ok(None),
                _ => {}
            }
        }
    }

    fn number<const N: usize>(&mut self) -> io::Result<usize> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes.iter().fold(0, |all, it| all << 8 | usize::from(*it)))
    }
}

impl Session for WebSocket {
    fn say(&mut self, name: &str, args: &str) -> io::Result<Answers> {
        self.asked += 1;
        let (id, mark) = (self.asked, json!(format!("mark {}", self.asked)));
        let said = format!("{{\"id\":{id},\"name\":{},\"args\":{args}}}", json!(name));
        let ping = json!({ "id": mark, "name": "ping", "args": [] }).to_string();
        self.stream.write_all(&[frame(&said), frame(&ping)].concat())?;
        let mut answers = Answers { is_certain: true, ..Answers::default() };
        while let Some(text) = self.hear()? {
            let heard: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
            if heard["id"] == mark {
                answers.is_doubled = answers.count > 1;
                return Ok(answers);
            }
            if heard.get("event").is_none() {
                answers.take(&text);
            }
        }
        Ok(Answers { is_closed: true, ..answers })
    }
}
