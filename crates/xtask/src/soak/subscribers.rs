//! `cargo xtask soak subscribers`: ten thousand subscribers of one tree, each with a mirror of its
//! part that must be what there is; beside them one that never reads, some from whom a part is
//! taken away while it changes, and one that goes and comes back.

mod crowd;
mod deaf;
mod faults;
mod mirror;
mod plan;
mod reader;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use clap::{Args, value_parser};
use rustix::io::Errno;
use serde_json::json;

use self::{
    crowd::Crowd,
    deaf::Deaf,
    faults::Faults,
    plan::USERS,
    writer::{Writer, Written},
};
use super::{
    state::{Asker, House, SMALL_HASHES, program},
    witness::Sample,
};
use crate::{
    bench::{clock::now, get::allow_open_files},
    step::{StepError, announce, say},
};

#[derive(Args)]
pub(crate) struct Subscribers {
    /// How many connections there are: four of them are of who writes, of who looks, of who never
    /// reads, and of who goes and comes back
    #[arg(default_value_t = 10_000, value_parser = value_parser!(u64).range(200..=10_000))]
    connections: u64,

    /// How many durable changes they hear of
    #[arg(long, default_value_t = 300, value_parser = value_parser!(u64).range(100..))]
    changes: u64,

    /// The program of State, instead of a release build
    #[arg(long)]
    program: Option<PathBuf>,

    /// Throw away the event of this number before it is looked at, to see that this is noticed
    #[arg(long, value_name = "N")]
    lose: Option<usize>,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubscribersError {
    #[error(transparent)]
    Build(#[from] StepError),

    #[error("cannot have so many files open")]
    Files(#[source] Errno),

    #[error("State cannot be spoken to")]
    Speak(#[from] io::Error),

    #[error("the writer has panicked")]
    Writer,

    #[error("{0} of the promises do not hold")]
    Broken(usize),
}

/// How long who never reads keeps its stream, instead of half a minute.
const DEAF_PATIENCE: &str = "5s";

/// Who is no part of the crowd.
const OTHERS: u64 = 4;

/// How long State is given to forget who has gone, and who never reads.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at meanwhile.
const PERIOD: Duration = Duration::from_millis(50);

/// Has everybody subscribe and hear, and tells what came of it.
pub(crate) fn subscribers(arguments: &Subscribers) -> Result<(), SubscribersError> {
    let count = (arguments.connections - OTHERS) as usize;
    // State gives half of them to its guests.
    allow_open_files(2 * arguments.connections).map_err(SubscribersError::Files)?;
    let program = program(arguments.program.as_deref())?;
    let house = start(&program, arguments.connections)?;
    let mut root = house.root()?;
    let tokens = furnish(&mut root)?;
    let idle = Sample::of(house.pid()).unwrap_or_default();

    announce(&format!("{count} subscribe"));
    let deaf = Deaf::subscribe(house.address(), &tokens[plan::DEAF])?;
    let faults = Faults::losing(arguments.lose.map(|it| count + it));
    let mut crowd = Crowd::gather(house.address(), tokens, count, faults)?;
    let full = Sample::of(house.pid()).unwrap_or_default();
    say(&format!(
        "{:.1} KiB for each session; {:.1} MiB and {} descriptors in all",
        full.rss_kb.saturating_sub(idle.rss_kb) as f64 / count as f64,
        full.rss_kb as f64 / 1024.0,
        full.descriptors
    ));

    announce(&format!("{} changes", arguments.changes));
    let written = hear_all(&mut crowd, &house, arguments.changes as usize)?;
    crowd.compare()?;
    judge_news(&mut crowd, &written);
    let reading = crowd.readers.iter().filter(|it| !it.is_revoked).count();
    judge_deaf(&mut crowd.faults, &mut root, deaf, reading)?;

    announce("all leave");
    let Crowd { readers, mut faults, .. } = crowd;
    drop(readers);
    let left = settled(house.pid(), idle.descriptors);
    let found = format!("{} after all have left, {} at first", left.descriptors, idle.descriptors);
    say(&format!("descriptors: {found}; {:.1} MiB", left.rss_kb as f64 / 1024.0));
    faults.hold(left.descriptors <= idle.descriptors, "descriptors are left", &found);
    match faults.tell() {
        0 => say("all promises hold"),
        broken => return Err(SubscribersError::Broken(broken)),
    }
    Ok(())
}

/// Starts State with room for so many.
fn start(program: &Path, connections: u64) -> io::Result<House> {
    let connections = connections.to_string();
    let flags = ["--anonymous", "--queue-patience", DEAF_PATIENCE, "--connections", &connections];
    House::start(program, "subscribers", &[&flags[..], &SMALL_HASHES].concat())
}

/// Makes the tree and the users; a token of each.
fn furnish(root: &mut Asker) -> io::Result<Vec<String>> {
    root.ask("update", &json!([["doc"], plan::doc()]))?;
    root.ask("update", &json!([["big"], ""]))?;
    root.ask("updatePerms", &json!([["doc"], "*", { "lvl": 2 }]))?;
    let mut tokens = Vec::with_capacity(USERS);
    for user in (0..USERS).map(plan::name) {
        root.ask("createUser", &json!([user, null]))?;
        let token = root.ask("createToken", &json!([{ "user": user }]))?;
        tokens.push(token["token"].as_str().unwrap_or_default().to_owned());
    }
    root.ask("updatePerms", &json!([["big"], plan::name(plan::DEAF), { "lvl": 2 }]))?;
    Ok(tokens)
}

/// Lets the writer write until everybody has heard all of it; one goes and comes back meanwhile.
fn hear_all(crowd: &mut Crowd, house: &House, changes: usize) -> Result<Written, SubscribersError> {
    let (audience, returning) = (crowd.audience(), crowd.readers.len());
    crowd.join(returning, Some(plan::RETURNING))?;
    crowd.hear_until(|it| it.readers[returning].syncs > 0)?;
    let progress = Arc::new(AtomicUsize::new(0));
    let writer = Writer::new(house.root()?, audience, Arc::clone(&progress));
    let begun = now();
    let writer = thread::spawn(move || writer.write(changes));
    hear_to(crowd, &writer, &progress, changes / 2)?;
    crowd.leave(returning)?;
    hear_to(crowd, &writer, &progress, changes / 2 + changes / 10)?;
    crowd.come_back(returning, plan::RETURNING)?;
    hear_to(crowd, &writer, &progress, usize::MAX)?;
    let mut written = writer.join().map_err(|_| SubscribersError::Writer)??;
    crowd.hear_until(|it| it.readers.iter().all(|it| it.is_done()))?;
    written.waits.sort_unstable();
    let wait = |share: f64| written.waits[(written.waits.len() as f64 * share) as usize];
    say(&format!(
        "heard by all after {:.1} s; half of the changes were durable within {:.1} ms, 99 of 100 within {:.1} ms",
        (now() - begun).as_secs_f64(),
        wait(0.5).as_secs_f64() * 1e3,
        wait(0.99).as_secs_f64() * 1e3
    ));
    let syncs = crowd.readers[returning].syncs;
    let shown = format!("{syncs} times");
    crowd.faults.hold(syncs == 1, "who came back was told everything anew", &shown);
    Ok(written)
}

/// Hears until the writer has come so far, or has failed.
fn hear_to<T>(
    crowd: &mut Crowd,
    writer: &JoinHandle<T>,
    progress: &AtomicUsize,
    far: usize,
) -> io::Result<()> {
    while progress.load(Relaxed) < far && !writer.is_finished() {
        crowd.hear()?;
    }
    Ok(())
}

/// Whether each was told all messages to its user.
fn judge_news(crowd: &mut Crowd, written: &Written) {
    for shown in &written.unheard {
        crowd.faults.hold(false, "a message did not go to all of a user", shown);
    }
    for reader in &crowd.readers {
        let sent = plan::user(reader.number).map_or(0, |it| written.news[it]);
        if reader.news != sent && reader.number < crowd.readers.len() - 1 {
            let shown = format!("{} of {sent}", reader.news);
            crowd.faults.note(reader.number, "was not told all messages", &shown);
        }
    }
}

/// Whether the one that never reads has lost its stream, and what was kept for it.
fn judge_deaf(faults: &mut Faults, root: &mut Asker, deaf: Deaf, reading: usize) -> io::Result<()> {
    let latest = now() + PATIENCE;
    let stats = loop {
        let stats = root.ask("stats", &json!([]))?;
        if stats["subscriptions"] == reading || now() > latest {
            break stats;
        }
        sleep(PERIOD);
    };
    let shown = format!("{} subscriptions of {reading}", stats["subscriptions"]);
    faults.hold(stats["subscriptions"] == reading, "who never reads keeps its stream", &shown);
    faults.hold(stats["eventsDropped"] != 0, "nothing was dropped for who never reads", "");
    let end = deaf.listen().unwrap_or_else(|| "closed".into());
    say(&format!("who never reads: {end}, {} events dropped", stats["eventsDropped"]));
    let is_told = end == "closed" || end.contains("lagged");
    faults.hold(is_told, "who never reads was ended for another reason", &end);
    Ok(())
}

/// What State holds once it has forgotten everybody, or has had time to.
fn settled(pid: u32, descriptors: u64) -> Sample {
    let latest = now() + PATIENCE;
    loop {
        let sample = Sample::of(pid).unwrap_or_default();
        if sample.descriptors <= descriptors || now() > latest {
            return sample;
        }
        sleep(PERIOD);
    }
}
