//! Every fault, at every moment of a daemon's life, in every environment: in the end the listing
//! tells the truth, and nothing is left.
//!
//! All cells of an environment share a manager and are struck together: each daemon is brought to
//! its moment, the environment is made hostile, the faults strike, the environment is mended, and
//! each cell is judged. The everyday run has a quarter of the cells, `DAE_TEST_MATRIX=all` has them
//! all, and `DAE_TEST_CELL` those whose name contains it. `DAE_TEST_OUTPUT` says how many bytes the
//! fault `output` prints. `cargo xtask soak matrix` runs all cells with 1 GB.

mod cell;
mod environment;
mod witness;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use nix::{libc::O_NONBLOCK, sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use self::{
    cell::{FAULTS, Fault, MOMENTS, Moment, Outcome, expected, readiness, start_timeout},
    environment::Environment,
    witness::{Counts, living, truth},
};
use crate::harness::{Dae, Netcat, binary, eventually, patiently, workspace};

#[test]
fn matrix_with_the_manager_up() {
    run(Environment::Quiet);
}

#[test]
fn matrix_with_the_manager_killed() {
    run(Environment::ManagerKilled);
}

#[test]
fn matrix_with_the_disk_full() {
    run(Environment::DiskFull);
}

#[test]
fn matrix_with_descriptors_exhausted() {
    run(Environment::DescriptorsExhausted);
}

/// How many are starting at the same time: fewer than may, so that others can start.
const STARTING: usize = 3;

/// One daemon with one fault at one moment.
struct Cell {
    fault: Fault,
    moment: Moment,
    name: String,
    /// Its files, outside of the home: the disk of that may be full.
    dir: PathBuf,
    /// Its process before it is struck.
    before: Option<u32>,
    /// Who asks for its next start, from before there are no descriptors for that.
    client: Option<Netcat>,
}

fn run(environment: Environment) {
    let Some((_disk, dae)) = environment.home() else { return };
    let scratch = TempDir::with_prefix("matrix-").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut cells = cells(&scratch, environment);
    for cell in &cells {
        cell.install(&dae, taken.local_addr().unwrap().port());
    }
    let before = Counts::of(&dae);

    // Who stays `starting` keeps others from it.
    let middle = partition(&mut cells, Cell::holds_slot);
    let (others, starting) = cells.split_at_mut(middle);
    let mut wrong = strike(&dae, others, environment);
    for few in starting.chunks_mut(STARTING) {
        wrong.extend(strike(&dae, few, environment));
    }

    wrong.extend(before.grown(&dae));
    println!("matrix, {environment:?}: {} cells, {} wrong", cells.len(), wrong.len());
    assert!(wrong.is_empty(), "{environment:?}:\n{}", wrong.join("\n"));
}

/// Moves those for whom it is so to the end, and says where they begin.
fn partition(cells: &mut [Cell], is_so: impl Fn(&Cell) -> bool) -> usize {
    cells.sort_by_key(&is_so);
    cells.partition_point(|it| !is_so(it))
}

/// Has the faults happen to these daemons, all at once; says what is wrong then.
fn strike(dae: &Dae, cells: &mut [Cell], environment: Environment) -> Vec<String> {
    for cell in &mut *cells {
        cell.bring(dae);
    }
    let mut client = dae.unix();
    for cell in cells.iter().filter(|it| it.moment == Moment::Stopping) {
        client.send(format!("stop [\"{}\"]\n", cell.name)).unwrap();
        dae.eventually(&cell.name, |it| it["state"] == "stopping");
    }
    let hostile = environment.begin(dae);
    cells.iter_mut().for_each(|it| it.strike(environment));
    for cell in cells.iter().filter(|_| !environment.may_hinder()) {
        eventually(&format!("{} is struck", cell.name), || cell.is_struck().then_some(()));
    }
    environment.dwell();
    environment.end(dae, hostile);

    // All together have the patience of one: they come to their ends side by side.
    let start = Instant::now();
    let judge = |it: &Cell| it.judge(dae, environment, start);
    let judged: Vec<_> = cells.iter().filter_map(judge).collect();
    let mut client = dae.unix();
    for cell in &mut *cells {
        cell.client = None;
        client.send(format!("stop#{0} [\"{0}\"]\n", cell.name)).unwrap();
    }
    drop(client);
    judged.into_iter().chain(cells.iter().filter_map(|it| it.end(dae))).collect()
}

fn cells(scratch: &TempDir, environment: Environment) -> Vec<Cell> {
    let is_whole = std::env::var_os("DAE_TEST_MATRIX").is_some();
    let pairs = FAULTS.into_iter().enumerate().flat_map(|(row, fault)| {
        // One moment of each fault, another one in each environment.
        let everyday = (row + environment as usize) % MOMENTS.len();
        let moments = MOMENTS.into_iter().enumerate();
        let moments = moments.filter(move |(column, _)| is_whole || *column == everyday);
        moments.map(move |(_, moment)| (fault, moment))
    });
    let only = std::env::var("DAE_TEST_CELL").unwrap_or_default();
    let cell = |(fault, moment): (Fault, Moment)| {
        let name = format!("{}-{}", fault.word(), moment.word());
        let dir = scratch.path().join(&name);
        Cell { fault, moment, name, dir, before: None, client: None }
    };
    pairs.map(cell).filter(|it| it.name.contains(&only)).collect()
}

impl Cell {
    fn install(&self, dae: &Dae, taken: u16) {
        fs::create_dir(&self.dir).unwrap();
        fs::write(self.dir.join("lives"), "0").unwrap();
        mkfifo(&self.dir.join("strike"), Mode::S_IRWXU).unwrap();
        let program = self.dir.join("program");
        fs::copy(workspace().join("tests/programs/faulty.sh"), &program).unwrap();
        let output = std::env::var("DAE_TEST_OUTPUT").unwrap_or_else(|_| (32 << 20).to_string());
        let ready = readiness(self.fault, self.moment);
        let mut definition = json!({
            "program": program,
            "ready": ready,
            "start_timeout": start_timeout(self.fault, self.moment),
            "grace": "3s",
            "backoff": if self.moment == Moment::Waiting { "1h..1h" } else { "20ms..2s" },
            "log_max": "4M",
            "log_keep": 2,
            "no_start": true,
            // Until its turn comes: the next manager starts who is enabled.
            "enabled": false,
            "env": {
                "FAULT": self.fault.word(), "MOMENT": self.moment.word(), "READY": ready,
                "CELL": self.dir, "SAMPLE": binary("sample"), "OUTPUT": output,
            },
        });
        if self.fault == Fault::Port {
            definition["port"] = taken.into();
        }
        dae.install(&self.name, &definition);
    }

    /// Whether it starts without an end.
    fn holds_slot(&self) -> bool {
        self.moment == Moment::Starting
            || self.fault == Fault::Slow && self.moment == Moment::Stopping
    }

    /// Brings the daemon to where the fault is to strike.
    fn bring(&mut self, dae: &Dae) {
        dae.ask("enable", &json!([self.name])).unwrap();
        let mut client = dae.unix();
        client.send(format!("start [\"{}\"]\n", self.name)).unwrap();
        self.client = Some(dae.unix());
        self.client.as_mut().unwrap().ask("ping", &json!([]));
        let wanted = match self.moment {
            Moment::Stopping if self.fault == Fault::Slow => "starting",
            Moment::Stopping => "up",
            Moment::Starting => "starting",
            Moment::Up => "up",
            Moment::Waiting => "waiting",
        };
        let has_pid = self.moment != Moment::Waiting;
        let is_there = |it: &Value| it["state"] == wanted && it["pid"].is_u64() == has_pid;
        let listed = dae.eventually(&self.name, is_there);
        self.before = listed["pid"].as_u64().map(|it| it.try_into().unwrap());
        if self.moment == Moment::Stopping {
            let trapped = self.dir.join("trapped");
            eventually("its trap is set", || trapped.exists().then_some(()));
        }
    }

    /// Lets the fault happen.
    fn strike(&mut self, environment: Environment) {
        if self.moment != Moment::Waiting {
            return eventually(&format!("{} listens or is gone", self.name), || {
                let mut options = OpenOptions::new();
                let pipe =
                    options.write(true).custom_flags(O_NONBLOCK).open(self.dir.join("strike"));
                let is_gone = living(self.before.unwrap()).is_none();
                (pipe.is_ok_and(|mut it| it.write_all(b"now\n").is_ok()) || is_gone).then_some(())
            });
        }
        if self.fault == Fault::Missing {
            fs::remove_file(self.dir.join("program")).unwrap();
        }
        // The next manager starts it by itself.
        if environment != Environment::ManagerKilled {
            let client = self.client.as_mut().unwrap();
            client.send(format!("start [\"{}\"]\n", self.name)).unwrap();
        }
    }

    fn is_struck(&self) -> bool {
        let is_next =
            matches!(self.fault, Fault::Slow | Fault::Name | Fault::Port | Fault::Missing);
        let is_gone = self.before.is_none_or(|it| living(it).is_none());
        self.dir.join("struck").exists() || is_next || is_gone
    }

    /// What is wrong with what has become of it.
    fn judge(&self, dae: &Dae, environment: Environment, start: Instant) -> Option<String> {
        let is_killed = environment == Environment::ManagerKilled;
        let mut outcome = expected(self.fault, self.moment);
        // Its grace was over before the manager was killed: the next one starts it anew.
        if is_killed && self.moment == Moment::Stopping && !self.dir.join("struck").exists() {
            outcome = Outcome { note: "", is_same: Some(false), ..outcome };
            outcome.state = if self.fault == Fault::Slow { "starting" } else { "up" };
        }
        let is_hindered = || {
            let lives = fs::read_to_string(self.dir.join("lives")).unwrap_or_default();
            self.moment == Moment::Waiting && lives.trim() == "1" && environment.may_hinder()
        };
        if is_hindered() {
            dae.unix().send(format!("start [\"{}\"]\n", self.name)).unwrap();
        }
        patiently(start, || {
            let listed = truth(dae, &self.name)?;
            let note = listed["note"].as_str().unwrap_or_default();
            let pid = listed["pid"].as_u64().map(|it| u32::try_from(it).unwrap());
            let is_as_wanted = listed["state"] == outcome.state
                && note.contains(outcome.note)
                && outcome.is_same.is_none_or(|it| it == (pid == self.before));
            is_as_wanted.then_some(()).ok_or_else(|| format!("{listed}, not {outcome:?}"))
        })
        .map_err(|found| format!("  {}: {found}", self.name))
        .err()
    }

    /// Ends it; says what it left behind.
    fn end(&self, dae: &Dae) -> Option<String> {
        dae.ask("disable", &json!([self.name])).unwrap();
        let answer = dae.ask("stop", &json!([self.name, { "timeout": 60_000 }]));
        let listed = truth(dae, &self.name);
        match (answer, listed) {
            (Ok(_), Ok(listed)) if listed["state"] == "down" => None,
            (answer, listed) => Some(format!("  {}: stop: {answer:?}, {listed:?}", self.name)),
        }
    }
}
