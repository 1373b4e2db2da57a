//! Clients in other languages do what the page of the server shows.

use std::process::Command;

use super::StateServer;
use crate::harness::workspace;

/// Runs a program of `tests/clients` against a server of its own, which has both doors.
fn does(program: &str, args: impl Fn(&StateServer) -> Vec<String>) {
    let server = StateServer::start(&["--listen", "127.0.0.1:0", "--newcomer-idle", "1h"]);
    let file = format!("state.{}", if program == "node" { "js" } else { "py" });
    let output = Command::new("timeout")
        .args(["120", program])
        .arg(workspace().join("tests/clients").join(file))
        .args(args(&server))
        .arg(server.root_password())
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn in_python_with_nothing_but_a_socket() {
    does("python3", |server| vec![server.daemon().port().to_string()]);
}

#[test]
fn in_node_with_nothing_but_a_socket() {
    does("node", |server| vec!["net".to_owned(), server.daemon().port().to_string()]);
}

#[test]
fn in_node_over_websocket() {
    let module = workspace().join("tests/clients/node_modules/ws");
    assert!(
        module.is_dir(),
        "the package `ws` is missing: `npm ci --prefix tests/clients`, as `cargo xtask test` does"
    );
    does("node", |server| vec!["ws".to_owned(), server.door().to_string()]);
}
