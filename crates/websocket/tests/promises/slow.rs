//! Peers that take their time, and those that take too much of it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, duplex},
    sync::mpsc::unbounded_channel,
    time::{Instant, sleep},
};
use websocket::{End, Frame, Limits, Pace, Ping, Socket, code};

use crate::lab::{Lab, echo, frame, patiently};

fn patient_for(patience: Duration) -> Limits {
    let pace = Pace { patience, bytes_per_second: 1 << 20 };
    Limits { pace, ..Limits::default() }
}

#[tokio::test]
async fn a_flush_does_not_wait_for_who_takes_nothing() {
    let (ends, mut ended) = unbounded_channel();
    let lab = Lab::serving(patient_for(Duration::from_millis(100)), move |mut socket: Socket| {
        let ends = ends.clone();
        async move {
            socket.sender().reply(Frame::binary(&vec![0; 32 << 20]));
            socket.flush().await;
            ends.send(socket.end().cloned()).unwrap();
        }
    })
    .await;
    let _raw = lab.open().await;
    assert_eq!(patiently(ended.recv()).await, Some(Some(End::Slow)));
}

#[tokio::test]
async fn a_flush_waits_for_all_that_was_sent_before_it() {
    let (ends, mut ended) = unbounded_channel();
    let lab = Lab::serving(patient_for(Duration::from_secs(20)), move |mut socket: Socket| {
        let ends = ends.clone();
        async move {
            let sender = socket.sender();
            for _ in 0..100 {
                sender.reply(Frame::binary(&[0; 10_000]));
            }
            socket.flush().await;
            ends.send((socket.end().cloned(), sender.queued_bytes())).unwrap();
        }
    })
    .await;
    let (server, client) = duplex(1 << 10);
    let mut raw = lab.open_over(server, client).await;
    for _ in 0..100 {
        assert!(ended.is_empty());
        raw.frame().await.unwrap();
    }
    assert_eq!(patiently(ended.recv()).await, Some((None, 0)));
}

#[tokio::test]
async fn who_does_not_go_on_with_a_message_is_closed_with_1008() {
    let (lab, mut ends) = Lab::echo(patient_for(Duration::from_millis(100))).await;
    let begun = [frame(0x02, b"fragment"), frame(0x89, b"")].concat();
    for begin in [&frame(0x82, &[0; 1000])[..500], &begun] {
        let mut raw = lab.open().await;
        raw.send(begin).await;
        if begin == begun {
            assert_eq!(raw.frame().await, Some((0x8A, vec![])));
        }
        raw.is_closed_with(code::POLICY).await;
        assert_eq!(patiently(ends.recv()).await, Some(End::Stalled));
    }
    // Between messages there is no hurry.
    let mut raw = lab.open().await;
    raw.send(&frame(0x81, b"x")).await;
    raw.frame().await.unwrap();
    sleep(Duration::from_millis(300)).await;
    raw.send(&frame(0x81, b"y")).await;
    assert_eq!(raw.frame().await, Some((0x81, b"y".to_vec())));
}

#[tokio::test]
async fn the_time_in_which_nobody_reads_is_not_the_peer_s() {
    let patience = Duration::from_secs(5);
    let lab = Lab::serving(patient_for(patience), async |mut socket: Socket| {
        socket.read().await;
        socket.during(sleep(Duration::from_secs(6))).await;
        socket.sender().reply(Frame::text("done"));
        echo(&mut socket).await;
    })
    .await;
    let mut raw = lab.open().await;
    let rest = frame(0x81, b"rest");
    raw.send(&[&frame(0x81, b"work"), &rest[..4]].concat()).await;
    assert_eq!(raw.frame().await, Some((0x81, b"done".to_vec())));
    raw.send(&rest[4..]).await;
    assert_eq!(raw.frame().await, Some((0x81, b"rest".to_vec())));
}

#[tokio::test]
async fn who_takes_what_it_is_sent_is_not_silent() {
    let ping = Some(Ping { interval: Duration::from_secs(2), most_lost: 1 });
    let (ends, ended) = unbounded_channel();
    let lab = Lab::serving(Limits { ping, ..Limits::default() }, move |mut socket: Socket| {
        let ends = ends.clone();
        async move {
            socket.sender().send(Frame::binary(&[0; 100_000]));
            socket.read().await;
            ends.send(socket.end().cloned()).unwrap();
        }
    })
    .await;
    let (server, client) = duplex(1 << 10);
    let mut raw = lab.open_over(server, client).await;
    // It answers no ping, since it has not come so far.
    let (begun, mut part) = (Instant::now(), [0; 1 << 10]);
    while begun.elapsed() < Duration::from_secs(8) {
        patiently(raw.stream.read_exact(&mut part)).await.unwrap();
        sleep(Duration::from_millis(90)).await;
    }
    assert!(ended.is_empty());
}
