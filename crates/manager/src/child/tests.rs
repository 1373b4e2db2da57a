//! Each row of the table, by value.

use std::time::Duration;

use Action::{AskSlot, Forget, Kill, ProbeReady, Refuse, ReleaseSlot, Removed, Signal, Spawn};

use super::*;
use crate::definition::{Leftovers, Ready, Restart};

const PID: Pid = 4242;
const SECOND: Duration = Duration::from_secs(1);
/// Chance without jitter.
const EVEN: u64 = u64::MAX / 2;

/// A child and its clock; all that was done since the last look.
struct Scene {
    child: Child,
    now: Instant,
    timer: Option<(Timer, Instant)>,
    actions: Vec<Action>,
    path: Vec<&'static str>,
}

/// A child that was defined so.
fn scene(define: impl FnOnce(&mut Definition)) -> Scene {
    let mut definition = Definition::new("/bin/sample".into());
    define(&mut definition);
    let child = Child::new(Arc::new(definition));
    Scene { child, now: Instant::now(), timer: None, actions: vec![], path: vec![] }
}

fn plain() -> Scene {
    scene(|_| {})
}

impl Scene {
    fn on(mut self, event: Event) -> Self {
        for action in self.child.on(event, self.now, EVEN) {
            match action {
                Action::SetTimer { timer, at } => self.timer = Some((timer, at)),
                Action::Transition { from, to, .. } => {
                    assert!(self.path.last().is_none_or(|it| *it == from.word()));
                    self.path.push(to.word());
                }
                other => self.actions.push(other),
            }
        }
        self
    }

    /// Lets the timer run out; how long that takes must be `after`.
    #[track_caller]
    fn elapse(mut self, after: Duration) -> Self {
        let (timer, at) = self.timer.expect("a timer is set");
        let took = at - self.now;
        assert!(took.abs_diff(after) < Duration::from_millis(1), "{took:?}, not {after:?}");
        assert_eq!(self.child.state().timer(), Some(timer), "the timer is awaited");
        self.now = at;
        self.on(Event::Elapsed(timer))
    }

    /// Forgets what was done so far.
    fn then(mut self) -> Self {
        self.actions.clear();
        self.path.clear();
        self
    }

    fn starting(self) -> Self {
        self.on(Event::Start).on(Event::Granted).on(Event::Spawned { pid: PID }).then()
    }

    fn up(self) -> Self {
        self.starting().on(ready()).then()
    }

    fn waiting(self) -> Self {
        self.up().on(exited(Exit::Code(1))).then()
    }

    fn stopping(self) -> Self {
        self.up().on(Event::Stop).then()
    }

    fn stuck(self) -> Self {
        self.stopping().elapse(10 * SECOND).elapse(5 * SECOND).then()
    }

    fn failed(self) -> Self {
        self.on(Event::Start).on(Event::Granted).on(spawn_failed(libc::ENOENT)).then()
    }

    /// What was done since, the states gone through, and the note.
    #[track_caller]
    fn check(self, path: &[&str], actions: &[Action], note: Option<&str>) -> Self {
        assert_eq!(self.path, path);
        assert_eq!(self.actions, actions);
        assert_eq!(self.child.note(), note);
        self.then()
    }

    #[track_caller]
    fn unchanged(self) -> Self {
        let note = self.child.note().map(str::to_owned);
        self.check(&[], &[], note.as_deref())
    }
}

fn ready() -> Event {
    Event::Ready { pid: PID, port: Some(4000), note: None }
}

fn exited(exit: Exit) -> Event {
    Event::Exited { pid: PID, exit, is_empty: true }
}

fn exited_with_leftovers() -> Event {
    Event::Exited { pid: PID, exit: Exit::Code(1), is_empty: false }
}

fn empty() -> Event {
    Event::Empty { pid: PID }
}

fn spawn_failed(errno: i32) -> Event {
    Event::SpawnFailed { step: "cannot exec".into(), errno }
}

fn lost(has_failed: bool) -> Event {
    Event::NeedLost { need: Name::new("State").unwrap(), has_failed }
}

fn returned() -> Event {
    Event::Returned { followed: Name::new("State").unwrap() }
}

fn signal() -> Action {
    Signal { pid: PID, signal: StopSignal::TERM }
}

fn forget() -> Action {
    Forget { pid: PID }
}

fn kill() -> Action {
    Kill { pid: PID }
}

#[test]
fn start_of_what_is_at_rest_asks_for_a_slot() {
    plain().on(Event::Start).check(&["pending"], &[AskSlot], None);
    plain().on(Event::Restart).check(&["pending"], &[AskSlot], None);
    plain().failed().on(Event::Start).check(&["pending"], &[AskSlot], None);
}

#[test]
fn a_slot_leads_to_a_spawn_and_readiness_gives_it_back() {
    let scene = plain().on(Event::Start).then();
    let scene = scene.on(Event::Granted).check(&["starting"], &[Spawn], None);
    let scene = scene.on(Event::Spawned { pid: PID }).check(&[], &[ProbeReady { pid: PID }], None);
    let scene = scene.on(ready()).check(&["up"], &[ReleaseSlot], None);
    assert_eq!(scene.child.state().port(), Some(4000));
}

#[test]
fn readiness_without_a_probe_comes_from_the_spawn_or_the_clock() {
    let spawned = |ready| {
        let scene = scene_of(ready).on(Event::Start).on(Event::Granted).then();
        scene.on(Event::Spawned { pid: PID })
    };
    spawned(Ready::None).check(&["up"], &[ReleaseSlot], None);
    let delayed = spawned(Ready::Delay(3 * SECOND)).check(&[], &[], None);
    delayed.elapse(3 * SECOND).check(&["up"], &[ReleaseSlot], None);
}

#[test]
fn what_is_odd_about_a_ready_daemon_is_noted() {
    let note = Some("calls itself `Simple`".to_owned());
    let scene = plain().starting().on(Event::Ready { pid: PID, port: None, note: note.clone() });
    scene.check(&["up"], &[ReleaseSlot], note.as_deref());
}

#[test]
fn a_pending_child_goes_down_with_what_it_needs() {
    let note = Some("needs `State`, which has failed");
    plain().on(Event::Start).then().on(lost(true)).check(&["down"], &[ReleaseSlot], note);
    plain().waiting().on(lost(true)).check(&["down"], &[], note);
}

#[test]
fn a_running_child_is_stopped_with_what_it_needs() {
    let note = Some("needs `State`, which was stopped");
    let scene = plain().up().on(lost(false)).check(&["stopping"], &[signal()], note);
    scene.on(exited(Exit::Signal(15))).check(&["down"], &[forget()], note);
    let scene = plain().up().on(Event::Restart).on(lost(false)).on(exited(Exit::Code(0)));
    assert_eq!(scene.child.state(), State::Down, "nor does a restart win against it");
}

#[test]
fn a_lasting_cause_fails_at_once() {
    let spawning = || plain().on(Event::Start).on(Event::Granted).then();
    let note = Some("cannot exec: No such file or directory (os error 2)");
    spawning().on(spawn_failed(libc::ENOENT)).check(&["failed"], &[ReleaseSlot], note);

    let note = Some("exit 78: it cannot run as it is configured");
    let scene = plain().starting().on(exited(Exit::Code(78)));
    scene.check(&["failed"], &[forget(), ReleaseSlot], note);
    plain().up().on(exited(Exit::Code(78))).check(&["waiting"], &[forget()], Some("exit 78"));
}

#[test]
fn a_passing_cause_is_tried_again() {
    let scene = plain().on(Event::Start).on(Event::Granted).then().on(spawn_failed(libc::EAGAIN));
    let note = Some("cannot exec: Resource temporarily unavailable (os error 11)");
    let scene = scene.check(&["waiting"], &[ReleaseSlot], note);
    scene.elapse(SECOND / 10).check(&["pending"], &[AskSlot], note);
}

#[test]
fn an_exit_while_starting_waits_by_the_policy() {
    let actions = [forget(), ReleaseSlot];
    let exit =
        |restart, code| scene(|it| it.restart = restart).starting().on(exited(Exit::Code(code)));
    exit(Restart::Always, 1).check(&["waiting"], &actions, Some("exit 1"));
    exit(Restart::Always, 0).check(&["waiting"], &actions, Some("exit 0"));
    exit(Restart::OnFailure, 0).check(&["down"], &actions, Some("exit 0"));
    exit(Restart::Never, 1).check(&["failed"], &actions, Some("exit 1"));
}

#[test]
fn a_silent_start_is_stopped_first_and_tried_again_then() {
    let scene = plain().starting().elapse(10 * SECOND);
    let note = Some("did not answer `dae` within 10 s; listens on nothing");
    let scene = scene.check(&["stopping"], &[ReleaseSlot, signal()], note);
    let scene = scene.on(exited(Exit::Signal(15))).check(&["waiting"], &[forget()], note);
    scene.elapse(SECOND / 10).check(&["pending"], &[AskSlot], note);
}

#[test]
fn a_silent_start_says_what_was_found() {
    let found = |what: &str| Event::Found { pid: PID, what: what.into() };
    let scene = plain().starting().on(found("port 7 answers with another secret"));
    let note = Some("did not answer `dae` within 10 s; port 7 answers with another secret");
    scene.elapse(10 * SECOND).check(&["stopping"], &[ReleaseSlot, signal()], note);

    let scene = scene_of_a_port().starting().on(found("listens on 5000 and 5001"));
    let note = Some("did not listen within 0.5 s; listens on 5000 and 5001");
    let scene = scene.elapse(SECOND / 2).check(&["stopping"], &[ReleaseSlot, signal()], note);
    scene.on(exited(Exit::Code(0))).check(&["failed"], &[forget()], note);
}

fn scene_of_a_port() -> Scene {
    scene(|it| {
        it.ready = Ready::Port;
        it.start_timeout = SECOND / 2;
        it.restart = Restart::Never;
    })
}

#[test]
fn a_crash_waits_by_the_backoff_and_restarts_by_itself() {
    let mut scene = plain().up();
    for (failures, tenths) in [1, 2, 4, 8, 16].into_iter().enumerate() {
        scene = scene.on(exited(Exit::Code(101)));
        assert_eq!(scene.child.failures() as usize, failures + 1);
        scene = scene.elapse(tenths * SECOND / 10).on(Event::Granted);
        scene = scene.on(Event::Spawned { pid: PID }).on(ready());
    }
    assert_eq!(scene.child.restarts(), Restarts { automatic: 5, asked: 0 });
    assert_eq!(scene.child.note(), None, "what is up needs no note");
    let scene = scene.on(exited(Exit::Code(101)));
    assert_eq!(scene.child.note(), Some("crash loop: 6 failures in 3s, last: exit 101"));
}

#[test]
fn a_stable_child_restarts_at_once() {
    let scene = plain().up().elapse(10 * SECOND).check(&[], &[], None);
    let scene = scene.on(exited(Exit::Signal(9)));
    let scene = scene.check(&["pending"], &[forget(), AskSlot], Some("killed by SIGKILL"));
    let scene = scene.on(Event::Granted).on(Event::Spawned { pid: PID }).on(ready());
    let scene = scene.on(exited(Exit::Signal(9)));
    scene.elapse(SECOND / 10).on(Event::Granted);
}

#[test]
fn the_policy_says_whether_an_end_is_well() {
    let exit = |restart, code| scene(|it| it.restart = restart).up().on(exited(Exit::Code(code)));
    exit(Restart::OnFailure, 0).check(&["down"], &[forget()], Some("exit 0"));
    exit(Restart::Never, 0).check(&["down"], &[forget()], Some("exit 0"));
    exit(Restart::Never, 3).check(&["failed"], &[forget()], Some("exit 3"));
    exit(Restart::OnFailure, 3).check(&["waiting"], &[forget()], Some("exit 3"));
}

#[test]
fn giving_up_is_for_those_who_asked_for_it() {
    let mut scene = scene(|it| it.give_up = "2/1m".parse().ok()).up();
    for _ in 0..2 {
        scene = scene.on(exited(Exit::Code(1))).then();
        let (timer, at) = scene.timer.unwrap();
        scene.now = at;
        scene = scene.on(Event::Elapsed(timer)).on(Event::Granted);
        scene = scene.on(Event::Spawned { pid: PID }).on(ready()).then();
    }
    let note = Some("gave up: more than 2/1m, last: exit 1");
    let scene = scene.on(exited(Exit::Code(1))).check(&["failed"], &[forget()], note);
    let scene = scene.on(Event::Start).on(Event::Granted).on(Event::Spawned { pid: PID });
    scene.on(ready()).then().on(exited(Exit::Code(1))).check(
        &["waiting"],
        &[forget()],
        Some("exit 1"),
    );
}

#[test]
fn sickness_is_told_and_passes() {
    let sick = || Event::Sick { pid: PID, note: "3 pings missed".into() };
    let scene = plain().up().on(sick()).check(&["sick"], &[], Some("3 pings missed"));
    assert_eq!(scene.child.state().port(), Some(4000));
    scene.on(Event::Well { pid: PID }).check(&["up"], &[], None);

    let scene = plain().up().elapse(10 * SECOND).on(sick()).then();
    let scene = scene.on(exited(Exit::Signal(9)));
    scene.check(&["pending"], &[forget(), AskSlot], Some("killed by SIGKILL"));
}

#[test]
fn a_stop_ends_the_whole_tree() {
    let sick = Event::Sick { pid: PID, note: String::new() };
    for scene in [plain().up(), plain().up().on(sick).then()] {
        let scene = scene.on(Event::Stop).check(&["stopping"], &[signal()], None);
        let scene = scene.on(exited_with_leftovers()).check(&[], &[], None);
        let scene = scene.on(empty()).check(&["down"], &[forget()], None);
        assert_eq!(scene.child.last_exit(), Some(Exit::Code(1)));
    }
    let scene = plain().starting().on(Event::Stop);
    scene.check(&["stopping"], &[ReleaseSlot, signal()], None);
}

#[test]
fn a_stop_before_the_spawn_is_answered_ends_what_comes_of_it() {
    let spawning = || plain().on(Event::Start).on(Event::Granted).then().on(Event::Stop);
    let scene = spawning().check(&["stopping"], &[ReleaseSlot], None);
    let scene = scene.on(Event::Spawned { pid: PID }).check(&["stopping"], &[signal()], None);
    scene.on(exited(Exit::Signal(15))).check(&["down"], &[forget()], None);
    spawning().then().on(spawn_failed(libc::ENOENT)).check(&["down"], &[], None);
}

#[test]
fn a_keeper_that_does_not_answer_is_waited_for() {
    let scene = plain().on(Event::Start).on(Event::Granted).then().elapse(10 * SECOND);
    let note = Some("was not spawned within 10 s; listens on nothing");
    let scene = scene.check(&["stopping"], &[ReleaseSlot], note).elapse(10 * SECOND);
    let scene = scene.check(&["stopping"], &[], Some("the keeper does not answer"));
    let scene = scene.on(Event::Spawned { pid: PID });
    let scene = scene.check(&["stopping"], &[signal()], note);
    scene.on(exited(Exit::Signal(15))).check(&["waiting"], &[forget()], note);
}

#[test]
fn the_tree_is_killed_when_the_grace_is_over() {
    let scene = plain().stopping().elapse(10 * SECOND).check(&[], &[kill()], None);
    let note = Some("unkillable (D state)");
    let scene = scene.elapse(5 * SECOND).check(&["stopping"], &[kill()], note);
    let scene = scene.elapse(30 * SECOND).check(&[], &[kill()], note);
    let scene = scene.on(exited(Exit::Signal(9))).check(&["down"], &[forget()], None);
    assert_eq!(scene.child.state(), State::Down);
}

#[test]
fn no_patience_means_no_grace() {
    plain().stopping().on(Event::Hurry).check(&[], &[kill()], None).on(Event::Hurry).unchanged();
    plain().up().on(Event::Hurry).unchanged();
}

#[test]
fn a_start_of_what_cannot_be_killed_is_refused() {
    let reason = "unkillable (D state)";
    let scene = plain().stuck().on(Event::Start).check(&[], &[Refuse { reason }], Some(reason));
    scene.on(Event::Restart).check(&[], &[Refuse { reason }], Some(reason));
}

#[test]
fn a_restart_is_a_stop_and_a_start() {
    let scene = plain().up().on(Event::Restart).check(&["stopping"], &[signal()], None);
    let scene = scene.on(exited(Exit::Code(0))).check(&["pending"], &[forget(), AskSlot], None);
    assert_eq!(scene.child.restarts(), Restarts { automatic: 0, asked: 1 });
    let scene = plain().waiting().on(Event::Restart).check(&["pending"], &[AskSlot], None);
    assert_eq!((scene.child.restarts().asked, scene.child.failures()), (1, 0));
}

#[test]
fn what_is_asked_last_decides() {
    let end = |events: &[Event]| {
        let scene = events.iter().cloned().fold(plain().up(), Scene::on);
        scene.on(exited(Exit::Code(0))).child.state().word()
    };
    assert_eq!(end(&[Event::Stop, Event::Start]), "pending");
    assert_eq!(end(&[Event::Stop, Event::Start, Event::Stop]), "down");
    assert_eq!(end(&[Event::Restart, Event::Stop]), "down");
    assert_eq!(end(&[Event::Restart, Event::Start]), "pending");
    let scene = plain().starting().elapse(10 * SECOND).on(Event::Stop).on(exited(Exit::Code(0)));
    assert_eq!((scene.child.state(), scene.child.note()), (State::Down, None));
}

#[test]
fn waiting_ends_by_time_or_request() {
    let note = Some("exit 1");
    plain().waiting().elapse(SECOND / 10).check(&["pending"], &[AskSlot], note);
    let scene = plain().waiting().on(Event::Start).check(&["pending"], &[AskSlot], None);
    assert_eq!(scene.child.failures(), 0);
    plain().waiting().on(Event::Stop).check(&["down"], &[], None);
}

#[test]
fn leftovers_end_before_a_restart() {
    let scene = plain().up().on(exited_with_leftovers());
    let note = Some("exit 1");
    let scene = scene.check(&["stopping"], &[signal()], note);
    let scene = scene.elapse(10 * SECOND).check(&[], &[kill()], note);
    let scene = scene.on(empty()).check(&["waiting"], &[forget()], note);
    scene.elapse(SECOND / 10).check(&["pending"], &[AskSlot], note);
}

#[test]
fn leftovers_that_may_stay_hold_nothing_up() {
    let scene = scene(|it| it.leftovers = Leftovers::Keep).up().on(exited_with_leftovers());
    scene.check(&["waiting"], &[forget()], Some("exit 1")).on(empty()).unchanged();
}

#[test]
fn a_follower_restarts_when_the_other_is_back() {
    let note = Some("follows `State`, which came back");
    let scene = plain().up().on(returned()).check(&["stopping"], &[signal()], note);
    let scene = scene.on(exited(Exit::Code(0))).check(&["pending"], &[forget(), AskSlot], note);
    assert_eq!(scene.child.restarts(), Restarts { automatic: 1, asked: 0 });
    plain().on(returned()).unchanged();
    plain().waiting().on(returned()).unchanged();
    plain().stopping().on(returned()).unchanged();
}

#[test]
fn what_is_removed_is_down_first() {
    plain().on(Event::Remove).check(&[], &[Removed], None);
    plain().waiting().on(Event::Remove).check(&["down"], &[Removed], None);
    let scene = plain().on(Event::Start).then().on(Event::Remove);
    scene.check(&["down"], &[ReleaseSlot, Removed], None);
    let scene = plain().up().on(Event::Remove).check(&["stopping"], &[signal()], None);
    let reason = "it is being uninstalled";
    let scene = scene.on(Event::Start).check(&[], &[Refuse { reason }], None);
    let scene = scene.on(Event::Stop).unchanged();
    scene.on(exited(Exit::Code(0))).check(&["down"], &[forget(), Removed], None);
}

#[test]
fn what_ran_before_the_manager_is_adopted() {
    let adopted = |is_ready| Event::Adopted { pid: PID, port: Some(4000), is_ready };
    let scene = plain().on(adopted(true)).check(&["up"], &[], None);
    scene.on(exited(Exit::Code(37))).check(&["waiting"], &[forget()], Some("exit 37"));
    let scene = plain().on(Event::Start).then().on(adopted(true));
    scene.check(&["up"], &[ReleaseSlot], None).on(adopted(true)).unchanged();
    let scene = plain().on(adopted(false)).check(&["starting"], &[ProbeReady { pid: PID }], None);
    scene.on(ready()).check(&["up"], &[ReleaseSlot], None);
    let scene = scene_of(Ready::None).on(adopted(false));
    scene.check(&["starting", "up"], &[ReleaseSlot], None);
    let scene = scene_of(Ready::Delay(SECOND)).on(adopted(false)).check(&["starting"], &[], None);
    scene.elapse(SECOND).check(&["up"], &[ReleaseSlot], None);
}

fn scene_of(ready: Ready) -> Scene {
    scene(|it| it.ready = ready)
}

#[test]
fn what_is_already_so_changes_nothing() {
    plain().on(Event::Stop).unchanged();
    plain().up().on(Event::Start).unchanged();
    plain().starting().on(Event::Start).unchanged();
    plain().on(Event::Start).then().on(Event::Start).unchanged().on(Event::Restart).unchanged();
    plain().stopping().on(Event::Stop).unchanged();
    plain().failed().on(Event::Stop).check(&["down"], &[], None);
}

#[test]
fn what_comes_late_changes_nothing() {
    let scene = plain().starting();
    let late = scene.timer.unwrap().0;
    let scene = scene.on(ready()).then().on(Event::Elapsed(late)).unchanged();
    let other = PID + 1;
    let scene = scene.on(Event::Exited { pid: other, exit: Exit::Unknown, is_empty: true });
    let scene = scene.unchanged().on(Event::Empty { pid: other }).unchanged();
    let scene = scene.on(Event::Granted).unchanged().on(Event::Spawned { pid: other }).unchanged();
    scene.on(empty()).unchanged().on(ready()).unchanged();
    plain().waiting().on(ready()).unchanged().on(exited(Exit::Code(1))).unchanged();
}

#[test]
fn a_new_definition_is_obeyed_from_the_next_start_on() {
    let mut scene = plain().up();
    let mut definition = (**scene.child.definition()).clone();
    definition.grace = SECOND;
    scene.child.define(Arc::new(definition));
    assert!(scene.child.is_changed());
    let scene = scene.on(Event::Restart).elapse(10 * SECOND).on(empty()).on(Event::Granted);
    assert!(!scene.child.is_changed());
    scene.on(Event::Spawned { pid: PID }).on(ready()).on(Event::Stop).elapse(SECOND);
}
