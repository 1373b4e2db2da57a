//! How sockets, and servers, come to their end.

use std::time::Duration;

use websocket::{Frame, Limits, Socket};

use crate::lab::{Lab, frame};

#[tokio::test]
async fn who_drops_a_socket_closes_it_behind_what_was_sent() {
    let lab = Lab::serving(Limits::default(), async |socket: Socket| {
        socket.sender().send(Frame::text("last"));
    })
    .await;
    let mut raw = lab.open().await;
    assert_eq!(raw.frame().await, Some((0x81, b"last".to_vec())));
    raw.is_closed_with(1000).await;
    // What is still on its way is not taken for the answer.
    raw.send(&[frame(0x81, b"late"), frame(0x88, b"\x03\xE8")].concat()).await;
    assert_eq!(raw.frame().await, None);
}

#[tokio::test]
async fn a_sender_closes_with_code_and_reason_from_anywhere() {
    let lab = Lab::serving(Limits::default(), async |mut socket: Socket| {
        let sender = socket.sender();
        tokio::join!(async { while socket.read().await.is_some() {} }, async {
            sender.send(Frame::text("last"));
            sender.close(4001, "log in again");
            assert!(!sender.reply(Frame::text("too late")));
        });
    })
    .await;
    let mut raw = lab.open().await;
    assert_eq!(raw.frame().await, Some((0x81, b"last".to_vec())));
    assert_eq!(raw.frame().await, Some((0x88, b"\x0F\xA1log in again".to_vec())));
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_socket() {
    let lab = Lab::serving(Limits::default(), async |mut socket: Socket| {
        socket.read().await;
        panic!("on purpose");
    })
    .await;
    for _ in 0..2 {
        let mut raw = lab.open().await;
        raw.send(&frame(0x81, b"x")).await;
        raw.is_closed_with(1011).await;
    }
}

#[tokio::test]
async fn at_the_end_all_are_answered_closed_and_gone() {
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let (lab, _) = Lab::echo(limits).await;
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut raw = lab.open().await;
        raw.send(&frame(0x81, b"asked")).await;
        all.push(raw);
    }
    let _idle = lab.connect().await;
    let address = lab.address;
    for raw in &mut all {
        assert_eq!(raw.frame().await, Some((0x81, b"asked".to_vec())));
    }
    let gone = lab.end();
    let leave = async {
        for raw in &mut all {
            raw.is_closed_with(1001).await;
            raw.send(&frame(0x88, b"\x03\xE9")).await;
            assert_eq!(raw.frame().await, None);
        }
    };
    tokio::join!(gone, leave);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
