//! The command line where no manager runs: help, usage, completion files, and that nobody panics.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// Every command, as `dae --help` lists them.
const COMMANDS: [&str; 20] = [
    "up",
    "down",
    "install",
    "uninstall",
    "start",
    "stop",
    "restart",
    "enable",
    "disable",
    "edit",
    "list",
    "status",
    "logs",
    "events",
    "call",
    "options",
    "wait",
    "scan",
    "doctor",
    "completions",
];

/// A home directory without a manager.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dae"));
        command.args(args.split_whitespace()).env("DAE_HOME", self.0.path());
        command.env_remove("NO_COLOR").env_remove("DAE_COMPLETE").stdin(Stdio::null());
        command
    }

    fn dae(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[expect(clippy::print_stdout, reason = "what a machine cannot test is said aloud")]
fn skipped(why: &str) {
    println!("skipped: {why}");
}

fn listed(help: &str) -> Vec<&str> {
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    commands.lines().map(|it| it.split_whitespace().next().unwrap()).collect()
}

#[test]
fn m_4_1_every_help_fits_80_columns_and_shows_an_example() {
    let home = Home::new();
    let help = home.dae("--help");
    assert_eq!(listed(text(&help.stdout)), COMMANDS);
    let all = COMMANDS.iter().flat_map(|it| [format!("{it} --help"), format!("{it} -h")]);
    for args in all.chain(["--help".to_owned(), "-h".to_owned()]) {
        let help = home.dae(&args);
        let text = text(&help.stdout);
        assert_eq!(code(&help), 0, "{args}");
        assert!(text.contains("Example"), "{args} shows no example");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{args}: {line}");
        }
    }
}

#[test]
fn the_help_of_up_names_what_the_manager_reads_beside_flags() {
    let help = Home::new().dae("up --help");
    for word in ["DAE_CGROUP=off", "config.toml", "scan = ", "scan_ignore = ", "~/.config/dae"] {
        assert!(text(&help.stdout).contains(word), "{word}: {}", text(&help.stdout));
    }
}

#[test]
fn m_4_2_without_a_manager_programs_get_documents_and_the_exit_code() {
    let home = Home::new();
    let program = home.0.path().join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let install = format!("install Sample {}", program.display());
    for (args, expected) in [
        ("down", 5),
        (&install, 5),
        ("uninstall Sample", 5),
        ("start Sample", 5),
        ("stop Sample", 5),
        ("restart sam*", 5),
        ("enable Sample", 5),
        ("disable all", 5),
        ("edit Sample --grace 1s", 5),
        ("list", 5),
        ("status", 5),
        ("status Sample", 5),
        ("logs", 0),
        ("logs Sample", 4),
        ("events", 0),
        ("call Sample get key", 5),
        ("options Sample", 5),
        ("wait Sample", 5),
        ("scan", 5),
        ("doctor", 0),
    ] {
        let output = home.dae(&format!("{args} --json"));
        assert_eq!(code(&output), expected, "{args}: {}", text(&output.stderr));
        check_documents(args, &output);
    }
}

/// Stdout is one document or nothing; stderr is one exactly if something went wrong.
fn check_documents(args: &str, output: &Output) {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes);
    if !output.stdout.is_empty() {
        assert_eq!(read(&output.stdout).unwrap()["v"], 1, "{args}");
    }
    if output.status.success() {
        assert_eq!(text(&output.stderr), "", "{args}");
        return;
    }
    let error = &read(&output.stderr).unwrap()["error"];
    assert!(error["code"].is_string() && error["message"].is_string(), "{args}: {error}");
}

#[test]
fn m_4_2_a_command_line_that_makes_no_sense_is_exit_2() {
    let home = Home::new();
    for args in [
        "",
        "nonsense",
        "list --nonsense",
        "list extra",
        "start",
        "start a/b",
        "install Sample",
        "install all /bin/true",
        "install 2nd /bin/true",
        "install Sample /bin/true --grace 10",
        "install Sample /bin/true --port 0",
        "install Sample /bin/true --env K",
        "install Sample /nonsense",
        "install Sample /",
        "edit Sample",
        "edit Sample --unset nonsense",
        "edit Sample --port 1 --unset port",
        "call Sample",
        "call Sample 2nd",
        "logs --since nonsense",
        "logs --grep (",
        "logs --stream both",
        "wait Sample --for luck",
        "completions nonsense",
        "up --background",
        "keeper",
    ] {
        let output = home.dae(args);
        let expected = if args == "keeper" { 1 } else { 2 };
        assert_eq!(code(&output), expected, "{args}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args}");
        if expected == 2 && !args.is_empty() {
            let output = home.dae(&format!("{args} --json"));
            check_documents(args, &output);
            assert_eq!(code(&output), 2, "{args}");
        }
    }
}

#[test]
fn an_error_is_one_line_and_a_hint() {
    let home = Home::new();
    let folder = home.0.path().join("release");
    fs::create_dir(&folder).unwrap();
    let said = |args: &str| {
        let output = home.command(args).current_dir(home.0.path()).output().unwrap();
        text(&output.stderr).to_owned()
    };
    assert_eq!(
        said("list"),
        "dae: no manager is running for this user\n  hint: start it with `dae up`\n"
    );
    assert_eq!(
        said("install Sample ./release"),
        "dae: cannot install `Sample`: `./release` is a directory\n  \
         hint: give the program itself\n"
    );
    assert_eq!(
        said("doctr"),
        "dae: unrecognized subcommand 'doctr'\n  \
         hint: a similar subcommand exists: 'doctor'\n  \
         hint: Usage: dae [OPTIONS] <COMMAND>\n"
    );
    assert_eq!(
        said("install Sample"),
        "dae: the following required arguments were not provided: <PROGRAM>\n  \
         hint: Usage: dae install <NAME> <PROGRAM> [-- <ARGS>...]\n"
    );
}

#[test]
fn a_home_that_cannot_be_is_explained() {
    let home = Home::new();
    let long = format!("list --home /{}", "x".repeat(100));
    let output = home.dae(&long);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("too long for a socket"));
    assert!(text(&output.stderr).contains("hint: set DAE_HOME"));
}

#[test]
fn m_4_3_a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    for args in ["--help", "--version", "doctor", "doctor --json", "completions bash"] {
        let mut command = home.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), text(&output.stderr)), (0, ""), "{args}");
    }
}

#[test]
fn m_4_4_no_escape_bytes_but_on_a_terminal_that_wants_them() {
    let home = Home::new();
    let all = ["--help", "install --help", "nonsense", "list", "doctor", "events", "logs"];
    for args in all {
        let output = home.dae(args);
        assert!(![output.stdout, output.stderr].concat().contains(&0x1b), "{args}");
    }
    let Some(shown) = on_a_terminal(&home, &all) else {
        return skipped("there is no `script`, which makes a terminal");
    };
    assert!(!shown.is_empty() && !shown.contains(&0x1b), "{}", String::from_utf8_lossy(&shown));
}

/// What the commands show on a terminal where NO_COLOR is set.
fn on_a_terminal(home: &Home, all: &[&str]) -> Option<Vec<u8>> {
    let dae = env!("CARGO_BIN_EXE_dae");
    let commands: Vec<_> = all.iter().map(|args| format!("{dae} {args}")).collect();
    let mut script = Command::new("script");
    script.args(["-qc", &commands.join("; "), "/dev/null"]).stdin(Stdio::null());
    let output = script.env("DAE_HOME", home.0.path()).env("NO_COLOR", "1").output();
    output.ok().map(|it| it.stdout)
}

#[test]
fn m_4_6_the_completion_file_of_each_shell_loads() {
    let home = Home::new();
    for (shell, args, load) in [
        ("bash", &["--norc", "-c"][..], "source FILE"),
        ("zsh", &["-f", "-c"], "autoload -U compinit && compinit -u -D && source FILE"),
        ("fish", &["--no-config", "-c"], "source FILE"),
    ] {
        let file = home.0.path().join(shell);
        fs::write(&file, home.dae(&format!("completions {shell}")).stdout).unwrap();
        match load_in(shell, args, load, &file) {
            Some(output) => {
                let said = [output.stdout.as_slice(), &output.stderr].concat();
                assert_eq!((code(&output), text(&said)), (0, ""), "{shell}");
            }
            None => skipped(&format!("there is no `{shell}`")),
        }
    }
}

fn load_in(shell: &str, args: &[&str], load: &str, file: &Path) -> Option<Output> {
    let load = load.replace("FILE", &file.display().to_string());
    Command::new(shell).args(args).arg(load).output().ok()
}

#[test]
fn a_shell_completes_commands_even_with_the_manager_down() {
    let home = Home::new();
    let complete = |words: &str, at: &str| {
        let mut command = home.command(words);
        command.env("DAE_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", at);
        text(&command.output().unwrap().stdout).to_owned()
    };
    assert_eq!(complete("-- dae st", "1"), "start\nstop\nstatus");
    assert!(!complete("-- dae stop Sam", "2").contains("Sam"));
}

#[test]
fn a_manager_that_does_not_come_up_shows_what_it_said_last() {
    let home = Home::new();
    let data = home.0.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data.join("registry.toml"), "nonsense = [").unwrap();
    let output = home.dae("up");
    let said = text(&output.stderr);
    assert_eq!(code(&output), 1);
    assert!(said.starts_with("dae: cannot start the manager: it ended before it listened\n"));
    assert!(said.contains("  | dae: cannot run the manager: "), "{said}");
    assert!(said.contains("logs/Dae/manager.log"), "{said}");

    let mut log = String::new();
    let path = home.0.path().join("state/logs/Dae/manager.log");
    let mut file = fs::File::open(path).unwrap();
    file.read_to_string(&mut log).unwrap();
    assert!(log.contains("registry.toml"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn doctor_tells_what_is_open_and_how_to_close_it() {
    let home = Home::new();
    let state = home.0.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let output = home.dae("doctor");
    assert_eq!(code(&output), 1);
    let fix = format!("mend it: chmod go-w {}", state.display());
    assert!(text(&output.stdout).contains(&fix), "{}", text(&output.stdout));
}
