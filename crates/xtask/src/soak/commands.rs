//! `cargo xtask soak commands`: every command of State with arguments that are right and such as
//! are not, over Common TCP and WebSocket, while somebody else does what is right and is told so.

mod phrase;
mod tcp;
mod websocket;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};

use self::{phrase::Phrases, tcp::Tcp, websocket::WebSocket};
use super::{
    hostile::blows::Dice,
    state::{Asker, House, SMALL_HASHES, program},
};
use crate::{
    bench::{clock::now, server::free_port},
    step::{StepError, announce, say},
};

#[derive(Args)]
pub(crate) struct Commands {
    /// How long strangers and users ask, and then how long ROOT does
    #[arg(default_value_t = 30)]
    seconds: u64,

    /// The program of State, instead of a release build
    #[arg(long)]
    program: Option<PathBuf>,

    /// What the dice begin with: the same number asks the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandsError {
    #[error(transparent)]
    Build(#[from] StepError),

    #[error("State cannot be spoken to")]
    Speak(#[from] io::Error),

    #[error("{0} of the promises do not hold")]
    Broken(usize),
}

/// A session that says one thing after another.
trait Session {
    /// Says something, and waits until what was said after it is answered.
    fn say(&mut self, name: &str, args: &str) -> io::Result<Answers>;
}

/// What was answered to one line.
#[derive(Default)]
struct Answers {
    count: usize,
    /// The code of the first one, if that is an error.
    code: Option<String>,
    /// There must be one.
    is_certain: bool,
    /// There is more than one where there may not be.
    is_doubled: bool,
    is_closed: bool,
}

/// What came of a session's questions.
#[derive(Default)]
struct Tally {
    /// How often each code came; empty where it was no error.
    codes: BTreeMap<String, usize>,
    closed: usize,
    broken: Vec<String>,
}

/// Sessions of each kind that ask at once.
const EACH: u64 = 2;

/// After so many questions a session says again who it is.
const LOGIN: u64 = 100;

/// Lines of the verdict that are shown.
const SHOWN: usize = 20;

/// Nobody is held back: it is not limits that are looked at.
const FLAGS: [&str; 10] = [
    "--anonymous",
    "--self-register",
    "--rate",
    "1000000000",
    "--burst",
    "1000000000",
    "--login-attempts",
    "1000000000",
    "--local-attempts",
    "1000000000",
];

/// Asks, and tells what came of it.
pub(crate) fn commands(arguments: &Commands) -> Result<(), CommandsError> {
    let program = program(arguments.program.as_deref())?;
    let mut broken = Vec::new();
    for is_root in [false, true] {
        let door = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?);
        let listen = ["--listen".to_owned(), door.to_string()];
        let flags = [&FLAGS[..], &SMALL_HASHES, &[&listen[0], &listen[1]]].concat();
        let mut house = House::start(&program, "commands", &flags)?;
        let tally = ask_all(&house, door, is_root, arguments)?;
        broken.extend(tally.broken);
        let log = house.log()?;
        broken.extend(log.lines().filter(|it| it.contains("panic")).map(str::to_owned));
        let (is_well, said) = house.check(&program)?;
        say(&format!("state check: {said}"));
        broken.extend((!is_well).then_some(said));
    }
    broken.iter().take(SHOWN).for_each(|it| say(&format!("BROKEN: {it}")));
    match broken.len() {
        0 => say("all promises hold"),
        count => return Err(CommandsError::Broken(count)),
    }
    Ok(())
}

/// Lets all of them ask for their time.
fn ask_all(
    house: &House,
    door: SocketAddrV4,
    is_root: bool,
    arguments: &Commands,
) -> Result<Tally, CommandsError> {
    let mut root = house.root()?;
    let phrases = Phrases::of(&root.ask("help", &json!([]))?);
    let who = if is_root { "ROOT" } else { "strangers and users" };
    announce(&format!("{} commands, asked by {who} for {} s", phrases.len(), arguments.seconds));
    let logins = furnish(&mut root, is_root)?;
    let (end, is_over) = (now() + Duration::from_secs(arguments.seconds), AtomicBool::new(false));
    let tally = thread::scope(|scope| -> io::Result<Tally> {
        let (phrases, is_over) = (&phrases, &is_over);
        let honest = scope.spawn(move || be_honest(root, is_root, is_over));
        let askers: Vec<_> = (0..EACH * 2)
            .map(|number| {
                let (login, dice) =
                    (logins[number as usize].clone(), Dice::new(number + arguments.seed));
                let connect = move || -> io::Result<Box<dyn Session>> {
                    Ok(match number % 2 {
                        0 => Box::new(Tcp::connect(house.address())?),
                        _ => Box::new(WebSocket::connect(door)?),
                    })
                };
                scope.spawn(move || ask(connect, &login, phrases, dice, || now() < end))
            })
            .collect();
        let mut all = Tally::default();
        for asker in askers {
            all.add(asker.join().map_err(|_| io::Error::other("an asker has panicked"))??);
        }
        is_over.store(true, Relaxed);
        let honest = honest.join().map_err(|_| io::Error::other("who is honest has panicked"))?;
        let rounds = honest.unwrap_or_else(|error| {
            all.broken.push(format!("who is honest was told {error}"));
            0
        });
        say(&format!("{rounds} rounds of who is honest"));
        Ok(all)
    })?;
    let asked: usize = tally.codes.values().sum();
    say(&format!("{asked} questions, {} connections closed; {:?}", tally.closed, tally.codes));
    Ok(tally)
}

/// Makes what is asked about; how each session logs in.
fn furnish(root: &mut Asker, is_root: bool) -> io::Result<Vec<String>> {
    root.ask("update", &json!([["open"], { "a": { "b": 1 }, "list": [1, 2] }]))?;
    root.ask("update", &json!([["hidden"], "nobody's"]))?;
    root.ask("createUser", &json!(["victim", "a secret"]))?;
    let mut logins = Vec::new();
    for number in 0..EACH * 2 {
        let user = format!("mallory{number}");
        let level = if is_root { 0 } else { 1 };
        root.ask("createUser", &json!([user, "a secret", { "level": level }]))?;
        root.ask("updatePerms", &json!([["open"], user, { "lvl": 4 }]))?;
        let token = root.ask("createToken", &json!([{ "user": user }]))?;
        logins.push(json!([token["token"]]).to_string());
    }
    Ok(logins)
}

/// Asks one thing after another for as long as `is_time`.
fn ask(
    connect: impl Fn() -> io::Result<Box<dyn Session>>,
    login: &str,
    phrases: &Phrases,
    mut dice: Dice,
    is_time: impl Fn() -> bool,
) -> io::Result<Tally> {
    let (mut tally, mut session) = (Tally::default(), connect()?);
    for asked in 0.. {
        if !is_time() {
            break;
        }
        let (name, args) = match asked % LOGIN {
            0 => ("auth".to_owned(), login.to_owned()),
            _ => phrases.any(&mut dice),
        };
        let answers = session.say(&name, &args).unwrap_or_else(|error| Answers {
            // A close by RST is one too.
            is_closed: error.kind() != io::ErrorKind::WouldBlock,
            is_certain: true,
            ..Answers::default()
        });
        if answers.is_closed {
            session = connect()?;
        }
        tally.take(&name, &args, answers);
    }
    Ok(tally)
}

/// Does what is right in a part of the tree of its own, and looks whether that is so; how often.
/// Where others are ROOT nothing is sure but that each question is answered, and in order.
fn be_honest(mut root: Asker, is_root: bool, is_over: &AtomicBool) -> io::Result<u64> {
    let mut rounds = 0;
    while !is_over.load(Relaxed) {
        rounds += 1;
        if root.ask("ping", &json!([rounds]))? != rounds {
            return Err(io::Error::other("another answer"));
        }
        if !is_root {
            root.ask("update", &json!([["own", "n"], rounds]))?;
            let own: Value = root.ask("get", &json!([["own"]]))?;
            let hidden = root.ask("get", &json!([["hidden"]]))?;
            if own != json!({ "n": rounds }) || hidden != "nobody's" {
                return Err(io::Error::other(format!("{own} and {hidden} in round {rounds}")));
            }
        }
    }
    Ok(rounds)
}

impl Answers {
    fn take(&mut self, answer: &str) {
        self.count += 1;
        if answer.starts_with("err") || answer.contains("\"error\":{") {
            let code = answer.split("\"code\":\"").nth(1).and_then(|it| it.split('"').next());
            self.code.get_or_insert_with(|| code.unwrap_or("?").to_owned());
        }
    }
}

impl Tally {
    fn take(&mut self, name: &str, args: &str, answers: Answers) {
        let Answers { count, code, is_certain, is_doubled, is_closed } = answers;
        let code = code.unwrap_or_default();
        let wrong = match () {
            () if code == "internal" => Some("is a fault of the daemon"),
            () if count == 0 && is_certain && !is_closed => Some("is not answered"),
            () if is_doubled => Some("is answered twice"),
            () => None,
        };
        self.broken.extend(wrong.map(|it| format!("`{name} {args}` {it}")));
        self.closed += usize::from(is_closed);
        *self.codes.entry(code).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        other
            .codes
            .into_iter()
            .for_each(|(code, times)| *self.codes.entry(code).or_default() += times);
        self.closed += other.closed;
        self.broken.extend(other.broken);
    }
}
