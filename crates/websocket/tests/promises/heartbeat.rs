//! Signs of life.

use std::time::Duration;

use websocket::{Answer, End, Limits, Ping, Request, Rules, Socket, code};

use crate::lab::{Lab, eventually, frame, handshake, patiently};

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

#[tokio::test]
async fn a_route_may_ask_at_other_times_than_its_server() {
    let silent = Limits { ping: None, ..Limits::default() };
    let lab = Lab::start(silent, Rules::default(), async |request: Request| {
        let answer = Answer::accept(async |mut socket: Socket| crate::lab::echo(&mut socket).await);
        match request.query() {
            Some("often") => answer.with_ping(often(9).ping),
            _ => answer,
        }
    })
    .await;
    let mut never = lab.open().await;
    let mut asked = lab.connect().await;
    asked.send(handshake("/?often", "").as_bytes()).await;
    asked.read_head().await;
    for _ in 0..3 {
        assert_eq!(asked.frame().await, Some((0x89, vec![])));
    }
    never.send(&frame(0x81, b"x")).await;
    assert_eq!(never.frame().await, Some((0x81, b"x".to_vec())));
    // Who is never asked is closed at the end as all are.
    let gone = lab.end();
    let leave = async {
        never.is_closed_with(code::GOING_AWAY).await;
        never.send(&frame(0x88, b"\x03\xE9")).await;
        drop(asked);
    };
    tokio::join!(gone, leave);
}

#[tokio::test]
async fn a_sender_asks_and_hears_whether_the_peer_is_there() {
    let (lab, mut sender) = Lab::senders().await;
    let mut raw = lab.open().await;
    let sender = patiently(sender.recv()).await.unwrap();
    for answers in [b"".to_vec(), frame(0x8A, b"")] {
        let asked = tokio::time::Instant::now();
        sender.ping();
        assert_eq!(raw.frame().await, Some((0x89, vec![])));
        raw.send(&answers).await;
        match answers.len() {
            0 => assert!(sender.heard() < asked, "it has said nothing"),
            _ => eventually(|| sender.heard() > asked).await,
        }
    }
}

#[tokio::test]
async fn who_is_asked_answers_or_has_gone() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let lab =
        Lab::serving(Limits { ping: None, ..Limits::default() }, move |mut socket: Socket| {
            tell.send(socket.sender()).unwrap();
            async move { while socket.read().await.is_some() {} }
        })
        .await;
    let mut raw = lab.open().await;
    let sender = patiently(told.recv()).await.unwrap();
    let long = Duration::from_secs(3600);
    let asked = sender.clone();
    let asking = tokio::spawn(async move { asked.is_there(long).await });
    assert_eq!(raw.frame().await, Some((0x89, vec![])));
    raw.send(&frame(0x8A, b"")).await;
    assert!(patiently(asking).await.unwrap());

    assert!(!sender.is_there(Duration::from_millis(10)).await, "nobody has answered");
    let asking = tokio::spawn(async move { sender.is_there(long).await });
    drop(raw);
    assert!(!patiently(asking).await.unwrap());
}

#[tokio::test]
async fn who_is_abandoned_gets_nothing_of_what_waits_but_the_close() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let lab = Lab::serving(Limits::default(), move |mut socket: Socket| {
        tell.send(socket.sender()).unwrap();
        async move { while socket.read().await.is_some() {} }
    })
    .await;
    let mut raw = lab.open().await;
    let sender = patiently(told.recv()).await.unwrap();
    // All of this happens before the socket's task is at work again.
    sender.send(websocket::Frame::text("never read"));
    sender.abandon(code::POLICY, "gone");
    assert_eq!(raw.frame().await, Some((0x88, [&[3, 0xF0], &b"gone"[..]].concat())));
}
