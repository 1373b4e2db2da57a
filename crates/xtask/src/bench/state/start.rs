//! How long a server with a million nodes takes to start, what they cost, and what they change.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use super::{daemon, verdict};
use crate::{
    bench::{
        clock::now,
        load::{Load, LoadError, drive},
        report,
        server::{Contender, Server, ServerError, patient},
    },
    step::{announce, say},
};

/// So many objects of so many members.
const OBJECTS: usize = 1_000;
const MEMBERS: usize = 1_000;

/// How long it may take until it answers.
const MUST_START: Duration = Duration::from_secs(3);

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Server(#[from] ServerError),

    #[error(transparent)]
    Load(#[from] LoadError),

    #[error("cannot fill the tree")]
    Fill(#[from] io::Error),
}

/// Fills one, ends it as a crash would, starts it from its journal, and again from a snapshot.
pub(crate) fn start(state: &Contender, load: Load) -> Result<(), StartError> {
    announce(&format!("{OBJECTS} objects of {MEMBERS} numbers: memory, `get` beside them, start"));
    let server = Server::start(state)?;
    say(report::HEADER);
    say_get("few", &server, load)?;
    let empty = server.resident()?;
    fill(&server)?;
    let filled = server.resident()?;
    say_get("million", &server, load)?;
    let nodes = (OBJECTS * MEMBERS) as f64;
    say(&format!("{:.0} bytes a node while it runs", filled.saturating_sub(empty) as f64 / nodes));

    let server = again("from its journal", state, server)?;
    daemon::ask(&mut guest(&server)?, "saveServerState []\n")?;
    let server = again("from a snapshot", state, server)?;
    let loaded = server.resident()?.saturating_sub(empty) as f64 / nodes;
    say(&format!("{loaded:.0} bytes a node after a start"));
    Ok(())
}

/// Until it has answered root, whose password costs its hash.
fn again(what: &str, state: &Contender, server: Server) -> Result<Server, StartError> {
    let folder = server.crash();
    let begun = now();
    let server = Server::start_in(state, &folder)?;
    let took = now() - begun;
    let found = took.as_secs_f64();
    verdict(&format!("s until it answers, {what}"), found, took <= MUST_START, "at most 3");
    Ok(server)
}

fn say_get(nodes: &str, server: &Server, load: Load) -> Result<(), StartError> {
    let row = report::row(nodes, &[drive(server, load)?], &[]);
    say(&format!("{:>5}  {:>8}  {row}", load.connections, load.pipeline));
    Ok(())
}

fn guest(server: &Server) -> io::Result<TcpStream> {
    let mut stream = patient(TcpStream::connect(server.address)?)?;
    server.greet(&mut stream)?;
    Ok(stream)
}

/// An object a change; all are sent before the first answer is read, as fast as they are taken.
fn fill(server: &Server) -> Result<(), StartError> {
    let stream = guest(server)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let members: Vec<String> = (0..MEMBERS).map(|it| format!("\"m{it}\":{it}")).collect();
    let members = members.join(",");
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut stream = &stream;
            (0..OBJECTS).try_for_each(|number| {
                stream
                    .write_all(format!("update [[\"n\",\"{number}\"],{{{members}}}]\n").as_bytes())
            })
        });
        for _ in 0..OBJECTS {
            let mut line = String::new();
            replies.read_line(&mut line)?;
            if !line.starts_with("update [") {
                return Err(io::Error::other(line).into());
            }
        }
        Ok(sender.join().map_err(|_| io::Error::other("the sender panicked"))??)
    })
}
