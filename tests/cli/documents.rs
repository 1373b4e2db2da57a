//! What programs get: `--json`.

use serde_json::json;

use super::{Follower, document, error, text, with_three};
use crate::harness::{Dae, IDLE, shell};

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
