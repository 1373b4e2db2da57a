//! The programs printed in `crates/common-tcp/PROTOCOL.md` do what the page says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Dae, workspace};

#[test]
fn the_printed_client_and_daemon_run_under_the_manager() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 on this machine");
        return;
    }
    let dae = Dae::start();
    let [client, daemon] = programs(dae.home());
    dae.succeed(["install", "Sample", "python3", "--", daemon.to_str().unwrap()]);

    let output = Command::new("python3")
        .arg(client)
        .env("DAE_PORT", dae.port().to_string())
        .output()
        .unwrap();

    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{'x': 1}\n", "{error}");
}

/// Writes the page's two Python programs into `directory`.
fn programs(directory: &Path) -> [PathBuf; 2] {
    let page = fs::read_to_string(workspace().join("crates/common-tcp/PROTOCOL.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```python\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    let [client, daemon] = blocks[..] else { panic!("{} programs, not two", blocks.len()) };
    [("client.py", client), ("memo.py", daemon)].map(|(name, text)| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    })
}
