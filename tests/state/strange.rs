//! Every command with arguments that are right and such as are not, for a few seconds: `cargo xtask
//! soak commands` does the same for longer, and is what is run here.

use std::process::Command;

use crate::harness::binary;

#[test]
fn whatever_is_asked_is_answered_and_what_is_stored_is_well() {
    let mut command = Command::new("timeout");
    command.arg("300").arg(binary("xtask")).args(["soak", "commands", "3", "--program"]);
    let output = command.arg(binary("state")).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.ends_with("all promises hold\n"), "{said}");
}
