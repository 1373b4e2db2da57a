//! What is said when something is wrong, and with which exit code.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::json;

use super::{check_complaint, document, error, text, with_three};
use crate::harness::{Dae, IDLE, finish, pid, shell};

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
