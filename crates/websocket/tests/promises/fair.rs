//! Those who flood, and those who don't.

use std::{future::poll_fn, task::Poll};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinSet,
};
use websocket::{Limits, Socket};

use crate::lab::{Lab, Raw, echo, frame, patiently};

/// How many messages are sent in one go.
const BURST: usize = 20_000;

/// Sends a burst, and waits until the last of it is answered.
async fn flood(raw: Raw) {
    let (mut read, mut write) = raw.stream.into_split();
    let burst = frame(0x81, b"flood").repeat(BURST);
    let writer = tokio::spawn(async move { write.write_all(&burst).await.map(|()| write) });
    let mut answers = vec![0; BURST * (2 + b"flood".len())];
    patiently(read.read_exact(&mut answers)).await.unwrap();
    drop(writer.await.unwrap().unwrap());
}

/// Reads until there is nothing, or until it must wait for its turn, and then never again.
async fn stop_in_line(mut socket: Socket) {
    poll_fn(|cx| {
        while socket.poll_read(cx).is_ready() {}
        Poll::Ready(())
    })
    .await;
    std::future::pending().await
}

#[tokio::test]
async fn a_socket_that_nobody_polls_holds_up_no_other() {
    let lab = Lab::serving(Limits::default(), async |mut socket: Socket| {
        if socket.read().await == Some(websocket::Message::Text("stop")) {
            stop_in_line(socket).await;
        } else {
            echo(&mut socket).await;
        }
    })
    .await;
    let mut stopped = Vec::new();
    for _ in 0..20 {
        let mut raw = lab.open().await;
        raw.send(&[frame(0x81, b"stop"), frame(0x81, b"flood").repeat(4_000)].concat()).await;
        stopped.push(raw);
    }
    let mut raw = lab.open().await;
    raw.send(&frame(0x81, b"first")).await;
    flood(raw).await;
}

#[tokio::test]
async fn who_asks_little_is_answered_while_others_flood() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let mut floods = JoinSet::new();
    let answered = watch::Sender::new(0);
    for _ in 0..20 {
        let (mut read, mut write) = lab.open().await.stream.into_split();
        let (burst, answered) = (frame(0x81, b"flood").repeat(BURST), answered.clone());
        floods.spawn(async move { while write.write_all(&burst).await.is_ok() {} });
        floods.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = read.read(&mut buffer).await {
                answered.send_modify(|sum| *sum += read);
            }
        });
    }
    let mut calm = lab.open().await;
    for _ in 0..100 {
        calm.send(&frame(0x81, b"calm")).await;
        assert_eq!(calm.frame().await, Some((0x81, b"calm".to_vec())));
    }
    // They still flood, and are answered too.
    let mut answered = answered.subscribe();
    patiently(answered.changed()).await.unwrap();
}
