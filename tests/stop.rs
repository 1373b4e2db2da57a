//! Stops, and that nothing is left of what was stopped: neither orphans nor zombies.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    Dae, IDLE, STUBBORN, SmallDisk, binary, children, environment, eventually, is_running, kill,
    of, patiently, pid, processes, shell, status, tell,
};

/// What a daemon has its grandchild do: leave the session, ignore SIGTERM, close all descriptors,
/// be nobody's child. `CLEAR` may take its environment away.
const ESCAPE: &str = r#"(CLEAR setsid sh -c '
    trap "" TERM; echo $$ > "$0/new"; mv "$0/new" "$0/escaped"; exec 0<&- 1>&- 2>&-
    while :; do sleep 1000; done' "$DAE_DATA" &)
    exec sleep 1000"#;

#[test]
fn m_9_1_a_grandchild_that_escaped_is_gone_after_a_stop() {
    for dae in both() {
        dae.install("Sample", &shell(&ESCAPE.replace("CLEAR", ""), &short_grace()));
        let escaped = number_in(&dae, "Sample", "escaped");
        stop(&dae, "Sample");
        assert!(!is_running(escaped));
    }
}

#[test]
fn m_9_1_with_cgroups_one_without_any_environment_is_gone_too() {
    let dae = Dae::start();
    let sample = dae.install("Sample", &shell(&ESCAPE.replace("CLEAR", "env -i"), &short_grace()));
    let escaped = number_in(&dae, "Sample", "escaped");
    if !has_cgroup(pid(&sample)) {
        kill(escaped);
        return println!("skipped: no cgroups can be used here");
    }
    stop(&dae, "Sample");
    assert!(!is_running(escaped));
}

#[test]
fn m_9_1_what_escaped_is_gone_before_its_daemon_is_started_again() {
    for dae in both() {
        let script = format!(
            r#"[ -e "$DAE_DATA/escaped" ] && {{ kill -0 $(cat "$DAE_DATA/escaped") && touch "$DAE_DATA/met"; {IDLE}; }}
            {}"#,
            ESCAPE.replace("CLEAR", "")
        );
        let sample = dae.install("Sample", &shell(&script, &short_grace()));
        let escaped = number_in(&dae, "Sample", "escaped");
        kill(pid(&sample));
        dae.eventually("Sample", |it| it["state"] == "up" && it["pid"] != sample["pid"]);
        assert!(!is_running(escaped));
        assert!(!data(&dae, "Sample").join("met").exists());
    }
}

#[test]
fn who_makes_orphans_that_show_nothing_holds_up_only_himself() {
    const MAKER: &str = r#"env -i setsid /bin/sh -c '
        echo $$ > "$0/new"; mv "$0/new" "$0/maker"
        while :; do (env -i sleep 1 &); sleep 0.01; done' "$DAE_DATA" & wait"#;
    let dae = Dae::start_by("exec \"$0\" up", &[("DAE_CGROUP", "off".as_ref())]);
    dae.install("Maker", &shell(MAKER, &json!({})));
    let maker = number_in(&dae, "Maker", "maker");
    let is_orphan = |pid: &u32| status(*pid, "PPid") == Some(keeper(&dae).to_string());
    eventually("there are some", || {
        (processes().iter().filter(|pid| is_orphan(pid)).count() > 5).then_some(())
    });
    dae.install("Other", &shell(IDLE, &json!({})));
    for _ in 0..5 {
        stop(&dae, "Other");
        dae.ask("start", &json!(["Other"])).unwrap();
    }
    // It shows nothing of its daemon, so nobody else will.
    kill(maker);
}

#[test]
fn m_9_2_a_hundred_processes_that_fork_again_when_they_are_told_to_end_are_gone() {
    let script = r#"breed() { trap breed TERM; sleep 1000 & wait; breed; }
        i=0; while [ $i -lt 50 ]; do breed & i=$((i+1)); done
        touch "$DAE_DATA/ready"; while :; do wait; done"#;
    for dae in both() {
        let bomb = dae.install("Bomb", &shell(script, &short_grace()));
        eventually("it has bred", || data(&dae, "Bomb").join("ready").exists().then_some(()));
        let secret = environment(pid(&bomb))["DAE_SECRET"].clone();
        eventually("a hundred", || (of_spawn(&secret).len() > 100).then_some(()));
        stop(&dae, "Bomb");
        assert_eq!(of_spawn(&secret), [0; 0]);
    }
}

#[test]
fn m_9_3_a_member_that_ignores_what_ends_its_leader_is_killed_after_the_grace() {
    let script = format!(
        r#"trap 'touch "$DAE_DATA/asked"; exit 0' TERM
        sh -c 'trap "" TERM; echo $$ > "$0/new"; mv "$0/new" "$0/member"; {STUBBORN}' "$DAE_DATA" &
        while :; do wait; done"#
    );
    for dae in both() {
        dae.install("Sample", &shell(&script, &json!({ "grace": "700ms" })));
        let member = number_in(&dae, "Sample", "member");
        let start = Instant::now();
        stop(&dae, "Sample");
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
        assert!(data(&dae, "Sample").join("asked").exists());
        assert!(!is_running(member));
    }
}

#[test]
fn m_9_4_of_ten_thousand_short_lives_no_zombie_is_left() {
    // The brackets are a child, what is in them its child, which it does not wait for.
    let script = r#"i=0; while [ $i -lt 5000 ]; do (: &); i=$((i+1)); done
        touch "$DAE_DATA/done"; exec sleep 1000"#;
    for dae in both() {
        let sample = dae.install("Sample", &shell(script, &json!({})));
        eventually("all have lived", || data(&dae, "Sample").join("done").exists().then_some(()));
        let keeper = dae.keeper();
        eventually("only the leader is left", || {
            (children(keeper) == [pid(&sample)]).then_some(())
        });
        assert_eq!(children(dae.pid()).into_iter().filter(|it| is_zombie(*it)).count(), 0);
    }
}

#[test]
fn m_9_7_what_was_asked_last_wins_over_crashes_and_over_each_other() {
    for dae in both() {
        let quick = json!({ "grace": "5s", "backoff": "1ms..1ms" });
        dae.install("Sample", &shell(IDLE, &quick));
        for round in 0..rounds(25) {
            let up = dae.eventually("Sample", |it| it["state"] == "up");
            // The stop may be over before.
            let leader = Pid::from_raw(pid(&up).cast_signed());
            let crash = thread::spawn(move || signal::kill(leader, Signal::SIGKILL).ok());
            stop(&dae, "Sample");
            crash.join().unwrap();
            assert_eq!(dae.listed("Sample").unwrap()["state"], "down", "round {round}");

            ask_both(&dae, ["start", "stop"]);
            assert_eq!(dae.listed("Sample").unwrap()["state"], "down", "round {round}");
            ask_both(&dae, ["stop", "start"]);
            dae.eventually("Sample", |it| it["state"] == "up");
        }
        stop(&dae, "Sample");
        assert_eq!(children(dae.keeper()), [0; 0], "nothing is left of all that");
    }
}

/// The freezer of cgroup v1 is as good as a disk that does not answer: its processes are in state
/// D, and SIGKILL waits until they are let go.
#[test]
fn m_9_8_a_daemon_that_cannot_be_killed_holds_up_nobody_else() {
    for dae in both() {
        let stuck = dae.install("Stuck", &shell(IDLE, &short_grace()));
        dae.install("Other", &shell(IDLE, &json!({})));
        let Some(frozen) = Frozen::new(pid(&stuck)) else {
            return println!("skipped: no process can be frozen here");
        };
        let mut stopping = dae.unix();
        stopping.send("stop [\"Stuck\"]\n").unwrap();

        for _ in 0..3 {
            stop(&dae, "Other");
            dae.ask("start", &json!(["Other"])).unwrap();
        }
        let noted = dae.eventually("Stuck", |it| it["note"].is_string());
        assert_eq!(
            (&noted["state"], &noted["note"]),
            (&json!("stopping"), &json!("unkillable (D state)"))
        );
        let refused = dae.ask("start", &json!(["Stuck"])).unwrap_err();
        assert_eq!(refused["code"], "unavailable");
        stop(&dae, "Other");

        drop(frozen);
        dae.eventually("Stuck", |it| it["state"] == "down");
        assert!(!is_running(pid(&stuck)));
    }
}

#[test]
fn cgroups_can_be_turned_off_and_doctor_tells() {
    for (dae, is_off) in both().into_iter().zip([false, true]) {
        let sample = dae.install("Sample", &shell(IDLE, &json!({})));
        let told = dae.succeed(["doctor"]);
        let told = told.lines().find(|it| it.contains("cgroup")).unwrap();
        assert_eq!(told.contains("DAE_CGROUP=off"), is_off, "{told}");
        assert_eq!(told.contains("nothing escapes"), has_cgroup(pid(&sample)), "{told}");
        assert!(!is_off || !has_cgroup(pid(&sample)));
    }
}

#[test]
fn doctor_tells_of_a_keeper_that_cannot_do_its_work() {
    let dae = Dae::start();
    let said = || {
        let output = dae.run(["doctor"]);
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (is_well, told) = said();
    assert!(is_well && told.contains("ok    keeper"), "{told}");

    let keeper = keeper(&dae);
    let limit = |most: u32| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &keeper.to_string(), &format!("--nofile={most}:4096")]);
        assert!(prlimit.status().unwrap().success());
    };
    limit(3);
    let (is_well, told) = said();
    assert!(!is_well && told.contains("FAIL  keeper"), "{told}");
    assert!(told.contains("that it may have"), "{told}");
    limit(1024);

    let logs = dae.home().join("state/logs");
    let Some(disk) = SmallDisk::on(&logs, "64k") else { return };
    disk.fill();
    let (is_well, told) = said();
    assert!(!is_well && told.contains("no room left"), "{told}");
    disk.make_room();
    disk.make_read_only();
    let (is_well, told) = said();
    assert!(!is_well && told.contains("cannot be written"), "{told}");
}

#[test]
fn what_may_stay_stays_is_heard_and_ends_with_its_daemon() {
    let script = r#"[ -e "$DAE_DATA/left" ] && exec sleep 1000
        mkfifo "$DAE_DATA/fifo"
        (setsid sh -c 'echo $$ > "$0/new"; mv "$0/new" "$0/left"; read x < "$0/fifo"; echo "left says $x"; exec sleep 1000' "$DAE_DATA" &)
        while [ ! -e "$DAE_DATA/left" ]; do sleep 0.01; done; exit 1"#;
    for (dae, end) in both().into_iter().zip(["uninstall", "down"]) {
        let more = json!({ "leftovers": "keep", "backoff": "1ms..1ms", "ready": "delay=1s" });
        let _failed = dae.ask("install", &json!(["Sample", shell(script, &more)]));
        let left = number_in(&dae, "Sample", "left");
        let up = dae.eventually("Sample", |it| it["state"] == "up");
        assert!(is_running(left) && pid(&up) != left);

        dae.kill_manager();
        dae.succeed(["up"]);
        dae.eventually("Sample", |it| it["pid"] == up["pid"]);
        assert!(is_running(left), "the next manager lets it be");
        fs::write(data(&dae, "Sample").join("fifo"), "hello\n").unwrap();
        let log = dae.home().join("state/logs/Sample/current");
        eventually("what is left is heard", || {
            fs::read_to_string(&log).unwrap().contains("left says hello").then_some(())
        });
        dae.ask("restart", &json!(["Sample"])).unwrap();
        assert!(is_running(left));

        dae.succeed(if end == "down" { vec!["down"] } else { vec!["uninstall", "Sample"] });
        eventually("what is left has ended", || (!is_running(left)).then_some(()));
    }
}

#[test]
fn who_is_installed_after_a_purge_has_a_log_of_its_own() {
    let dae = Dae::start();
    let logs = dae.home().join("state/logs/Sample");
    let script = "setsid sh -c 'while :; do echo left; sleep 0.01; done' & exec sleep 1000";
    let keep = json!({ "leftovers": "keep", "restart": "never" });
    let leader = pid(&dae.install("Sample", &shell(script, &keep)));
    let log = || fs::read_to_string(logs.join("current")).unwrap_or_default();
    eventually("it is heard", || log().contains("left").then_some(()));
    kill(leader);
    dae.eventually("Sample", |it| it["state"] == "failed");
    // So what is left is still there when the next one begins.
    let keeper = keeper(&dae);
    tell(keeper, Signal::SIGSTOP);
    dae.ask("uninstall", &json!(["Sample", { "purge": true }])).unwrap();
    assert!(!logs.exists());
    thread::scope(|scope| {
        scope.spawn(|| dae.install("Sample", &shell("echo new; exec sleep 1000", &json!({}))));
        dae.eventually("Sample", |it| it["state"] == "starting");
        tell(keeper, Signal::SIGCONT);
    });
    eventually("it is heard", || log().contains("new").then_some(()));
    let purged = dae.home().join("state/purged");
    let is_empty = || fs::read_dir(&purged).is_ok_and(|mut it| it.next().is_none());
    eventually("all is removed", || is_empty().then_some(()));

    // What a manager that was killed did not come to, the next one does.
    fs::create_dir(purged.join("Sample-1")).unwrap();
    fs::write(purged.join("Sample-1/current"), "left").unwrap();
    dae.kill_manager();
    dae.succeed(["up"]);
    eventually("all is removed", || is_empty().then_some(()));
}

#[test]
fn down_takes_the_time_it_is_given_and_no_more() {
    let dae = Dae::start();
    let stubborn = dae.install("Stubborn", &shell(STUBBORN, &json!({ "grace": "1h" })));
    // The one whom it waits for goes down last, and would have to wait for its own grace too.
    let behind = json!({ "grace": "1h", "after": ["Stubborn"] });
    let behind = dae.install("Behind", &shell(STUBBORN, &behind));
    dae.succeed(["--timeout", "500ms", "down"]);
    assert!(!is_running(pid(&stubborn)) && !is_running(pid(&behind)));
    eventually("nothing is left", || dae.processes().is_empty().then_some(()));
}

#[test]
fn a_second_signal_spares_the_grace() {
    for signals in [[Signal::SIGTERM; 2], [Signal::SIGINT; 2]] {
        let dae = Dae::start();
        let stubborn = dae.install("Stubborn", &shell(STUBBORN, &json!({ "grace": "1h" })));
        let manager = dae.pid();
        let [first, second] = signals;
        tell(manager, first);
        // Two of a kind that wait at once would be one.
        dae.eventually("Stubborn", |it| it["state"] == "stopping");
        tell(manager, second);
        eventually("nothing is left", || dae.processes().is_empty().then_some(()));
        assert!(!is_running(pid(&stubborn)));
    }
}

#[test]
fn sigquit_writes_the_state_into_the_log_and_ends_nothing() {
    let dae = Dae::start();
    let sample = dae.install("Sample", &shell(IDLE, &json!({})));
    let manager = dae.pid();
    tell(manager, Signal::SIGQUIT);
    let log = dae.home().join("state/logs/Dae/manager.log");
    let dumped = format!("pid: {}", pid(&sample));
    let text = eventually("the state is in the log", || {
        Some(fs::read_to_string(&log).unwrap()).filter(|it| it.contains(&dumped))
    });
    assert!(!text.contains(&environment(pid(&sample))["DAE_SECRET"]));
    assert_eq!(dae.pid(), manager);
}

#[test]
fn a_signal_in_the_first_moments_leaves_nothing_behind() {
    let dae = Dae::start();
    dae.install("Sample", &shell(IDLE, &json!({})));
    dae.succeed(["down"]);
    for step in 0..20 {
        let mut manager = Foreground::start(&dae);
        // Not to wait for anything: another moment of its beginning each time.
        thread::sleep(Duration::from_millis(3 * step));
        tell(manager.0.id(), Signal::SIGTERM);
        manager.0.wait().unwrap();
        eventually("nothing is left", || dae.processes().is_empty().then_some(()));
    }
}

#[test]
fn a_manager_that_a_daemon_started_does_not_end_with_it() {
    let (outer, inner) = (Dae::start(), Dae::at_rest());
    let script = format!(
        "DAE_HOME={} {} up; touch \"$DAE_DATA/up\"; {IDLE}",
        inner.home().display(),
        binary("dae").display()
    );
    outer.install("Sample", &shell(&script, &json!({ "env": { "DAE_HOME": inner.home() } })));
    eventually("it has started one", || data(&outer, "Sample").join("up").exists().then_some(()));
    let manager = inner.pid();
    stop(&outer, "Sample");
    assert_eq!(inner.pid(), manager);
    assert!(is_running(inner.keeper()));
}

/// A manager whose keeper uses cgroups, where the machine has them, and one whose keeper does not.
fn both() -> [Dae; 2] {
    [Dae::start(), Dae::start_by("exec \"$0\" up", &[("DAE_CGROUP", "off".as_ref())])]
}

fn short_grace() -> Value {
    json!({ "grace": "200ms", "backoff": "1ms..1ms" })
}

fn stop(dae: &Dae, name: &str) {
    dae.ask("stop", &json!([name])).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Sends two verbs at once, the second before the first is answered, and waits for both answers.
fn ask_both(dae: &Dae, [first, second]: [&str; 2]) {
    let mut client = dae.unix();
    client.send(format!("{first}#1 [\"Sample\"]\n{second}#2 [\"Sample\"]\n")).unwrap();
    for _ in 0..2 {
        client.read_line().unwrap();
    }
}

fn data(dae: &Dae, name: &str) -> PathBuf {
    dae.home().join("data/daemons").join(name)
}

/// What a daemon wrote into a file of its own.
fn number_in(dae: &Dae, name: &str, file: &str) -> u32 {
    let path = data(dae, name).join(file);
    eventually(file, || fs::read_to_string(&path).ok()?.trim().parse().ok())
}

fn has_cgroup(pid: u32) -> bool {
    fs::read_to_string(of(pid, "cgroup")).unwrap().contains("/dae-")
}

/// The living processes that carry the secret of one spawn.
fn of_spawn(secret: &str) -> Vec<u32> {
    let carries = |pid: &u32| {
        fs::read(of(*pid, "environ"))
            .is_ok_and(|it| it.windows(secret.len()).any(|it| it == secret.as_bytes()))
    };
    processes().into_iter().filter(carries).filter(|pid| is_running(*pid)).collect()
}

fn keeper(dae: &Dae) -> u32 {
    let status = dae.ask("status", &json!([])).unwrap();
    pid(&status["manager"]["keeper"])
}

fn is_zombie(pid: u32) -> bool {
    status(pid, "State").is_some_and(|it| it.starts_with('Z'))
}

/// How often something is tried that goes wrong seldom: more with `DAE_TEST_ROUNDS`.
fn rounds(usual: u32) -> u32 {
    env::var("DAE_TEST_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(usual)
}

/// A manager in the foreground.
struct Foreground(Child);

impl Foreground {
    fn start(dae: &Dae) -> Self {
        let mut command = dae.command(["up", "--foreground"]);
        Self(command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        // It may have ended, as it should.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A process in state D, until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    /// Nothing where there is no freezer, or no leave to use it.
    fn new(pid: u32) -> Option<Self> {
        let group = Path::new("/sys/fs/cgroup/freezer").join(format!("dae-test-{pid}"));
        if !Path::new("/sys/fs/cgroup/freezer/tasks").exists() {
            return None;
        }
        fs::create_dir(&group).ok()?;
        let frozen = Self(group);
        fs::write(frozen.0.join("tasks"), pid.to_string()).ok()?;
        fs::write(frozen.0.join("freezer.state"), "FROZEN").ok()?;
        eventually("it is in state D", || status(pid, "State")?.starts_with('D').then_some(()));
        Some(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        fs::write(self.0.join("freezer.state"), "THAWED").ok();
        drop(patiently(Instant::now(), || fs::remove_dir(&self.0)));
    }
}
