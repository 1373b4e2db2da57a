//! Who changes, and who hears of it: what each of them was told, and when.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread::{JoinHandle, spawn},
};

use super::server::{Found, Server, ServerError};
use crate::bench::state::daemon;

/// How many change at the same time.
const WRITERS: usize = 8;

/// The unit in which the kernel counts what a file takes.
const BLOCK: u64 = 512;

/// They run until the server is gone.
pub(crate) struct Writers {
    writers: Vec<JoinHandle<Vec<Acknowledged>>>,
    listener: JoinHandle<Vec<Heard>>,
    begun: u64,
}

/// The writer's number `count` was acknowledged when the record had so many bytes at most.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    count: u64,
    at: u64,
}

/// Somebody was told of a revision when the record had so many bytes at most.
#[derive(Clone, Copy, Debug)]
struct Heard {
    revision: u64,
    at: u64,
}

/// What all of them were told.
#[derive(Debug)]
pub(crate) struct Told {
    /// How many bytes the record had before the first change.
    pub(crate) begun: u64,
    writers: Vec<Vec<Acknowledged>>,
    heard: Vec<Heard>,
}

impl Writers {
    pub(crate) fn start(server: &Server, record: &Path) -> Result<Self, ServerError> {
        let mut first = server.guest()?;
        daemon::ask(&mut first, "update [[\"w\"],{}]\n").map_err(ServerError::Silent)?;
        let begun = bytes(record);
        let listener = listen(server.guest()?, record.to_owned());
        let writers = (0..WRITERS)
            .map(|number| Ok(write(server.guest()?, number, record.to_owned())))
            .collect::<Result<_, ServerError>>()?;
        Ok(Self { writers, listener, begun })
    }

    /// What they were told before their connections broke.
    pub(crate) fn end(self) -> Told {
        let all = self.writers.into_iter().map(|it| it.join().unwrap_or_default());
        let writers = all.collect();
        Told { begun: self.begun, writers, heard: self.listener.join().unwrap_or_default() }
    }
}

/// Writes a pair of equal numbers at once, each larger than the last.
fn write(stream: TcpStream, number: usize, record: PathBuf) -> JoinHandle<Vec<Acknowledged>> {
    spawn(move || {
        let mut acknowledged = Vec::new();
        let (mut replies, mut stream) = (BufReader::new(&stream), &stream);
        for count in 1.. {
            let change = |name| format!("[\"update\",[\"w\",\"{number}\",\"{name}\"],{count}]");
            let request = format!("batch [[{},{}]]\n", change("a"), change("b"));
            let mut line = String::new();
            let asked = stream.write_all(request.as_bytes());
            if asked.and_then(|()| replies.read_line(&mut line)).is_err() {
                break;
            }
            if !line.starts_with("batch [{\"rev\":") {
                break;
            }
            acknowledged.push(Acknowledged { count, at: bytes(&record) });
        }
        acknowledged
    })
}

fn listen(stream: TcpStream, record: PathBuf) -> JoinHandle<Vec<Heard>> {
    spawn(move || {
        let mut heard = Vec::new();
        let (mut lines, mut stream) = (BufReader::new(&stream), &stream);
        if stream.write_all(b"subscribe [[\"w\",\"**\"]]\n").is_err() {
            return heard;
        }
        let mut line = String::new();
        while matches!(lines.read_line(&mut line), Ok(1..)) {
            if let Some(revision) = revision(&line) {
                heard.push(Heard { revision, at: bytes(&record) });
            }
            line.clear();
        }
        heard
    })
}

fn revision(event: &str) -> Option<u64> {
    let (_, rest) = event.strip_prefix("event ")?.split_once("\"rev\":")?;
    rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
}

/// How long the record is at most; what it had before this was asked is not beyond it.
fn bytes(record: &Path) -> u64 {
    fs::metadata(record).map_or(u64::MAX, |it| (it.blocks() * BLOCK).max(it.len()))
}

impl Told {
    pub(crate) fn acknowledged(&self) -> usize {
        self.writers.iter().map(Vec::len).sum()
    }

    pub(crate) fn heard(&self) -> usize {
        self.heard.len()
    }

    /// Whether everything that was told before the record had `end` bytes is in what was found.
    pub(crate) fn compare(&self, end: u64, found: &Found) -> Result<(), String> {
        for (number, acknowledged) in self.writers.iter().enumerate() {
            let pair = &found.written[number.to_string()];
            let [a, b] = ["a", "b"].map(|name| pair[name].as_u64().unwrap_or_default());
            if a != b {
                return Err(format!("writer {number} finds {a} and {b}, by one change"));
            }
            let promised = acknowledged.iter().rfind(|it| it.at <= end).map_or(0, |it| it.count);
            if a < promised {
                return Err(format!("writer {number} finds {a}, and {promised} was acknowledged"));
            }
        }
        let told = self.heard.iter().rfind(|it| it.at <= end).map_or(0, |it| it.revision);
        match found.revision {
            revision if revision < told => {
                Err(format!("revision {told} was told, {revision} is there"))
            }
            _ => Ok(()),
        }
    }
}
