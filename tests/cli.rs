//! The command line in front of a running manager: what it prints, where, and how it exits.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill as tell},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    Dae, Netcat, PATIENCE, binary, eventually, finish, is_running, kill, pid, shell,
};

/// A child that does nothing.
const IDLE: &str = "exec sleep 1000";

/// A child that prints when it is told to.
const TALKER: &str = r#"
    trap 'echo "told $$"' USR1
    echo "hello $$"; echo "oops $$" >&2
    while :; do sleep 1000 & wait; kill $!; done
"#;

#[test]
fn m_4_2_with_nothing_installed_programs_get_documents_and_the_exit_code() {
    let dae = Dae::start();
    check_documents(
        &dae,
        &[
            ("up", 0),
            ("up --wait", 0),
            ("list", 0),
            ("list --wide --own", 0),
            ("status", 0),
            ("logs", 0),
            ("logs -n 3", 0),
            ("events", 0),
            ("call Dae options", 0),
            ("options Dae", 0),
            ("start all", 0),
            ("stop all", 0),
            ("wait all", 0),
            ("scan", 0),
            ("completions bash", 0),
            ("down", 0),
            ("down", 5),
        ],
    );
}

#[test]
fn m_4_2_with_an_unknown_name_programs_get_an_error_and_exit_4() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    for args in [
        "uninstall",
        "start",
        "stop",
        "restart",
        "enable",
        "disable --now",
        "wait --timeout 60s",
        "status",
        "logs",
        "logs -f",
        "options",
        "edit --grace 2s",
    ] {
        check_documents(&dae, &[(&format!("{args} Idel"), 4)]);
    }
    check_documents(&dae, &[("call Idel dae", 4), ("start Idle Idel", 4), ("start x*", 4)]);
    assert_eq!(error(&dae.run(["status", "Idel", "--json"]))["near"], json!(["Idle"]));
}

#[test]
fn m_4_2_with_three_daemons_programs_get_documents_and_the_exit_code() {
    let dae = with_three();
    check_documents(
        &dae,
        &[
            ("up", 0),
            ("up --wait", 3),
            ("install More sleep --ready none --no-start -- 1000", 0),
            ("install Sample sleep", 1),
            ("install Other /nowhere/sleep", 2),
            ("edit More --grace 2s", 0),
            ("edit More --needs More", 1),
            ("list", 0),
            ("list --wide", 0),
            ("status", 0),
            ("status Sample", 0),
            ("status More", 3),
            ("status Failing", 3),
            ("wait Sample Idle", 0),
            ("wait Failing", 3),
            ("wait Failing --for failed", 0),
            ("wait More --for gone", 0),
            ("wait Sample --for gone --timeout 50ms", 7),
            ("call Sample set key 5", 0),
            ("call Sample get key", 0),
            ("call Sample set key", 8),
            ("call More get key", 4),
            ("options Sample", 0),
            ("start Failing", 1),
            ("start all", 1),
            ("restart Idle Failing", 1),
            ("stop Idle", 0),
            ("enable Idle --now", 0),
            ("disable Idle", 0),
            ("logs", 0),
            ("logs Sample Failing -n 2", 0),
            ("logs --since 2999-01-01", 0),
            ("logs --grep nothing-like-that", 0),
            ("logs --stream both", 2),
            ("events", 0),
            ("events --since 1h", 0),
            ("scan", 0),
            ("uninstall More --purge", 0),
            ("down --keep", 0),
            ("up --wait", 3),
            ("down", 0),
            ("logs", 0),
        ],
    );
}

#[test]
fn m_4_2_followers_print_a_document_a_line() {
    let dae = with_three();
    for args in ["logs -f --json", "events -f --since 1h --json"] {
        let follower = Follower::start(dae.command(args.split(' ')));
        for _ in 0..3 {
            let line = follower.line();
            assert_eq!(document(line.as_bytes())["v"], 1, "{args}: {line}");
        }
    }
}

#[test]
fn m_4_2_doctor_exits_0_only_if_all_is_well() {
    let dae = with_three();

    let doctor = dae.run(["doctor", "--json"]);

    let checks = document(&doctor.stdout)["checks"].take();
    let is_well = checks.as_array().unwrap().iter().all(|it| it["ok"] == true);
    assert_eq!(doctor.status.code(), Some(i32::from(!is_well)), "{checks}");
}

#[test]
fn m_4_3_a_reader_that_goes_away_is_no_failure() {
    let dae = Dae::start();
    // More than a pipe holds.
    dae.install("Loud", &shell("seq 100000; echo end; exec sleep 1000", &json!({})));
    eventually("all is printed", || {
        dae.succeed(["logs", "Loud", "-n", "1"]).ends_with("end\n").then_some(())
    });
    for args in [
        "logs Loud",
        "logs Loud --json",
        "logs Loud -f",
        "logs Loud -f --json",
        "list",
        "list --json",
        "status Loud",
        "events",
        "events --json",
        "events -f",
        "events -f --since 1h",
        "scan",
        "call Dae options",
    ] {
        // `| true`, then `| head -1`, where there is a line to wait for.
        check_unread(&dae, args, |_| {});
        if args != "events -f" {
            check_unread(&dae, args, |out| drop(BufReader::new(out).lines().next()));
        }
    }
}

#[test]
fn m_4_5_the_list_answers_while_100_daemons_start() {
    let dae = Dae::start();
    let sample = json!({ "program": binary("sample"), "no_start": true, "start_timeout": "60s" });
    for number in 0..100 {
        dae.install(&format!("Sample{number:02}"), &sample);
    }

    let (started, has_started) = mpsc::channel();
    let took = thread::scope(|scope| {
        scope.spawn(|| started.send(dae.run(["start", "all", "--json"])).unwrap());
        let mut took = vec![];
        while has_started.try_recv().is_err() {
            let before = Instant::now();
            let listed = document(dae.succeed(["list", "--own", "--json"]).as_bytes());
            took.push(before.elapsed());
            assert_eq!(listed["daemons"].as_array().unwrap().len(), 100);
        }
        took
    });

    let longest = *took.iter().max().unwrap();
    println!("{} times `dae list` while 100 daemons start: at most {longest:?}", took.len());
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert!(took.len() > 1, "all had started before anybody looked");
    let listed = document(dae.succeed(["list", "--own", "--json"]).as_bytes());
    assert!(listed["daemons"].as_array().unwrap().iter().all(|it| it["state"] == "up"));
}

#[test]
fn a_relative_program_is_meant_from_where_it_is_typed() {
    let dae = Dae::start();
    let program = script(&dae, "work/bin/sleeper", 0o755, "#!/bin/sh\nexec sleep 1000\n");
    let folder = dae.home().join("work/deep");
    fs::create_dir(&folder).unwrap();
    let install = || from(&dae, &folder, "install Sleeper ../bin/sleeper --ready none");

    let first = install();
    let listed = dae.listed("Sleeper").unwrap();
    let second = install();

    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let line = format!("Sleeper  up  pid {}\n", pid(&listed));
    assert_eq!(text(&first.stdout), line);
    let status = dae.ask("status", &json!(["Sleeper"])).unwrap();
    assert_eq!(status["definition"]["program"], json!(program));
    check_complaint(&second, 1, &["a daemon called `Sleeper` is installed already", "--replace"]);
    assert_eq!(dae.listed("Sleeper").unwrap(), listed, "nothing became of the first");
}

#[test]
fn what_cannot_be_a_program_is_explained_and_not_installed() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    script(&dae, "work/sleeper", 0o755, "#!/bin/sh\n");
    script(&dae, "work/plain", 0o644, "#!/bin/sh\n");
    script(&dae, "work/headless", 0o755, "echo hello\n");
    script(&dae, "work/lost", 0o755, "#!/nowhere/sh\n");
    for (given, words) in [
        ("./slepeer", ["there is no `./slepeer`", "did you mean `./sleeper`?"]),
        ("sleeper", ["no folder of PATH holds a program `sleeper`", "give `./sleeper`"]),
        ("../work", ["`../work` is a directory", "give the program itself"]),
        ("./plain", ["`./plain` is not executable", "chmod +x ./plain"]),
        ("./headless", ["is a script without an interpreter line", "#!/bin/sh"]),
        ("./lost", ["the interpreter `/nowhere/sh` of `./lost` does not exist", "mend"]),
        ("/dev/null", ["`/dev/null` is not a regular file", ""]),
    ] {
        let install = format!("install Other {given}");
        let output = from(&dae, &dae.home().join("work"), &install);
        check_complaint(&output, 2, &words);
        assert!(text(&output.stderr).starts_with("dae: cannot install `Other`: "), "{given}");
    }
    let daemons = document(dae.succeed(["list", "--own", "--json"]).as_bytes());
    assert_eq!(daemons["daemons"].as_array().unwrap().len(), 1, "{daemons}");
}

#[test]
fn an_install_that_fails_shows_the_last_lines_and_stays_installed() {
    let dae = Dae::start();

    let install = "install Failing sh --restart never -- -c";
    let output = dae.run(install.split(' ').chain(["echo so it was; exit 3"]));

    check_complaint(&output, 1, &["`Failing` is failed: exit 3", "  | so it was"]);
    assert_eq!(dae.listed("Failing").unwrap()["state"], "failed");
}

#[test]
fn every_name_is_reported_and_the_worst_counts() {
    let dae = with_three();
    for (args, code, out, err) in [
        ("stop Idle Idel", 4, &["Idle  down"][..], &["`Idel`; did you mean `Idle`?"][..]),
        ("enable Nobody Idle Noone", 4, &["Idle  enabled  down"], &["`Nobody`", "`Noone`"]),
        ("disable Nobody Idle", 4, &["Idle  disabled  down"], &["`Nobody`"]),
        ("start Idle Failing", 1, &["Idle  up"], &["`Failing` is failed: exit 3"]),
        ("restart Idle Failing No", 4, &["Idle  up"], &["`Failing` is failed", "`No`"]),
        ("wait Idle Failing Nobody", 4, &["Idle  up"], &["`Failing` is failed", "`Nobody`"]),
        ("uninstall Idle Nobody", 4, &["Idle  uninstalled"], &["`Nobody`"]),
    ] {
        let output = dae.run(args.split(' '));
        assert_eq!(output.status.code(), Some(code), "{args}: {output:?}");
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(out.iter().all(|it| said.contains(it)), "{args}: {said}");
        assert!(err.iter().all(|it| complained.contains(it)), "{args}: {complained}");
        let complaints = complained.lines().filter(|it| it.starts_with("dae: ")).count();
        assert_eq!(complaints, err.len(), "{args}: {complained}");
    }
    assert!(dae.listed("Idle").is_none());
}

#[test]
fn an_edit_is_shown_until_the_next_start() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    let head = || dae.succeed(["status", "Idle"]).lines().next().unwrap().to_owned();

    let edited = dae.succeed(["edit", "Idle", "--grace", "2s", "--env", "A=1"]);

    assert!(edited.ends_with("(changed since its start)\n"), "{edited}");
    assert!(head().contains("changed since its start"), "{}", head());
    assert!(dae.succeed(["list", "--own"]).contains("changed since its start"));
    dae.succeed(["restart", "Idle"]);
    assert!(!head().contains("changed"), "{}", head());
    let status = document(dae.succeed(["status", "Idle", "--json"]).as_bytes());
    assert_eq!(status["definition"]["grace"], "2s");
    assert_eq!(status["environment"], json!({ "A": "1" }));
    check_complaint(&dae.run(["edit", "Idle"]), 2, &["nothing is to be changed", "--grace"]);
}

#[test]
fn enabled_and_disabled_daemons_are_started_and_stopped_now_if_told_so() {
    let dae = Dae::start();
    let first = pid(&dae.install("Idle", &shell(IDLE, &json!({}))));

    assert_eq!(dae.succeed(["disable", "Idle"]), "Idle  disabled  up\n");
    assert!(is_running(first));
    assert_eq!(dae.succeed(["disable", "Idle", "--now"]), "Idle  disabled  down\n");
    assert!(!is_running(first));
    assert_eq!(dae.run(["status", "Idle"]).status.code(), Some(3));
    assert_eq!(dae.succeed(["enable", "Idle"]), "Idle  enabled  down\n");
    assert_eq!(dae.succeed(["enable", "Idle", "--now"]), "Idle  enabled  up\n");
    assert_eq!(dae.run(["status", "Idle"]).status.code(), Some(0));
}

#[test]
fn a_wait_in_vain_times_out_with_7() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    for state in ["gone", "failed"] {
        let output = dae.run(["wait", "Idle", "--for", state, "--timeout", "50ms"]);
        check_complaint(&output, 7, &["cannot wait for `Idle`: not done within 50 ms"]);
    }
    let waiting = Follower::start(dae.command(["wait", "Idle", "--for", "gone"]));
    dae.succeed(["stop", "Idle"]);
    assert_eq!(waiting.line(), "Idle  down");
}

#[test]
fn logs_are_chosen_by_number_time_stream_and_pattern() {
    let dae = Dae::start();
    dae.install("One", &shell("seq 5; echo oops >&2; exec sleep 1000", &json!({})));
    dae.install("Two", &shell("echo two; exec sleep 1000", &json!({})));
    let said = |args: &str| -> Vec<String> {
        let printed = dae.succeed(["logs"].into_iter().chain(args.split_whitespace()));
        // After time, name and stream.
        let words = |it: &str| it.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        printed.lines().map(words).collect()
    };
    eventually("all is printed", || (said("").len() == 7).then_some(()));

    assert_eq!(said("One -n 2 --stream out"), ["One out 4", "One out 5"]);
    assert_eq!(said("one --stream err"), ["One err oops"]);
    assert_eq!(said("One --grep [24]$"), ["One out 2", "One out 4"]);
    assert_eq!(said("--grep ^(two|oops)$").len(), 2, "all daemons are meant");
    assert_eq!(said("One Two --since 1h").len(), 7);
    assert_eq!(said("--since 2999-01-01").len(), 0);
    assert_eq!(said("t* -n 5"), ["Two out two"]);
    let lines = document(dae.succeed(["logs", "One", "-n", "2", "--json"]).as_bytes());
    assert_eq!(lines["lines"].as_array().unwrap().len(), 2, "{lines}");
}

#[test]
fn who_follows_logs_sees_a_restart_and_the_end_of_the_manager() {
    let dae = Dae::start();
    let first = pid(&dae.install("Talker", &shell(TALKER, &json!({}))));
    let follower = Follower::start(dae.command(["logs", "Talker", "-f", "--stream", "out"]));
    follower.until(&format!("Talker out hello {first}"));

    kill(first);
    let second = pid(&dae.eventually("Talker", |it| it["pid"].is_u64() && it["pid"] != first));
    follower.until(&format!("Talker out hello {second}"));
    dae.kill_manager();
    tell(Pid::from_raw(second.cast_signed()), Signal::SIGUSR1).unwrap();

    follower.until(&format!("Talker out told {second}"));
}

#[test]
fn who_follows_events_sees_what_comes() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    // `--since` leaves no moment between the start of the follower and what it is to see.
    let follower = Follower::start(dae.command(["events", "-f", "--since", "1h"]));
    follower.until("starting → up");

    dae.succeed(["stop", "Idle"]);
    follower.until("stopping → down");

    dae.kill_manager();
    dae.succeed(["up"]);
    follower.until("down → pending");
}

#[test]
fn a_call_takes_words_or_an_array() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));

    assert_eq!(dae.succeed(["call", "Sample", "set", "key", "5"]), "");
    assert_eq!(dae.succeed(["call", "sample", "get", "key"]), "5\n");
    assert_eq!(dae.succeed(["call", "Sample", "set", r#"["key", {"x": [1]}]"#]), "");
    assert_eq!(dae.succeed(["call", "Sample", "get", r#"["key"]"#]), "{\"x\":[1]}\n");
    assert_eq!(dae.succeed(["call", "Sample", "set", "text", "a b"]), "");
    assert_eq!(dae.succeed(["call", "Sample", "get", "text"]), "\"a b\"\n");

    let wrong = dae.run(["call", "Sample", "set", "key"]);
    check_complaint(&wrong, 8, &["`Sample` answered: set: expected 2 arguments, got 1"]);
    let unknown = dae.run(["call", "Smaple", "get", "key"]);
    check_complaint(&unknown, 4, &["no daemon is called `Smaple`; did you mean `Sample`?"]);
    dae.succeed(["stop", "Sample"]);
    check_complaint(&dae.run(["call", "Sample", "all"]), 4, &["`Sample` is down"]);
}

#[test]
fn what_is_kept_has_the_same_pids_with_the_next_manager() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    dae.install("Sample", &json!({ "program": binary("sample") }));
    let pids = || ["Idle", "Sample"].map(|name| pid(&dae.listed(name).unwrap()));
    let before = pids();

    assert_eq!(dae.succeed(["down", "--keep"]), "Dae  down\n");
    assert!(before.iter().all(|it| is_running(*it)));
    let up = dae.succeed(["up", "--wait"]);

    assert_eq!(pids(), before);
    let [idle, sample] = before;
    assert!(up.contains(&format!("Idle  up  pid {idle}\n")), "{up}");
    assert!(up.contains(&format!("Sample  up  pid {sample}  port ")), "{up}");
    assert_eq!(dae.succeed(["down"]), "Idle  down\nSample  down\nDae  down\n");
    assert!(!before.iter().any(|it| is_running(*it)));
}

#[test]
fn up_waits_for_who_comes_and_tells_who_does_not() {
    let dae = with_three();
    dae.succeed(["down"]);
    let up = dae.run(["up", "--wait"]);
    assert_eq!(up.status.code(), Some(3), "{up:?}");
    for daemon in ["Idle  up", "Sample  up"] {
        assert!(text(&up.stdout).contains(daemon), "{up:?}");
    }
    assert!(text(&up.stderr).contains("`Failing` is failed: exit 3"), "{up:?}");

    dae.succeed(["uninstall", "Failing"]);
    dae.succeed(["stop", "Idle"]);
    let up = dae.run(["up", "--wait"]);
    assert_eq!(up.status.code(), Some(3), "{up:?}");
    assert!(text(&up.stdout).contains("Sample  up"), "{up:?}");
    let said = "dae: `Idle` is down\n  hint: start what is down with `dae start Idle`\n";
    assert_eq!(text(&up.stderr), said);
    let up = dae.run(["up", "--wait", "--json"]);
    assert_eq!(document(&up.stdout)["down"], json!(["Idle"]));
    assert_eq!((up.status.code(), &error(&up)["code"]), (Some(3), &json!("stopped")));
    dae.succeed(["start", "Idle"]);
    dae.succeed(["up", "--wait"]);
}

#[test]
fn logs_outlive_an_uninstall_but_not_a_purge() {
    let dae = Dae::start();
    for name in ["Kept", "Purged"] {
        dae.install(name, &shell("echo hello; exec sleep 1000", &json!({})));
        eventually("it has printed", || {
            dae.succeed(["logs", name]).contains("hello").then_some(())
        });
    }

    assert_eq!(dae.succeed(["uninstall", "Kept"]), "Kept  uninstalled\n");
    dae.succeed(["uninstall", "Purged", "--purge"]);

    assert!(dae.succeed(["logs", "Kept"]).contains("hello"));
    assert_eq!(dae.run(["logs", "Purged"]).status.code(), Some(4));
    assert!(!dae.home().join("state/logs/Purged").exists());
}

#[test]
fn the_quiet_are_told_errors_and_what_they_asked_for() {
    let dae = Dae::at_rest();
    for args in [
        "up",
        "install Idle sleep --ready none -- 1000",
        "edit Idle --grace 2s",
        "stop Idle",
        "start Idle",
        "restart Idle",
        "disable Idle",
        "enable Idle",
        "wait Idle",
        "up --wait",
    ] {
        let words = ["--quiet"].into_iter().chain(args.split(' '));
        let output = dae.run(words);
        assert_eq!(output.status.code(), Some(0), "{args}: {output:?}");
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("", ""), "{args}");
    }
    assert!(dae.succeed(["list", "-q"]).contains("Idle"));
    assert!(dae.succeed(["status", "Idle", "-q"]).starts_with("Idle  up"));
    check_complaint(&dae.run(["start", "Idel", "-q"]), 4, &["did you mean `Idle`?"]);
    assert_eq!(dae.succeed(["uninstall", "Idle", "-q"]), "");
    assert_eq!(dae.succeed(["down", "-q"]), "");
}

#[test]
fn a_home_that_is_typed_beats_that_of_the_environment() {
    let (dae, other) = (Dae::start(), Dae::start());
    other.install("Other", &shell(IDLE, &json!({})));
    let typed = other.home().to_str().unwrap();

    assert!(dae.succeed(["--home", typed, "list", "--own"]).contains("Other"));
    assert!(dae.succeed(["list", "--own", "--home", typed]).contains("Other"));
    assert_eq!(dae.succeed(["list", "--own"]), "");
}

#[test]
fn a_home_that_cannot_be_is_explained() {
    let dae = Dae::at_rest();
    let file = dae.home().join("file");
    fs::write(&file, "").unwrap();
    let below_file = file.join("home");
    let long = format!("/tmp/{}", "x".repeat(100));
    for (home, words) in [
        // Nobody may write there, not even the superuser.
        ("/sys/dae", ["cannot create `/sys/dae`", "set DAE_HOME to a directory"]),
        (below_file.to_str().unwrap(), ["cannot create `", "set DAE_HOME to a directory"]),
        (&long, ["is too long for a socket: at most 107 bytes", "set DAE_HOME to a directory"]),
    ] {
        for command in ["up", "up --foreground"] {
            let output = dae.run(["--home", home].into_iter().chain(command.split(' ')));
            check_complaint(&output, 1, &words);
        }
        let up = dae.run(["--home", home, "up", "--json"]);
        assert_eq!((up.status.code(), &error(&up)["code"]), (Some(1), &json!("storage")));
    }
}

#[test]
fn a_registry_that_cannot_be_read_stops_the_start_and_stays() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    dae.succeed(["down"]);
    let registry = dae.home().join("data/registry.toml");
    let aside = dae.home().join("data/aside");
    fs::rename(&registry, &aside).unwrap();
    // Even the superuser cannot read it so.
    fs::create_dir(&registry).unwrap();

    let up = dae.run(["up"]);
    let doctor = dae.run(["doctor"]);

    check_complaint(&up, 1, &["cannot read `", "data/registry.toml`: Is a directory"]);
    assert_eq!(doctor.status.code(), Some(1));
    let line = "FAIL  registry     `";
    assert!(text(&doctor.stdout).contains(line), "{doctor:?}");
    assert!(registry.is_dir() && dae.managers().is_empty());
    fs::remove_dir(&registry).unwrap();
    fs::rename(&aside, &registry).unwrap();
    dae.succeed(["up", "--wait"]);
    assert_eq!(dae.listed("Idle").unwrap()["state"], "up");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    dae.succeed(["down"]);
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = stranger.local_addr().unwrap().port().to_string();
    let taken = format!("cannot listen on 127.0.0.1:{port}: Address already in use");

    for command in ["up", "up --foreground"] {
        let up = dae.run(command.split(' ').chain(["--port", &port]));
        check_complaint(&up, 1, &[&taken, "give another `--port`"]);
    }

    assert!(dae.managers().is_empty());
    dae.succeed(["up", "--wait"]);
    assert_eq!(dae.listed("Idle").unwrap()["state"], "up");
}

#[test]
fn the_example_survives_the_end_of_whom_it_uses_and_of_the_manager() {
    let dae = Dae::start();
    let sample = dae.install("Sample", &json!({ "program": binary("sample") }));
    let counter = dae.install("Counter", &json!({ "program": binary("examples/counter") }));
    let count = || dae.succeed(["call", "Counter", "count"]);
    assert_eq!([count(), count()], ["1\n", "2\n"]);

    kill(pid(&sample));
    dae.eventually("Sample", |it| it["state"] == "up" && it["pid"] != sample["pid"]);
    assert_eq!([count(), count()], ["1\n", "2\n"], "the memory is a new one");

    dae.kill_manager();
    let port = counter["port"].as_u64().unwrap().try_into().unwrap();
    let counted = Netcat::tcp(port).call("count", &json!([]));
    assert_eq!(counted, ("count".into(), json!([3])));

    dae.succeed(["up", "--wait"]);
    assert_eq!(pid(&dae.listed("Counter").unwrap()), pid(&counter));
    let neighbours = document(dae.succeed(["call", "Counter", "neighbours"]).as_bytes());
    for name in ["Counter", "Sample"] {
        assert!(neighbours.as_array().unwrap().contains(&json!(name)), "{neighbours}");
    }
    assert_eq!(count(), "4\n");
    let measured = dae.succeed(["call", "Counter", "measure", "1000"]);
    println!("`find` over one connection, 1000 times: p50 and p99 in µs: {}", measured.trim());
}

/// A manager with `Sample` and `Idle`, which are up, and `Failing`, which has failed.
fn with_three() -> Dae {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    dae.install("Idle", &shell("echo hello; exec sleep 1000", &json!({})));
    let failing = json!({ "restart": "never", "ready": "delay=60s" });
    let failed = dae.ask("install", &json!(["Failing", shell("echo so; exit 3", &failing)]));
    assert_eq!(failed.unwrap_err()["state"], "failed");
    dae
}

/// Runs each command line with `--json`: it exits as it should, and prints documents only.
fn check_documents(dae: &Dae, commands: &[(&str, i32)]) {
    for &(args, code) in commands {
        let mut words: Vec<&str> = args.split_whitespace().collect();
        let end = words.iter().position(|it| *it == "--").unwrap_or(words.len());
        words.insert(end, "--json");
        let output = dae.run(words);
        let shown = [text(&output.stdout), text(&output.stderr)].concat();
        assert_eq!(output.status.code(), Some(code), "{args}: {shown}");
        check_stdout(args, text(&output.stdout));
        match code {
            0 => assert_eq!(text(&output.stderr), "", "{args}"),
            // The document itself says that it is not up.
            3 if output.stderr.is_empty() => assert!(!output.stdout.is_empty(), "{args}"),
            _ => assert!(error(&output)["message"].is_string(), "{args}: {shown}"),
        }
    }
}

/// Nothing, or one document with its version; of `events` one a line.
fn check_stdout(args: &str, out: &str) {
    let documents = if args.starts_with("events") { out.lines().collect() } else { vec![out] };
    for one in documents.into_iter().filter(|it| !it.is_empty()) {
        assert_eq!(document(one.as_bytes())["v"], 1, "{args}: {one}");
    }
}

/// One line of complaint and what is said below it, nothing on stdout, and the exit code.
fn check_complaint(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(text(&output.stdout), "", "{said}");
    assert!(words.iter().all(|it| said.contains(it)), "{words:?}: {said}");
    let mut lines = said.lines();
    assert!(lines.next().is_some_and(|it| it.starts_with("dae: ")), "{said}");
    assert!(lines.all(|it| it.starts_with("  hint: ") || it.starts_with("  | ")), "{said}");
}

/// Runs a command whose reader goes away once it has read what `read` wants: exit 0, in silence.
fn check_unread(dae: &Dae, args: &str, read: impl FnOnce(ChildStdout)) {
    let mut command = dae.command(args.split(' '));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    read(running.0.stdout.take().unwrap());
    let status = eventually(&format!("{args} has ended"), || running.0.try_wait().unwrap());
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), &*said), (Some(0), ""), "{args}");
}

/// What `dae args…` does, typed in `folder`.
fn from(dae: &Dae, folder: &Path, args: &str) -> Output {
    let mut command = dae.command(args.split(' '));
    command.current_dir(folder);
    finish(command)
}

/// Writes a file below the home, with its folders.
fn script(dae: &Dae, path: &str, mode: u32, content: &str) -> PathBuf {
    let path = dae.home().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// The one document that `bytes` are.
fn document(bytes: &[u8]) -> Value {
    let read = serde_json::from_slice(bytes);
    read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

/// The error that a program is told.
fn error(output: &Output) -> Value {
    let error = document(&output.stderr)["error"].take();
    assert!(error["code"].is_string(), "{output:?}");
    error
}

/// A command that goes on. Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

/// A command that goes on, and its lines as they come.
struct Follower {
    lines: Receiver<String>,
    _running: Running,
}

impl Follower {
    fn start(mut command: Command) -> Self {
        let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let out = BufReader::new(running.0.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.lines().try_for_each(|it| sender.send(it.unwrap())));
        Self { lines, _running: running }
    }

    /// The next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// Reads on to a line with `part`.
    fn until(&self, part: &str) {
        let mut seen = vec![];
        while !seen.last().is_some_and(|it: &String| it.contains(part)) {
            let line = self.lines.recv_timeout(PATIENCE);
            seen.push(line.unwrap_or_else(|error| panic!("{part}: {error} after {seen:#?}")));
        }
    }
}
