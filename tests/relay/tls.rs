//! TLS with each kind of certificate, as a client that others have written sees it.

use std::process::Command;

use super::house::House;
use crate::harness::{eventually, workspace};

fn file(name: &str) -> String {
    workspace().join("tests/relay/tls").join(name).to_str().unwrap().to_owned()
}

/// What a client in Node is told first, if it trusts our authority and speaks `version`.
fn welcome(house: &House, version: &str) -> Result<String, String> {
    let output = Command::new("timeout")
        .args(["120", "node"])
        .arg(workspace().join("tests/clients/secure.js"))
        .args([&house.door.to_string(), &file("ca.pem"), version])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[test]
fn each_kind_of_certificate_opens_the_door() {
    let (cert, key, locked) = (file("cert.pem"), file("key.pem"), file("key-locked.pem"));
    let (new, old) = (file("new.pfx"), file("old.pfx"));
    for args in [
        &["--tls-cert", &cert, "--tls-key", &key][..],
        &["--tls-cert", &cert, "--tls-key", &locked, "--tls-key-password", "sesame"],
        &["--tls-pfx", &new, "--tls-passphrase", "sesame"],
        &["--tls-pfx", &old, "--tls-passphrase", "sesame"],
        &["SSL=1", &format!("pfx_path={old}"), "PASSPHRASE=sesame"],
    ] {
        let house = House::start(args);
        // It never posts, or the token would travel as it is.
        assert_eq!(welcome(&house, "TLSv1.2").unwrap(), "welcome:{\"maxPayload\":16777216}");
    }
    let house =
        House::start(&["--tls-pfx", &new, "--tls-passphrase", "sesame", "--tls-min", "1.3"]);
    assert!(welcome(&house, "TLSv1.3").is_ok() && welcome(&house, "TLSv1.2").is_err());
}

#[test]
fn who_does_not_speak_tls_is_not_answered_and_is_in_the_log() {
    let house = House::start(&["--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")]);
    let answer = house.ask("GET /mydb/clients HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(answer.find("HTTP"), None);
    eventually("it is told", || {
        let said = house.daemon.said();
        let line = said.lines().find(|it| it.contains("turned away peer=127.0.0.1:"))?;
        assert!(line.contains("refusal=\"no handshake: "), "{line}");
        Some(())
    });
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let (cert, locked, older) = (file("cert.pem"), file("key-locked.pem"), file("key-old.pem"));
    let pfx = file("new.pfx");
    for (args, said) in [
        (&["--tls-cert", &cert][..], "go together"),
        (&["--tls-cert", &cert, "--tls-key", &locked], "--tls-key-password"),
        (&["--tls-cert", &cert, "--tls-key", &older], "pkcs8"),
        (&["--tls-cert", &cert, "--tls-key", &cert], "no key"),
        (&["--tls-pfx", &pfx, "--tls-passphrase", "wrong"], "passphrase"),
        (&["--tls-cert", &file("ca.pem"), "--tls-key", &file("key.pem")], "ca.pem` and"),
        (&["SSL=1"], "TLS is wanted"),
        (&["ssl=True"], "TLS is wanted"),
        (&["--tls"], "TLS is wanted"),
        (&["--tls-passphrase", "sesame"], "TLS is wanted"),
        (&["--token", ""], "a token has a character at least"),
        (&["--tls-pfx", "nowhere.pfx"], "cannot read `nowhere.pfx`"),
        (&["--listen", "0.0.0.0:0"], "needs a token"),
        (&["--listen", "0.0.0.0:0", "--token", "x"], "without TLS"),
    ] {
        let output = Command::new(crate::harness::binary("relay"))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{args:?}: {error}");
    }
}
