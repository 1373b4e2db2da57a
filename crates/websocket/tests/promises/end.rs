//! How sockets, and servers, come to their end.

use std::time::Duration;

use websocket::{Answer, End, Frame, Limits, Link, Rules, Server, Socket, SocketLimits, code};

use crate::lab::{Lab, Raw, eventually, frame, patiently};

#[tokio::test]
async fn who_drops_a_socket_closes_it_behind_what_was_sent() {
    let lab = Lab::serving(Limits::default(), async |socket: Socket| {
        socket.sender().send(Frame::text("last"));
    })
    .await;
    let mut raw = lab.open().await;
    assert_eq!(raw.frame().await, Some((0x81, b"last".to_vec())));
    raw.is_closed_with(code::NORMAL).await;
    // What is still on its way is not taken for the answer.
    raw.send(&[frame(0x81, b"late"), frame(0x88, b"\x03\xE8")].concat()).await;
    assert_eq!(raw.frame().await, None);
}

/// Replies to each message, and closes at the first with 4001.
async fn close_at_the_first(mut socket: Socket) {
    let sender = socket.sender();
    while let Some(message) = socket.read().await {
        sender.close(4001.try_into().unwrap(), "log in again");
        assert_eq!(sender.send(Frame::text("news")), websocket::Sent::Gone);
        assert!(sender.reply(message.to_frame()), "it was read before");
    }
    assert_eq!(socket.end(), Some(&End::ByUs(4001.try_into().unwrap())));
    assert!(sender.reply(Frame::text("late")), "answers may take their time");
    drop(socket);
    assert!(!sender.reply(Frame::text("too late")));
}

#[tokio::test]
async fn what_was_read_before_a_close_is_answered() {
    let lab = Lab::serving(Limits::default(), close_at_the_first).await;
    let mut raw = lab.open().await;
    raw.send(&[frame(0x81, b"1"), frame(0x81, b"2"), frame(0x81, b"3")].concat()).await;
    for expected in [&b"1"[..], b"2", b"3", b"late"] {
        assert_eq!(raw.frame().await, Some((0x81, expected.to_vec())));
    }
    assert_eq!(raw.frame().await, Some((0x88, b"\x0F\xA1log in again".to_vec())));
}

/// A server that leaves little unread, and gives little time.
fn hasty() -> Limits {
    let socket = SocketLimits { pause_bytes: 1_000, ..SocketLimits::default() };
    Limits { socket, closing: Duration::from_millis(100), ..Limits::default() }
}

#[tokio::test]
async fn who_takes_no_answers_is_not_waited_for_at_a_close() {
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let lab = Lab::serving(hasty(), move |mut socket: Socket| {
        let ends = ends.clone();
        async move {
            let sender = socket.sender();
            while socket.read().await.is_some() {
                sender.close(code::NORMAL, "");
                sender.reply(Frame::binary(&vec![0; 32 << 20]));
            }
            assert!(!sender.reply(Frame::text("too late")));
            ends.send(socket.end().cloned()).unwrap();
        }
    })
    .await;
    let mut raw = lab.open().await;
    raw.send(&frame(0x81, b"much").repeat(2)).await;
    assert_eq!(patiently(ended.recv()).await, Some(Some(End::ByUs(code::NORMAL))));
}

#[tokio::test]
async fn who_has_a_sender_keeps_nothing_of_a_connection_that_is_gone() {
    let (senders, mut sender) = tokio::sync::mpsc::unbounded_channel();
    let lab = Lab::serving(hasty(), move |socket: Socket| {
        let senders = senders.clone();
        async move {
            socket.sender().reply(Frame::binary(&vec![0; 32 << 20]));
            senders.send(socket.sender()).unwrap();
        }
    })
    .await;
    let _raw = lab.open().await;
    let sender = patiently(sender.recv()).await.unwrap();
    assert!(sender.queued_bytes() > 1 << 20);
    patiently(sender.drained()).await;
    assert_eq!(sender.queued_bytes(), 0);
    assert!(!sender.reply(Frame::text("too late")));
}

#[tokio::test]
async fn who_closes_while_it_is_closed_is_not_waited_for() {
    let limits = Limits { closing: Duration::from_secs(3_600), ..Limits::default() };
    let lab = Lab::serving(limits, async |mut socket: Socket| {
        let sender = socket.sender();
        socket.read().await;
        sender.close(code::NORMAL, "");
        // The peer's close is read already.
        assert!(socket.read().await.is_none());
    })
    .await;
    let mut raw = lab.open().await;
    raw.send(&[frame(0x81, b"x"), frame(0x88, b"\x03\xE9")].concat()).await;
    raw.is_closed_with(code::NORMAL).await;
    assert_eq!(raw.frame().await, None, "an orderly end");
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
        raw.is_closed_with(code::INTERNAL).await;
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
            raw.is_closed_with(code::GOING_AWAY).await;
            raw.send(&frame(0x88, b"\x03\xE9")).await;
            assert_eq!(raw.frame().await, None);
        }
    };
    tokio::join!(gone, leave);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn who_has_asked_nothing_is_not_waited_for_at_the_end() {
    let hour = Duration::from_secs(3_600);
    let limits = Limits { handshake: hour, closing: hour, ..Limits::default() };
    let (lab, _) = Lab::echo(limits).await;
    let (mut idle, mut begun) = (lab.connect().await, lab.connect().await);
    begun.send(b"GET / HT").await;
    let control = lab.control.clone();
    eventually(|| control.counters().connections == 2).await;
    lab.end().await;
    assert_eq!(idle.read_to_end().await, "");
    begun.read_to_end().await;
}

#[tokio::test]
async fn who_stands_in_the_entrance_at_the_end_is_told() {
    let server = Server::new(Limits::default(), Rules::default()).unwrap();
    let entrance = server.entrance();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let (server_side, stream) = tokio::io::duplex(1 << 10);
        assert!(entrance.admit(server_side, b"", Link::default()).await);
        clients.push(Raw { stream });
    }
    // Some may be let in before it is seen that the server ends.
    let served = server.serve(async |_| Answer::text(200, ""), std::future::ready(()));
    let served = tokio::spawn(served);
    let mut told = 0;
    for client in &mut clients {
        told += usize::from(client.read_to_end().await.starts_with("HTTP/1.1 503 "));
    }
    assert!(told > 0);
    drop(clients);
    patiently(served).await.unwrap();
    let (server_side, _) = tokio::io::duplex(1);
    assert!(!entrance.admit(server_side, b"", Link::default()).await);
}
