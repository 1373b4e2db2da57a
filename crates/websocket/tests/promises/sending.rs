//! What those who send can say of it.

use tokio::{io::duplex, sync::oneshot};
use websocket::{DecoderLimits, Fault, Frame, Limits, Sent, Socket, SocketLimits, Utf8, code};

use crate::lab::{Lab, Raw, echo, eventually, frame, patiently};

/// A peer to whom bulk is on its way, of which it takes nothing so far.
async fn with_bulk() -> (Lab, Raw<tokio::io::DuplexStream>, websocket::Sender) {
    let (lab, mut sender) = Lab::senders().await;
    let (server, client) = duplex(1 << 10);
    let raw = lab.open_over(server, client).await;
    let sender = patiently(sender.recv()).await.unwrap();
    let before = lab.control.counters().bytes_out;
    assert_eq!(sender.send(Frame::text(&"bulk".repeat(1_000))), Sent::Queued);
    assert_eq!(sender.send(Frame::text("more")), Sent::Queued);
    eventually(|| lab.control.counters().bytes_out > before).await;
    (lab, raw, sender)
}

async fn texts<const COUNT: usize>(raw: &mut Raw<tokio::io::DuplexStream>) -> [String; COUNT] {
    let mut texts = Vec::new();
    for _ in 0..COUNT {
        texts.push(String::from_utf8(raw.frame().await.unwrap().1).unwrap());
    }
    texts.try_into().unwrap()
}

#[tokio::test]
async fn what_is_urgent_goes_ahead_of_what_waits() {
    let (_lab, mut raw, sender) = with_bulk().await;
    assert!(sender.oldest().is_some());
    assert!(sender.send_urgent(Frame::text("pong")));
    let [bulk, pong, more] = texts(&mut raw).await;
    assert_eq!((bulk.len(), &*pong, &*more), (4_000, "pong", "more"));
    patiently(sender.drained()).await;
    assert_eq!((sender.queued_bytes(), sender.oldest()), (0, None));
}

#[tokio::test]
async fn the_latest_of_its_kind_replaces_what_waits_and_what_waits_can_be_dropped() {
    let (_lab, mut raw, sender) = with_bulk().await;
    for text in ["1", "2", "3"] {
        assert_eq!(sender.send_latest(7, Frame::text(text)), Sent::Queued);
    }
    assert_eq!(sender.drop_queued(), 2, "more, and one of its kind");
    assert_eq!(sender.dropped(), 2);
    assert_eq!(sender.send_latest(7, Frame::text("4")), Sent::Queued);
    let [bulk, latest] = texts(&mut raw).await;
    assert_eq!((bulk.len(), &*latest), (4_000, "4"));
}

#[tokio::test]
async fn many_may_be_sent_one_payload_with_a_head_for_each() {
    let (lab, mut sender) = Lab::senders().await;
    let shared = Utf8::from("shared".repeat(20_000));
    for number in 0..3 {
        let mut raw = lab.open().await;
        let sender = patiently(sender.recv()).await.unwrap();
        sender.send(Frame::text_sharing(&format!("{number} "), &shared));
        let expected = format!("{number} {}", "shared".repeat(20_000));
        assert_eq!(raw.frame().await, Some((0x81, expected.into_bytes())));
    }
}

#[tokio::test]
async fn other_limits_hold_from_when_they_are_set() {
    let lab = Lab::serving(Limits::default(), async |mut socket: Socket| {
        socket.read().await;
        let incoming = DecoderLimits { message_bytes: 10, fragments: 1 };
        socket.set_limits(SocketLimits { incoming, queue_messages: 1, ..SocketLimits::default() });
        let sender = socket.sender();
        assert_eq!(sender.send(Frame::text("one")), Sent::Queued);
        assert_eq!(sender.send(Frame::text("two")), Sent::Gone);
        drop(socket);
    })
    .await;
    let mut raw = lab.open().await;
    raw.send(&frame(0x81, &[b'x'; 11])).await;
    raw.is_closed_with(code::TRY_AGAIN).await;

    let (waits, waited) = oneshot::channel::<()>();
    let waited = std::sync::Arc::new(std::sync::Mutex::new(Some(waited)));
    let lab = Lab::serving(Limits::default(), move |mut socket: Socket| {
        let waited = waited.lock().unwrap().take().unwrap();
        async move {
            waited.await.unwrap();
            let incoming = DecoderLimits { message_bytes: 10, fragments: 1 };
            socket.set_limits(SocketLimits { incoming, ..SocketLimits::default() });
            echo(&mut socket).await;
            let fault = Fault::TooLong { bytes: 11, most: 10 };
            assert_eq!(socket.end(), Some(&websocket::End::Broken(fault)));
        }
    })
    .await;
    let mut raw = lab.open().await;
    waits.send(()).unwrap();
    raw.send(&frame(0x81, &[b'x'; 10])).await;
    assert_eq!(raw.frame().await, Some((0x81, vec![b'x'; 10])));
    raw.send(&frame(0x81, &[b'x'; 11])).await;
    raw.is_closed_with(code::TOO_BIG).await;
}
