//! Clients that others have written.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};
use websocket::Limits;

use crate::lab::Lab;

/// A fixed version, so that a new one can't turn a build red.
const WS: &str = "ws@8.18.3";

const PYTHON: &str = r#"
import asyncio, sys, websockets

async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        for sent in ["", "ä😀" * 10000, bytes(70000)]:
            await socket.send(sent)
            assert await socket.recv() == sent
        await socket.send(["in ", "fragments"])
        assert await socket.recv() == "in fragments"
        await (await socket.ping())

asyncio.run(main())
"#;

#[tokio::test]
async fn a_client_for_node_finds_what_it_expects() {
    let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ws");
    if !modules.join("node_modules/ws/package.json").exists() {
        std::fs::create_dir_all(&modules).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--silent", WS, "--prefix"]).arg(&modules);
        assert!(run(npm.stdout(Stdio::null())).await, "cannot have {WS}");
    }
    let (lab, _) = Lab::echo(Limits::default()).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promises/clients.js");
    let mut node = Command::new("node");
    node.arg(script).arg(format!("ws://{}/", lab.address));
    assert!(run(node.env("NODE_PATH", modules.join("node_modules"))).await);
}

#[tokio::test]
async fn a_client_for_python_finds_what_it_expects() {
    let mut look = Command::new("python3");
    look.args(["-c", "import websockets"]).stderr(Stdio::null());
    if !run(&mut look).await {
        // Not everybody has it, and the one for Node asks the same.
        return;
    }
    let (lab, _) = Lab::echo(Limits::default()).await;
    let mut python = Command::new("python3");
    assert!(run(python.args(["-c", PYTHON]).arg(format!("ws://{}/", lab.address))).await);
}

async fn run(command: &mut Command) -> bool {
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    timeout(Duration::from_secs(120), child.wait()).await.unwrap().unwrap().success()
}
