//! Clients that others have written.

use std::{io::Write, path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};
use websocket::Limits;

use crate::lab::Lab;

/// Where `cargo xtask test` has installed what clients in Node need.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/node_modules");

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
    assert!(
        Path::new(MODULES).join("ws").is_dir(),
        "the package `ws` is missing: `npm ci --prefix tests/clients`, as `cargo xtask test` does"
    );
    let (lab, _) = Lab::echo(Limits::default()).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promises/clients.js");
    let mut node = Command::new("node");
    node.arg(script).arg(format!("ws://{}/", lab.address));
    assert!(run(node.env("NODE_PATH", MODULES)).await);
}

#[tokio::test]
async fn a_client_for_python_finds_what_it_expects() {
    let mut look = Command::new("python3");
    look.args(["-c", "import websockets"]).stderr(Stdio::null());
    if !run(&mut look).await {
        // Not everybody has it, and the one for Node asks the same. A test's own output is not
        // shown when it passes.
        let skipped = b"skipped: a client for Python, which has no package `websockets` here\n";
        std::io::stderr().write_all(skipped).unwrap();
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
