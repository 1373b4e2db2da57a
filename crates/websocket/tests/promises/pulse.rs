//! Signs of life.

use std::time::Duration;

use websocket::{End, Limits, Ping};

use crate::lab::{Lab, frame, patiently};

fn often(most_lost: u8) -> Limits {
    let interval = Duration::from_millis(40);
    Limits { ping: Some(Ping { interval, most_lost }), ..Limits::default() }
}

#[tokio::test]
async fn who_answers_nothing_is_dropped_after_so_many_pings() {
    let (lab, mut ends) = Lab::echo(often(3)).await;
    let mut raw = lab.open().await;
    for _ in 0..3 {
        assert_eq!(raw.frame().await, Some((0x89, vec![])));
    }
    assert_eq!(raw.frame().await, None, "there is nobody to tell");
    assert_eq!(patiently(ends.recv()).await, Some(End::Silent));
}

#[tokio::test]
async fn who_answers_stays() {
    let (lab, _) = Lab::echo(often(2)).await;
    let mut raw = lab.open().await;
    for _ in 0..10 {
        assert_eq!(raw.frame().await, Some((0x89, vec![])));
        raw.send(&frame(0x8A, b"")).await;
    }
    raw.send(&frame(0x81, b"here")).await;
    loop {
        match raw.frame().await.unwrap() {
            (0x89, _) => raw.send(&frame(0x8A, b"")).await,
            other => break assert_eq!(other, (0x81, b"here".to_vec())),
        }
    }
}

#[tokio::test]
async fn who_is_being_worked_for_is_not_taken_for_silent() {
    let lab = Lab::serving(often(1), async |mut socket: websocket::Socket| {
        socket.read().await;
        socket.during(tokio::time::sleep(Duration::from_millis(400))).await;
        socket.sender().reply(websocket::Frame::text("done"));
        socket.read().await;
    })
    .await;
    let mut raw = lab.open().await;
    raw.send(&frame(0x81, b"work")).await;
    loop {
        match raw.frame().await.expect("it stays") {
            (0x89, _) => raw.send(&frame(0x8A, b"")).await,
            other => break assert_eq!(other, (0x81, b"done".to_vec())),
        }
    }
}
