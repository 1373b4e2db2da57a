use std::{fs, net::Ipv4Addr, time::Duration};

use daemon::{BindError, Daemon, Environment, Failure, Guest, Settings};
use tokio::time::Instant;

use crate::{
    lab::{Lab, lab, serve},
    netcat::{Netcat, code},
};

/// The lab with `environment` about it, and the directory that it is in.
fn within(environment: Environment) -> Daemon<Lab> {
    lab().settings(Settings { environment, ..Settings::default() })
}

fn with_token(token: &str) -> (Daemon<Lab>, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("token");
    fs::write(&path, token).unwrap();
    (within(Environment { token_file: Some(path), ..Environment::default() }), home)
}

fn hello(line: &str) -> (String, bool) {
    let args = line.strip_prefix("hello ").unwrap();
    let [it]: [serde_json::Value; 1] = serde_json::from_str(args).unwrap();
    (it["auth"].as_str().unwrap().to_owned(), it["authenticated"].as_bool().unwrap())
}

#[tokio::test]
async fn a_token_opens_what_needs_authorisation() {
    let (daemon, _home) = with_token("abc\n");
    let lab = serve(daemon).await;
    let mut guest = Netcat::connect(lab.port).await;
    let refused = guest.ask("secret#1").await;
    assert!(refused.starts_with("err#1 "));
    assert_eq!(code(&refused), "auth-required");
    assert!(refused.contains("auth ["), "it says what to do: {refused}");
    assert_eq!(hello(&guest.ask("hello").await), ("token".into(), false));
    assert_eq!(guest.ask("auth [\"abc\"]").await, "auth []");
    assert_eq!(hello(&guest.ask("hello [{\"proto\":1}]").await), ("token".into(), true));
    assert_eq!(guest.ask("secret").await, "secret [true]");
}

#[tokio::test]
async fn a_wrong_token_costs_a_second_and_the_third_the_connection() {
    let (daemon, _home) = with_token("abc");
    let lab = serve(daemon).await;
    let mut guest = Netcat::connect(lab.port).await;
    let begun = Instant::now();
    assert_eq!(code(&guest.ask("auth [\"abd\"]").await), "denied");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // Side by side they are no cheaper.
    guest.say("auth#2 [\"\"]\nauth#3 [\"abcd\"]\nauth#4 [\"abc\"]\necho [1]\n").await;
    let heard = guest.hear_out().await;
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard.iter().all(|line| code(line) == "denied"), "{heard:?}");
}

#[tokio::test]
async fn an_empty_token_opens_nothing() {
    let (daemon, _home) = with_token("\n");
    let lab = serve(daemon).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(code(&guest.ask("auth [\"\"]").await), "internal");
    assert_eq!(code(&guest.ask("secret").await), "auth-required");
}

#[tokio::test]
async fn a_unix_socket_of_the_same_user_is_authenticated() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("lab.sock");
    let environment = Environment { socket: Some(socket.clone()), ..Environment::default() };
    let lab = serve(within(environment.clone())).await;
    let mut guest = Netcat::connect_unix(&socket).await;
    assert_eq!(hello(&guest.ask("hello").await), ("peer".into(), true));
    assert_eq!(guest.ask("secret").await, "secret [true]");
    let mut stranger = Netcat::connect(lab.port).await;
    assert_eq!(code(&stranger.ask("secret").await), "auth-required");
    assert_eq!(code(&stranger.ask("auth [\"\"]").await), "not-supported");

    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // Nobody takes a socket that somebody listens on.
    assert!(matches!(within(environment).bind().await, Err(BindError::Unix { .. })));
    drop((guest, stranger));
    lab.end().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_daemon_that_goes_leaves_the_socket_of_its_successor_alone() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("lab.sock");
    let environment = Environment { socket: Some(socket.clone()), ..Environment::default() };
    let first = serve(within(environment.clone())).await;
    // Both found nobody listening, and each put its own file there.
    fs::remove_file(&socket).unwrap();
    let second = serve(within(environment)).await;
    first.end().await.unwrap();
    let mut guest = Netcat::connect_unix(&socket).await;
    assert_eq!(guest.ask("echo [1]").await, "echo [1]");
    drop(guest);
    second.end().await.unwrap();
}

#[tokio::test]
async fn accounts_decide_where_there_are_some() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("lab.sock");
    let environment = Environment { socket: Some(socket.clone()), ..Environment::default() };
    let log_in = |_: &Lab, guest: Guest, user: String, password: String| {
        if (user.as_str(), password.as_str()) != ("ann", "pw") {
            return Err(Failure::new("denied", "no such account"));
        }
        guest.authenticate();
        Ok(())
    };
    let lab = serve(within(environment).accounts(log_in)).await;
    let mut guest = Netcat::connect_unix(&socket).await;
    // Whose socket it is does not count then.
    assert_eq!(hello(&guest.ask("hello").await), ("user".into(), false));
    assert!(guest.ask("secret").await.contains("<password>"));
    assert_eq!(code(&guest.ask("auth [\"ann\",\"x\"]").await), "denied");
    assert_eq!(guest.ask("auth [\"ann\",\"pw\"]").await, "auth []");
    assert_eq!(guest.ask("secret").await, "secret [true]");
    drop(guest);
    lab.end().await.unwrap();
}

#[tokio::test]
async fn nobody_else_may_reach_a_daemon_that_has_neither_token_nor_accounts() {
    let anywhere = Settings { bind: Ipv4Addr::UNSPECIFIED.into(), ..Settings::default() };
    let refused = lab().settings(anywhere.clone()).bind().await;
    assert!(matches!(refused, Err(BindError::Open { .. })));
    let (home, token) = (tempfile::tempdir().unwrap(), "token");
    let token_file = Some(home.path().join(token));
    let environment = Environment { token_file, ..Environment::default() };
    lab().settings(Settings { environment, ..anywhere.clone() }).bind().await.unwrap();
    lab().accounts(|_: &Lab, _: String, _: String| ()).settings(anywhere).bind().await.unwrap();
}
