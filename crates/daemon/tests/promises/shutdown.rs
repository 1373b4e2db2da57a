use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{
    lab::{lab, serve},
    netcat::{Netcat, PATIENCE, code},
};

#[tokio::test]
async fn at_the_end_all_that_was_read_is_answered_and_streams_are_told() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    guest.say("wait#1 [\"a\"]\nwait [\"b\"]\necho [1]\necho [2]\n").await;
    let mut other = Netcat::connect(lab.port).await;
    while lab.state.entered.load(SeqCst) < 2 {
        other.ask("echo [1]").await;
    }
    let (a, b, port) = (lab.state.gate("a"), lab.state.gate("b"), lab.port);
    let begun = Instant::now();
    let served = lab.end();
    assert!(other.hear_out().await.is_empty());
    drop(other);
    assert!(common_tcp::Socket::connect(&common_tcp::Address::local(port)).await.is_err());
    b.add_permits(1);
    assert_eq!(guest.hear().await, "wait [\"b\"]");
    assert_eq!(guest.hear().await, "echo [1]");
    assert_eq!(guest.hear().await, "echo [2]");
    assert_eq!(guest.hear().await, "end#s [{\"reason\":\"shutting-down\"}]");
    a.add_permits(1);
    assert_eq!(guest.hear_out().await, ["wait#1 [\"a\"]"]);
    drop(guest);
    timeout(PATIENCE, served).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "nobody was waited for");
}

#[tokio::test]
async fn what_still_runs_after_the_grace_is_answered_by_an_error() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    guest.say("wait#1 [\"a\"]\nwait [\"b\"]\necho [1]\n").await;
    while lab.state.entered.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let served = lab.end();
    let heard = guest.hear_out().await;
    assert!(begun.elapsed() > Duration::from_secs(4), "they had five seconds");
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert!(heard[0].starts_with("err#1 "));
    assert_eq!(code(&heard[0]), "shutting-down");
    assert!(heard[1].starts_with("err "));
    assert_eq!(code(&heard[1]), "shutting-down");
    assert_eq!(heard[2], "echo [1]");
    assert_eq!(heard[3], "end#s [{\"reason\":\"shutting-down\"}]");
    timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_guest_that_was_slow_hears_the_end_of_its_stream() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    guest.say("big [16000000]\nbig [1]\n").await;
    let mut other = Netcat::connect(lab.port).await;
    for _ in 0..20 {
        other.ask("echo [1]").await;
    }
    let state = lab.state.clone();
    let served = lab.end();
    assert!(other.hear_out().await.is_empty());
    let heard = guest.hear_out().await;
    assert_eq!(heard[1], "big [\"x\"]");
    assert_eq!(heard[2], "end#s [{\"reason\":\"shutting-down\"}]");
    assert_eq!(state.tell("up".into(), json!(1)), 0);
    drop((guest, other));
    timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_service_hears_of_the_end_and_a_deaf_one_does_not_prevent_it() {
    static HEARD: AtomicBool = AtomicBool::new(false);
    let daemon = lab()
        .service(|state, mut shutdown| async move {
            state.gate("a").add_permits(1);
            shutdown.requested().await;
            HEARD.store(true, SeqCst);
        })
        .service(|_, _| std::future::pending());
    let lab = serve(daemon).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("wait [\"a\"]").await, "wait [\"a\"]");
    drop(guest);
    timeout(PATIENCE, lab.end()).await.unwrap().unwrap();
    assert!(HEARD.load(SeqCst));
}

#[tokio::test]
async fn a_manager_that_is_not_there_does_not_delay_the_end() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let environment = daemon::Environment {
        secret: Some("s1".into()),
        manager_port: Some(port),
        ..daemon::Environment::default()
    };
    let settings = daemon::Settings { environment, ..daemon::Settings::default() };
    let lab = serve(lab().settings(settings)).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("echo [1]").await, "echo [1]");
    drop(guest);
    let begun = Instant::now();
    timeout(PATIENCE, lab.end()).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
}
