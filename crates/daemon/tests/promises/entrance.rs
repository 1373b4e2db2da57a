//! Guests who come by another door.

use std::sync::atomic::Ordering::SeqCst;

use daemon::{Connection, Limits};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    lab::{lab, limited, serve},
    netcat::PATIENCE,
};

async fn say(guest: &mut Connection, line: &str) {
    guest.halves().1.extend_from_slice(line.as_bytes());
    guest.write().await.unwrap();
}

/// The next packet; nothing at the end.
async fn hear(guest: &mut Connection) -> Option<String> {
    let packet = timeout(PATIENCE, guest.read()).await.unwrap().unwrap();
    packet.map(|it| it.unwrap()).map(|it| format!("{} {}", it.name, it.args))
}

#[tokio::test]
async fn who_comes_by_another_door_is_a_guest_like_any_other() {
    let lab = serve(lab()).await;
    let mut guest = lab.entrance.admit(None).await.unwrap();
    say(&mut guest, "echo [1]\nnope\nwatch\n").await;
    assert_eq!(hear(&mut guest).await.unwrap(), "echo [1]");
    assert!(hear(&mut guest).await.unwrap().starts_with("err [{\"code\":\"unknown-command\""));
    assert_eq!(hear(&mut guest).await.unwrap(), "watch [\"watching\"]");
    lab.state.tell("up".into(), json!(1));
    assert_eq!(hear(&mut guest).await.unwrap(), "event [\"up\",1,1]");
    // More than is on its way at once.
    let long = "x".repeat(300_000);
    say(&mut guest, &format!("echo [\"{long}\"]\n")).await;
    assert_eq!(hear(&mut guest).await.unwrap(), format!("echo [\"{long}\"]"));
    guest.finish().await.unwrap();
    assert_eq!(hear(&mut guest).await, None);
}

#[tokio::test]
async fn it_takes_a_place_and_gives_it_back_when_it_goes() {
    let lab = serve(limited(Limits { connections: 1, ..Limits::default() })).await;
    let mut first = lab.entrance.admit(None).await.unwrap();
    say(&mut first, "wait [\"a\"]\n").await;
    let mut second = lab.entrance.admit(None).await.unwrap();
    assert!(hear(&mut second).await.unwrap().starts_with("err [{\"code\":\"busy\""));
    assert_eq!(hear(&mut second).await, None);
    drop(first);
    let begun = tokio::time::Instant::now();
    loop {
        let mut next = lab.entrance.admit(None).await.unwrap();
        say(&mut next, "echo [1]\n").await;
        if hear(&mut next).await.unwrap() == "echo [1]" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place stays taken");
    }
    assert_eq!(lab.state.dropped.load(SeqCst), 1);
}

#[tokio::test]
async fn at_the_end_it_is_answered_and_nobody_is_let_in() {
    let lab = serve(lab()).await;
    let entrance = lab.entrance.clone();
    let mut guest = entrance.admit(None).await.unwrap();
    say(&mut guest, "echo [1]\n").await;
    assert_eq!(hear(&mut guest).await.unwrap(), "echo [1]");
    assert!(!entrance.is_closed());
    lab.end().await.unwrap();
    assert_eq!(hear(&mut guest).await, None);
    assert!(entrance.is_closed());
    assert!(entrance.admit(None).await.is_none());
}
