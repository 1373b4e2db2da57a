//! What a peer can make a server keep.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::mpsc::unbounded_channel;
use websocket::{End, Frame, Limits, Message, Overflow, Sender, Sent, Socket, SocketLimits, code};

use crate::lab::{Lab, frame, patiently};

const QUEUE: usize = 100_000;

fn bounded(overflow: Overflow) -> Limits {
    let socket = SocketLimits { queue_bytes: QUEUE, overflow, ..SocketLimits::default() };
    Limits { socket, ..Limits::default() }
}

/// A server that hands out the senders of its sockets, and tells how they end.
async fn lab(limits: Limits) -> (Lab, impl AsyncFnMut() -> Sender, impl AsyncFnMut() -> End) {
    let ((senders, mut sender), (ends, mut end)) = (unbounded_channel(), unbounded_channel());
    let lab = Lab::serving(limits, move |mut socket: Socket| {
        let (senders, ends) = (senders.clone(), ends.clone());
        async move {
            senders.send(socket.sender()).unwrap();
            while socket.read().await.is_some() {}
            ends.send(socket.end().unwrap().clone()).unwrap();
        }
    })
    .await;
    let sender = async move || patiently(sender.recv()).await.unwrap();
    let end = async move || patiently(end.recv()).await.unwrap();
    (lab, sender, end)
}

/// Message `number`, of about 10 KB.
fn numbered(number: usize) -> Frame {
    Frame::text(&format!("{number} {}", "x".repeat(10_000)))
}

fn number(payload: &[u8]) -> usize {
    std::str::from_utf8(payload).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Sends until `is_enough`; how many were sent before. All that time the queue is bounded.
async fn fill(sender: &Sender, is_enough: impl Fn(Sent) -> bool) -> usize {
    for count in 0.. {
        let sent = sender.send(numbered(count));
        assert!(sender.queued_bytes() < QUEUE + 10_500);
        if is_enough(sent) {
            return count;
        }
        // The socket's task writes what the kernel takes.
        tokio::task::yield_now().await;
    }
    unreachable!("a peer that does not read is slow at some time")
}

#[tokio::test]
async fn who_does_not_read_is_closed_with_1013_and_keeps_nothing() {
    let (lab, mut sender, mut end) = lab(bounded(Overflow::Close)).await;
    let mut raw = lab.open().await;
    let sender = sender().await;
    let count = fill(&sender, |sent| sent == Sent::Gone).await;
    assert_eq!(end().await, End::Slow);
    assert!(sender.is_closed());
    assert!(sender.queued_bytes() < 10_500, "{}", sender.queued_bytes());
    assert_eq!(sender.send(numbered(0)), Sent::Gone);
    // What comes is whole and without a gap, and then it is told.
    let mut next = 0;
    loop {
        match raw.frame().await.unwrap() {
            (0x88, payload) => break assert_eq!(&payload[..2], &1013_u16.to_be_bytes()),
            (_, payload) => assert_eq!(number(&payload), next),
        }
        next += 1;
    }
    assert!(next < count);
}

#[tokio::test]
async fn of_all_who_began_a_message_the_first_goes_if_that_is_too_much() {
    let limits = Limits { unfinished_bytes: 100_000, ..Limits::default() };
    let (lab, mut ended) = Lab::echo(limits).await;
    let begin = [frame(0x01, &[b'x'; 40_000]), frame(0x89, b"?")].concat();
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut raw = lab.open().await;
        raw.send(&begin).await;
        // By then it has been seen.
        assert_eq!(raw.frame().await, Some((0x8A, b"?".to_vec())));
        peers.push(raw);
    }
    peers.remove(0).is_closed_with(code::TRY_AGAIN).await;
    assert_eq!(patiently(ended.recv()).await, Some(End::Crowded));
    // The others go on, and with what is whole there is room again.
    for raw in &mut peers {
        raw.send(&frame(0x80, b"end")).await;
        assert_eq!(raw.frame().await.unwrap().1.len(), 40_003);
    }
    for raw in &mut peers {
        raw.send(&begin).await;
        assert_eq!(raw.frame().await, Some((0x8A, b"?".to_vec())));
        raw.send(&frame(0x80, b"end")).await;
        assert_eq!(raw.frame().await.unwrap().1.len(), 40_003);
    }
}

#[tokio::test]
async fn the_newest_is_dropped_if_that_is_wanted() {
    let (lab, mut sender, _) = lab(bounded(Overflow::DropNewest)).await;
    let mut raw = lab.open().await;
    let sender = sender().await;
    let dropped = fill(&sender, |sent| sent == Sent::Dropped).await;
    assert_eq!(sender.dropped(), 1);
    for expected in 0..dropped {
        assert_eq!(number(&raw.frame().await.unwrap().1), expected);
    }
    // With room again the next one comes, and nothing of the one that was dropped.
    assert_eq!(sender.send(numbered(7)), Sent::Queued);
    assert_eq!(number(&raw.frame().await.unwrap().1), 7);
}

#[tokio::test]
async fn the_oldest_is_dropped_if_that_is_wanted() {
    let (lab, mut sender, _) = lab(bounded(Overflow::DropOldest)).await;
    let mut raw = lab.open().await;
    let sender = sender().await;
    let last = fill(&sender, |_| sender.dropped() == 3).await;
    let mut seen = vec![number(&raw.frame().await.unwrap().1)];
    while *seen.last().unwrap() != last {
        seen.push(number(&raw.frame().await.unwrap().1));
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.len(), last + 1 - 3);
}

#[tokio::test]
async fn a_pong_does_not_wait_behind_what_is_queued() {
    let (senders, mut sender) = unbounded_channel();
    let (reads, mut read) = unbounded_channel();
    let lab = Lab::serving(bounded(Overflow::DropNewest), move |mut socket: Socket| {
        let (senders, reads) = (senders.clone(), reads.clone());
        async move {
            senders.send(socket.sender()).unwrap();
            while socket.read().await.is_some() {
                reads.send(()).unwrap();
            }
        }
    })
    .await;
    let mut raw = lab.open().await;
    let sender = patiently(sender.recv()).await.unwrap();
    let count = fill(&sender, |sent| sent == Sent::Dropped).await;
    raw.send(&[frame(0x89, b"?"), frame(0x81, b"read")].concat()).await;
    patiently(read.recv()).await.unwrap();
    let mut next = 0;
    while raw.frame().await.unwrap().0 != 0x8A {
        next += 1;
    }
    assert!(next < count, "{next} messages came before it, of {count}");
}

#[tokio::test]
async fn who_does_not_read_its_replies_is_not_read_either() {
    const REPLY: usize = 5_000;
    const COUNT: usize = 5_000;
    let most = Arc::<AtomicUsize>::default();
    let pause_bytes = 50_000;
    let socket = SocketLimits { pause_bytes, ..SocketLimits::default() };
    let seen = Arc::clone(&most);
    let lab = Lab::serving(Limits { socket, ..Limits::default() }, move |mut socket: Socket| {
        let seen = Arc::clone(&seen);
        async move {
            let sender = socket.sender();
            while let Some(Message::Binary(bytes)) = socket.read().await {
                sender.reply(Frame::binary(bytes));
                seen.fetch_max(sender.queued_bytes(), SeqCst);
            }
        }
    })
    .await;
    let raw = lab.open().await;
    let (read, mut write) = raw.stream.into_split();
    let writer = tokio::spawn(async move {
        let one = frame(0x82, &[9; REPLY]);
        for _ in 0..COUNT {
            tokio::io::AsyncWriteExt::write_all(&mut write, &one).await.unwrap();
        }
        write
    });
    // It reads nothing before the server keeps as much as it may.
    patiently(async {
        while most.load(SeqCst) < pause_bytes {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut read = tokio::io::BufReader::new(read);
    let mut reply = vec![0; REPLY + 4];
    for _ in 0..COUNT {
        patiently(tokio::io::AsyncReadExt::read_exact(&mut read, &mut reply)).await.unwrap();
        assert_eq!(reply[4..], [9; REPLY]);
    }
    drop(writer.await.unwrap());
    assert!(most.load(SeqCst) <= pause_bytes + REPLY + 500, "{most:?}");
}
