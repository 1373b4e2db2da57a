//! `cargo xtask soak churn`: what a manager meets in a year, in an hour.
//!
//! 200 daemons; every second one is killed; some come and go; `dae logs -f` and watchers come and
//! go. In the end memory and descriptors are as they were, and the history has every kill with its
//! pid and its signal.

mod events;
mod home;

use std::{
    collections::VecDeque,
    io,
    process::{Child, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use self::{
    events::Kill,
    home::{Home, Line},
};
use super::witness::{Sample, Samples, word};
use crate::step::{StepError, announce, say};

/// How many daemons there are.
const DAEMONS: usize = 200;

/// How many of them are `Sample`s, which tell themselves that they are ready.
const SAMPLES: usize = 20;

/// How many followers and watchers there are at most, each.
const GUESTS: usize = 10;

/// What ends a daemon; none of them dumps a core.
const SIGNALS: [Signal; 3] = [Signal::KILL, Signal::TERM, Signal::USR1];

/// How long everything may take to be up again at the end.
const PATIENCE: u32 = 120;

/// Why the churn did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChurnError {
    #[error(transparent)]
    Step(#[from] StepError),

    #[error("the manager cannot be asked")]
    Ask(#[from] io::Error),

    #[error("the manager answers `{0}`")]
    Refused(String),

    #[error("not all daemons came up again")]
    Down,

    #[error("something grew, or something is missing: see the table")]
    Failed,
}

/// Everything that comes and goes.
struct Churn {
    home: Home,
    line: Line,
    random: u64,
    installed: usize,
    kills: Vec<Kill>,
    followers: VecDeque<Child>,
    watchers: VecDeque<Line>,
    manager: Samples,
    keeper: Samples,
}

/// Runs for so many minutes, and judges.
pub(crate) fn churn(minutes: u64) -> Result<(), ChurnError> {
    let home = Home::start()?;
    let line = home.connect()?;
    let mut churn = Churn {
        home,
        line,
        random: 0x9E37_79B9_7F4A_7C15,
        installed: 0,
        kills: vec![],
        followers: VecDeque::new(),
        watchers: VecDeque::new(),
        manager: Samples::default(),
        keeper: Samples::default(),
    };
    let outcome = churn.run(minutes);
    churn.followers.iter_mut().for_each(end);
    churn.home.end()?;
    outcome
}

impl Churn {
    fn run(&mut self, minutes: u64) -> Result<(), ChurnError> {
        announce(&format!("{DAEMONS} daemons, {minutes} minutes"));
        while self.installed < DAEMONS {
            self.install()?;
        }
        for second in 0..minutes * 60 {
            self.second(second)?;
            thread::sleep(Duration::from_secs(1));
        }
        self.settle()?;
        self.judge()
    }

    fn second(&mut self, second: u64) -> Result<(), ChurnError> {
        self.crash()?;
        if second.is_multiple_of(5) {
            self.uninstall()?;
            self.install()?;
        }
        if second.is_multiple_of(3) {
            self.follow()?;
        }
        if second.is_multiple_of(2) {
            self.watch()?;
        }
        if second.is_multiple_of(5) {
            self.sample()?;
        }
        if second.is_multiple_of(60) {
            let [manager, keeper] = [&self.manager, &self.keeper].map(Samples::last);
            say(&format!(
                "{:>4} min  {} kills  manager {} kB, {} fds  keeper {} kB, {} fds",
                second / 60,
                self.kills.len(),
                manager.rss_kb,
                manager.descriptors,
                keeper.rss_kb,
                keeper.descriptors,
            ));
        }
        Ok(())
    }

    fn install(&mut self) -> Result<(), ChurnError> {
        let name = format!("Churn{}", self.installed);
        let program = match self.installed.is_multiple_of(DAEMONS / SAMPLES) {
            true => json!({ "program": self.home.sample() }),
            false => json!({
                "program": "/bin/sh", "ready": "none",
                "args": ["-c", "echo \"I am $$\"; exec sleep 100000"],
            }),
        };
        self.line.ask("install", &json!([name, program]))?;
        self.installed += 1;
        Ok(())
    }

    fn uninstall(&mut self) -> Result<(), ChurnError> {
        let Some((name, _)) = self.any_up()? else { return Ok(()) };
        self.line.ask("uninstall", &json!([name, { "purge": true }]))?;
        Ok(())
    }

    /// Kills one that is up.
    fn crash(&mut self) -> Result<(), ChurnError> {
        let Some((name, pid)) = self.any_up()? else { return Ok(()) };
        let signal = SIGNALS[self.below(SIGNALS.len())];
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let at_ms = now_ms();
        if process.is_some_and(|it| kill_process(it, signal).is_ok()) {
            self.kills.push(Kill { name, pid, signal: signal.as_raw(), at_ms });
        }
        Ok(())
    }

    fn any_up(&mut self) -> Result<Option<(String, u64)>, ChurnError> {
        let listed = self.line.ask("list", &json!([{ "own": true }]))?;
        let is_up = |it: &&Value| it["state"] == "up";
        let up: Vec<&Value> = listed.as_array().into_iter().flatten().filter(is_up).collect();
        if up.is_empty() {
            return Ok(None);
        }
        let one = up[self.below(up.len())];
        Ok(one["name"].as_str().map(str::to_owned).zip(one["pid"].as_u64()))
    }

    fn follow(&mut self) -> Result<(), ChurnError> {
        let Some((name, _)) = self.any_up()? else { return Ok(()) };
        let mut dae = self.home.dae();
        dae.args(["logs", "-f", &name]).stdout(Stdio::null()).stderr(Stdio::null());
        self.followers.push_back(dae.spawn()?);
        if self.followers.len() > GUESTS
            && let Some(mut oldest) = self.followers.pop_front()
        {
            end(&mut oldest);
        }
        Ok(())
    }

    /// A guest that asks for everything and never reads.
    fn watch(&mut self) -> Result<(), ChurnError> {
        let mut line = self.home.connect()?;
        line.send("watch", &json!([]))?;
        self.watchers.push_back(line);
        if self.watchers.len() > GUESTS {
            self.watchers.pop_front();
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<(), ChurnError> {
        let (manager, keeper) = self.home.processes(&mut self.line)?;
        self.manager.push(Sample::of(manager).unwrap_or_default());
        self.keeper.push(Sample::of(keeper).unwrap_or_default());
        Ok(())
    }

    /// Waits until all are up again.
    fn settle(&mut self) -> Result<(), ChurnError> {
        self.followers.iter_mut().for_each(end);
        self.followers.clear();
        self.watchers.clear();
        for _ in 0..PATIENCE {
            let listed = self.line.ask("list", &json!([{ "all": true, "own": true }]))?;
            let listed = listed.as_array().into_iter().flatten();
            let states: Vec<&str> = listed.filter_map(|it| it["state"].as_str()).collect();
            if states.len() == DAEMONS && states.iter().all(|it| *it == "up") {
                self.sample()?;
                return Ok(());
            }
            thread::sleep(Duration::from_secs(1));
        }
        Err(ChurnError::Down)
    }

    fn judge(&self) -> Result<(), ChurnError> {
        let events = self.home.events()?;
        let missing = events::missing(&events, &self.kills);
        let gaps = events::gaps(&events);
        let (manager, is_manager_flat) = self.manager.verdict("manager");
        let (keeper, is_keeper_flat) = self.keeper.verdict("keeper");
        say("         quantity        first     last quarter");
        manager.iter().chain(&keeper).for_each(|it| say(it));
        let (kills, seen) = (self.kills.len(), self.kills.len() - missing.len());
        say(&format!(
            "{kills} kills, {seen} in the history, with a new process after each: {}",
            word(missing.is_empty())
        ));
        say(&format!("{} events, {gaps} gaps in their numbers: {}", events.len(), word(gaps == 0)));
        missing.iter().take(10).for_each(|it| say(&format!("missing: {it:?}")));
        let is_well = is_manager_flat && is_keeper_flat && missing.is_empty() && gaps == 0;
        if is_well { Ok(()) } else { Err(ChurnError::Failed) }
    }

    /// A number below `limit`; the same ones in each run.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % limit as u64).unwrap_or_default()
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    child.kill().ok();
    child.wait().ok();
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
