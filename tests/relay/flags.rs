//! What is said of settings that make no sense.

use std::process::Command;

use crate::harness::binary;

/// What a relay answers with exit code 0.
fn told(args: &[&str]) -> String {
    let output = Command::new(binary("relay")).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a relay says before it ends at once.
fn refused(args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new("timeout")
        .arg("60")
        .arg(binary("relay"))
        .args(args)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?} {environment:?}: {said}");
    said
}

#[test]
fn a_value_that_makes_no_sense_is_told_by_what_has_set_it() {
    let place = "wanted ADDRESS:PORT, as in 127.0.0.1:9163 or [::1]:9163";
    let bytes = "`much` is no number of bytes from 1024 to 67108864";
    let port = format!("`PORT`: `--listen` can't be `localhost:x`: {place}");
    let payload = format!("`MAX_PAYLOAD`: `--max-payload` can't be `much`: {bytes}");
    let own = format!("`DAE_RELAY_MAX_PAYLOAD`: `--max-payload` can't be `much`: {bytes}");
    for (args, environment, said) in [
        (&[][..], &[("PORT", "x")][..], &*port),
        (&["port=x"], &[], &port),
        (&[], &[("MAX_PAYLOAD", "much")], &payload),
        (&[], &[("DAE_RELAY_MAX_PAYLOAD", "much"), ("MAX_PAYLOAD", "2048")], &own),
        (&[], &[("DAE_RELAY_TLS_MIN", "1.1")], "`DAE_RELAY_TLS_MIN`: `--tls-min` can't be `1.1`"),
        (
            &[],
            &[("DAE_NAME", "my-relay"), ("DAE_MY_RELAY_QUEUE_AGE", "soon")],
            "`DAE_MY_RELAY_QUEUE_AGE`: `--queue-age` can't be `soon`: `soon` is no time",
        ),
        // What is typed goes before, and is known to whoever has typed it.
        (
            &["--max-payload", "much"],
            &[("DAE_RELAY_MAX_PAYLOAD", "much")],
            "error: invalid value 'much' for '--max-payload <BYTES>'",
        ),
    ] {
        let found = refused(args, environment);
        assert!(found.contains(said), "{args:?} {environment:?}: {found}");
    }
}

#[test]
fn what_is_wanted_is_told_before_a_door_is_open() {
    for (args, said) in [
        (["--admin", "foo"], "wanted ADDRESS:PORT, as in 127.0.0.1:9164 or [::1]:0"),
        (["--bind", "foo"], "wanted an address, as in 127.0.0.1 or ::1"),
        (["--queue-bytes", "0"], "'0' for '--queue-bytes <BYTES>': 0 is not in 1.."),
        (
            ["--large-dir", "/nonexistent"],
            "cannot write large messages to `/nonexistent` (`--large-dir`): No such file",
        ),
    ] {
        let found = refused(&args, &[]);
        assert!(found.contains(said), "{args:?}: {found}");
        assert!(!found.contains("AceBase clients connect here"), "{found}");
    }
}

#[test]
fn what_the_environment_says_is_in_the_help() {
    let help = told(&["--help"]);
    for part in
        ["\nEnvironment:\n", " DAE_SOCKET=FILE ", " DAE_TOKEN_FILE=FILE ", " DAE_RELAY_PORT=7000 "]
    {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
}
