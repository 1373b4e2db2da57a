//! Two hundred who subscribe to one tree; `cargo xtask soak subscribers` does the same with ten
//! thousand, and is what is run here.

use std::process::{Command, Output};

use crate::harness::binary;

fn soak(more: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("300").arg(binary("xtask")).args(["soak", "subscribers", "200", "--program"]);
    command.arg(binary("state")).args(["--changes", "120"]).args(more).output().unwrap()
}

#[test]
fn every_mirror_of_two_hundred_is_what_there_is() {
    let Output { status, stdout, stderr } = soak(&[]);
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(status.success() && said.ends_with("all promises hold\n"), "{said}");
}

#[test]
fn one_event_that_is_lost_is_noticed() {
    let Output { status, stdout, .. } = soak(&["--lose", "1000"]);
    let said = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("BROKEN: has a gap in its stream (1 times"), "{said}");
}
