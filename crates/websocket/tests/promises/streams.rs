//! Connections that are no plain TCP.

use tokio::io::{BufWriter, duplex};
use websocket::{Limits, Link};

use crate::lab::{Lab, Raw, frame, handshake};

#[tokio::test]
async fn what_a_stream_keeps_is_flushed_until_all_has_left() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    // It takes a megabyte at once, and passes it on a little at a time.
    let (server, client) = duplex(100);
    let mut raw = lab.open_over(BufWriter::with_capacity(1 << 20, server), client).await;
    for size in [10_000, 1, 50_000] {
        raw.send(&frame(0x82, &vec![7; size])).await;
        assert_eq!(raw.frame().await, Some((0x82, vec![7; size])));
    }
    raw.send(&frame(0x88, b"\x03\xE8")).await;
    assert_eq!(raw.frame().await, Some((0x88, b"\x03\xE8".to_vec())));
    assert_eq!(raw.frame().await, None);
}

#[tokio::test]
async fn what_was_read_before_somebody_is_let_in_counts() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let begin = [handshake("/", "").as_bytes(), &frame(0x81, b"early")].concat();
    for cut in [0, 1, 30, begin.len()] {
        let (server, stream) = duplex(1 << 10);
        let (read, to_come) = begin.split_at(cut);
        assert!(lab.entrance.admit(server, read, Link::default()).await);
        let mut raw = Raw { stream };
        raw.send(to_come).await;
        raw.read_head().await;
        assert_eq!(raw.frame().await, Some((0x81, b"early".to_vec())));
    }
}

#[tokio::test]
async fn a_connection_that_somebody_else_accepted_is_served() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    assert!(lab.entrance.admit_tcp(accepted.unwrap().0, b"").await);
    let mut raw = Raw { stream: client.unwrap() };
    raw.shake_hands().await;
    raw.send(&frame(0x81, b"x")).await;
    assert_eq!(raw.frame().await, Some((0x81, b"x".to_vec())));
}
