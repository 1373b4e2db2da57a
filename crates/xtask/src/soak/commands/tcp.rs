//! A session over Common TCP that says lines, and after each a `ping` whose answer must come behind
//! that of the line.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddrV4, TcpStream},
};

use serde_json::json;

use super::{super::state::line, Answers, Session};
use crate::bench::server::patient;

pub(super) struct Tcp {
    lines: BufReader<TcpStream>,
    asked: u64,
}

impl Tcp {
    pub(super) fn connect(address: SocketAddrV4) -> io::Result<Self> {
        let stream = patient(TcpStream::connect(address)?)?;
        Ok(Self { lines: BufReader::new(stream), asked: 0 })
    }
}

impl Session for Tcp {
    fn say(&mut self, name: &str, args: &str) -> io::Result<Answers> {
        self.asked += 1;
        let mark = line("ping", &json!([format!("mark {}", self.asked)]));
        // The name may be none any more, and the whole a blank line.
        let said = format!("{name} {args}\n");
        let stream = self.lines.get_mut();
        stream.write_all((said.clone() + &mark).as_bytes())?;
        // What is tagged may be answered later, or before what was asked earlier.
        let is_certain = !said.trim().is_empty() && !said.contains('#');
        let mut answers = Answers { is_certain, ..Answers::default() };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(Answers { is_closed: true, ..answers });
            }
            if line == mark {
                return Ok(answers);
            }
            if !line.starts_with("event ") && !line.starts_with("end ") {
                answers.take(&line);
            }
        }
    }
}
