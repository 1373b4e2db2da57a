//! Random histories against what the table promises. The world around the child is played honestly,
//! by the rules at the head of `child.rs`, with late and senseless events strewn in.

use std::time::Duration;

use super::*;
use crate::definition::Leftovers;

/// How many histories. Short ones find what long ones do: every state is three events from rest.
const HISTORIES: u64 = 1_000_000;
const LONGEST: u64 = 24;

/// Xorshift: fast, and the same history for the same number.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    fn is(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The keeper, the clock and the slots, as one child sees them.
struct World {
    child: Child,
    chance: Chance,
    now: Instant,
    timer: Option<(Timer, Instant)>,
    has_slot: bool,
    /// A spawn is asked for and not answered.
    is_spawning: bool,
    /// The tree that runs, and whether its leader does.
    tree: Option<(Pid, bool)>,
    pids: Pid,
    state: State,
    removed: bool,
    need: Name,
}

impl World {
    fn new(definition: Arc<Definition>, seed: u64, need: Name, now: Instant) -> Self {
        Self {
            child: Child::new(definition),
            chance: Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now,
            timer: None,
            has_slot: false,
            is_spawning: false,
            tree: None,
            pids: 100,
            state: State::Down,
            removed: false,
            need,
        }
    }

    /// Something happens, most of the time something that can.
    fn happen(&mut self) {
        match self.chance.below(16) {
            0 | 1 => self.on(Event::Start),
            2 => self.on(Event::Stop),
            3 => self.on(Event::Restart),
            4 => self.ask(),
            5..=8 => self.answer(),
            9 | 10 => self.leader_ends(),
            11 => self.tree_ends(),
            12 | 13 => self.timer_ends(),
            14 => self.health(),
            _ => self.late(),
        }
    }

    fn ask(&mut self) {
        let need = self.need.clone();
        match self.chance.below(8) {
            0 => self.on(Event::Remove),
            1 | 2 => self.on(Event::Hurry),
            3 | 4 => self.on(Event::Returned { followed: need }),
            _ => {
                let has_failed = self.chance.is();
                self.on(Event::NeedLost { need, has_failed });
            }
        }
    }

    /// The manager or the keeper answers what was asked of it.
    fn answer(&mut self) {
        if self.is_spawning {
            self.is_spawning = false;
            if self.chance.below(4) > 0 {
                let pid = self.spawned();
                return self.on(Event::Spawned { pid });
            }
            let errno = [libc::ENOENT, libc::EAGAIN][self.chance.below(2) as usize];
            return self.on(Event::SpawnFailed { step: String::new(), errno });
        }
        match self.tree {
            Some((pid, true)) => self.on(Event::Ready { pid, port: None, note: None }),
            Some(_) => self.tree_ends(),
            None if self.has_slot => self.on(Event::Granted),
            None if self.state.is_at_rest() => {
                let (pid, is_ready) = (self.spawned(), self.chance.is());
                self.on(Event::Adopted { pid, port: None, is_ready });
            }
            None => {}
        }
    }

    fn spawned(&mut self) -> Pid {
        self.pids += 1;
        self.tree = Some((self.pids, true));
        self.pids
    }

    fn leader_ends(&mut self) {
        let Some((pid, true)) = self.tree else { return };
        let is_empty = self.chance.is();
        self.tree = (!is_empty).then_some((pid, false));
        let exit = [Exit::Code(0), Exit::Code(1), Exit::Code(78), Exit::Signal(9)];
        let exit = exit[self.chance.below(4) as usize];
        self.on(Event::Exited { pid, exit, is_empty });
    }

    fn tree_ends(&mut self) {
        let Some((pid, false)) = self.tree else { return };
        self.tree = None;
        self.on(Event::Empty { pid });
    }

    fn timer_ends(&mut self) {
        let Some((timer, at)) = self.timer.take() else { return };
        self.now = self.now.max(at);
        self.on(Event::Elapsed(timer));
    }

    fn health(&mut self) {
        let Some((pid, true)) = self.tree else { return };
        let is_well = self.chance.is();
        self.on(if is_well {
            Event::Well { pid }
        } else {
            Event::Sick { pid, note: String::new() }
        });
    }

    /// What belongs to a process or a timer that is no more, or to no state: nothing may come of
    /// it.
    fn late(&mut self) {
        let pid = 99;
        let event = match self.chance.below(6) {
            0 => Event::Elapsed(Timer(self.child.timers + 1)),
            1 => Event::Elapsed(Timer(0)),
            2 => Event::Exited { pid, exit: Exit::Unknown, is_empty: true },
            3 => Event::Empty { pid },
            4 => Event::Ready { pid, port: None, note: None },
            _ => Event::Found { pid, what: String::new() },
        };
        let actions = self.child.on(event, self.now, 0);
        assert!(actions.is_empty() && self.child.state() == self.state);
    }

    fn on(&mut self, event: Event) {
        let random = self.chance.next();
        let actions = self.child.on(event, self.now, random);
        let is_moved = self.child.state() != self.state;
        for action in actions {
            let is_exception = matches!(action, Action::Refuse { .. } | Action::Removed);
            assert!(is_moved || is_exception, "{action:?} without a change of state");
            self.perform(action);
        }
        assert_eq!(self.state.word(), self.child.state().word(), "a transition was not told");
        self.state = self.child.state();
        self.invariants();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn => {
                assert!(self.tree.is_none() && !self.is_spawning, "a second process");
                assert!(self.has_slot, "a spawn without a slot");
                self.is_spawning = true;
            }
            Action::AskSlot => assert!(!std::mem::replace(&mut self.has_slot, true), "asked twice"),
            Action::ReleaseSlot => self.has_slot = false,
            Action::SetTimer { timer, at } => {
                assert!(at >= self.now);
                self.timer = Some((timer, at));
            }
            Action::ProbeReady { pid } | Action::Signal { pid, .. } | Action::Kill { pid } => {
                assert_eq!(self.tree.map(|it| it.0), Some(pid), "a stranger");
            }
            Action::Forget { .. } => self.forget(),
            Action::Transition { from, to, .. } => {
                assert_eq!(from.word(), self.state.word());
                self.state = to;
            }
            Action::Removed => self.removed = true,
            Action::Refuse { .. } => {}
        }
    }

    /// What still runs may be let go only without its leader, and only if the definition says so.
    fn forget(&mut self) {
        let keeps = self.child.definition().leftovers == Leftovers::Keep;
        assert!(self.tree.is_none_or(|(_, leads)| keeps && !leads), "let go of a running tree");
        self.tree = None;
    }

    fn invariants(&self) {
        let state = self.state;
        assert_eq!(state.pid(), self.tree.map(|it| it.0), "{state:?} knows its tree");
        let waits = matches!(
            state,
            State::Starting { .. } | State::Stopping { .. } | State::Waiting { .. }
        );
        assert!(!waits || state.timer().is_some());
        if let Some(timer) = state.timer() {
            assert_eq!(self.timer.map(|it| it.0), Some(timer), "{state:?} waits for a set timer");
        }
        let spawning =
            matches!(state, State::Starting { pid: None, .. } | State::Stopping { pid: None, .. });
        assert_eq!(spawning, self.is_spawning, "{state:?} knows of its spawn");
        assert!(state != State::Pending || self.has_slot);
        assert!(!self.has_slot || state.wants_slot(), "{state:?} keeps a slot");
    }

    /// A stop is asked, and nothing else any more: it must end, however stubborn the tree is.
    fn stop(&mut self) {
        self.on(Event::Stop);
        let is_stubborn = self.chance.is();
        for _ in 0..12 {
            match self.state {
                State::Down => break,
                State::Stopping { pid: None, .. } => self.answer(),
                State::Stopping { phase: Phase::Asked | Phase::Killed, .. } if is_stubborn => {
                    self.timer_ends();
                }
                _ => {
                    self.leader_ends();
                    self.tree_ends();
                }
            }
        }
        assert_eq!(self.state, State::Down);
        assert!(self.tree.is_none() && !self.is_spawning && !self.has_slot);
    }
}

/// Every policy that the table asks about.
fn definitions() -> Vec<Arc<Definition>> {
    let mut all = vec![];
    for restart in ["always", "on-failure", "never"] {
        for ready in ["dae", "none", "delay=1s"] {
            for leftovers in ["kill", "keep"] {
                let mut it = Definition::new("/p".into());
                it.restart = restart.parse().unwrap();
                it.ready = ready.parse().unwrap();
                it.leftovers = leftovers.parse().unwrap();
                it.give_up = (leftovers == "keep").then(|| "1/1m".parse().unwrap());
                it.grace = if ready == "none" { Duration::ZERO } else { it.grace };
                all.push(Arc::new(it));
            }
        }
    }
    all
}

fn histories(seeds: impl Iterator<Item = u64>) {
    let (definitions, now) = (definitions(), Instant::now());
    let need = Name::new("State").unwrap();
    for seed in seeds {
        let definition = definitions[seed as usize % definitions.len()].clone();
        let mut world = World::new(definition, seed, need.clone(), now);
        for _ in 0..3 + seed % LONGEST {
            world.happen();
        }
        world.stop();
    }
}

#[test]
fn m_7_1_a_million_random_histories_keep_what_the_table_promises() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || histories((0..HISTORIES).filter(move |it| it % 2 == half)));
        }
    });
}
