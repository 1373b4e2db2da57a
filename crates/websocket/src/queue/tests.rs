use std::time::Duration;

use super::*;

fn queue(queue_bytes: usize, overflow: Overflow) -> Queue {
    Queue::new(SocketLimits { queue_bytes, overflow, ..SocketLimits::default() })
}

/// All that leaves, in writes of `size` bytes.
fn drain(queue: &mut Queue, size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    while queue.make_ready() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = queue.slices(&mut slices);
        let all: Vec<u8> = slices[..count].iter().flat_map(|it| it.iter().copied()).collect();
        let written = size.min(all.len());
        wire.extend(&all[..written]);
        queue.forget(written);
    }
    assert_eq!((queue.bytes, queue.pushed_bytes, queue.pushed, queue.sent), (0, 0, 0, 0));
    wire
}

fn wire_of(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|it| Frame::text(it).parts().concat()).collect()
}

#[test]
fn dropping_the_oldest_bounds_bytes_and_not_only_messages() {
    let mut queue = queue(100_000, Overflow::DropOldest);
    for _ in 0..2_000 {
        queue.offer(Frame::text("small"), None);
    }
    for _ in 0..2_000 {
        assert_eq!(queue.offer(Frame::text(&"x".repeat(50_000)), None), Sent::Queued);
        assert!(queue.bytes < 100_000 + 51_000, "{}", queue.bytes);
    }
    assert_eq!(queue.pushed, 2);
}

#[test]
fn many_small_messages_count_for_what_they_take() {
    let mut queue = queue(100_000, Overflow::DropNewest);
    while queue.offer(Frame::text(""), None) == Sent::Queued {}
    assert!(queue.entries.len() * size_of::<Entry>() <= 100_000 + size_of::<Entry>());
}

#[test]
fn replies_take_no_room_from_what_is_pushed() {
    let mut queue = queue(1_000, Overflow::Close);
    for _ in 0..5_000 {
        queue.reply(Frame::text("asked for"));
    }
    assert_eq!(queue.offer(Frame::text("news"), None), Sent::Queued);
}

#[test]
fn what_goes_ahead_stands_before_all_that_is_not_begun() {
    for (sent, expected) in [(0, ["now", "first", "second"]), (3, ["first", "now", "second"])] {
        let mut queue = queue(100_000, Overflow::Close);
        queue.reply(Frame::text("first"));
        queue.offer(Frame::text("second"), None);
        let whole = wire_of(&expected);
        assert!(queue.make_ready());
        queue.forget(sent);
        queue.urgent(Frame::text("never"));
        queue.urgent(Frame::text("now"));
        assert_eq!(drain(&mut queue, 1), whole[sent..]);
    }
}

#[test]
fn behind_a_close_there_is_nothing() {
    for sent in [0, 1] {
        let mut queue = queue(100_000, Overflow::Close);
        queue.close(Frame::close(None, ""));
        assert!(queue.make_ready());
        queue.forget(sent);
        queue.pong(b"?");
        queue.ask();
        queue.urgent(Frame::text("now"));
        assert_eq!(drain(&mut queue, 100), [0x88, 0][sent..]);
    }
}

#[test]
fn a_question_is_asked_once_it_is_written() {
    let mut queue = queue(100_000, Overflow::Close);
    assert!(queue.ask());
    assert!(!queue.ask(), "it still waits");
    assert!(queue.make_ready());
    assert!(!queue.ask(), "it still waits");
    assert!(!queue.forget(1));
    assert!(queue.forget(1));
    assert!(queue.ask());
}

#[test]
fn the_latest_of_a_key_takes_the_place_of_the_one_that_waits() {
    let mut queue = queue(100_000, Overflow::Close);
    queue.offer(Frame::text("a1"), Some(1));
    queue.offer(Frame::text("b1"), Some(2));
    queue.offer(Frame::text("else"), None);
    queue.offer(Frame::text("a2"), Some(1));
    assert_eq!(drain(&mut queue, 3), wire_of(&["b1", "else", "a2"]));
    // What is begun stays whole.
    queue.offer(Frame::text("a1"), Some(1));
    queue.forget(1);
    queue.offer(Frame::text("a2"), Some(1));
    assert_eq!(drain(&mut queue, 3), wire_of(&["a1", "a2"])[1..]);
}

#[test]
fn what_was_pushed_can_be_dropped_and_what_was_asked_for_stays() {
    let mut queue = queue(100_000, Overflow::Close);
    for text in ["begun", "pushed"] {
        queue.offer(Frame::text(text), None);
    }
    queue.reply(Frame::text("asked for"));
    queue.offer(Frame::text("pushed"), None);
    queue.forget(1);
    let last = queue.last();
    assert_eq!(queue.drop_pushes(), 2);
    assert!(!queue.is_past(last - 1) && queue.is_past(0));
    assert_eq!(drain(&mut queue, 9), wire_of(&["begun", "asked for"])[1..]);
    assert!(queue.is_past(last) && queue.dropped() == 2);
}

#[test]
fn a_queue_is_stale_when_enough_has_waited_for_long_enough() {
    let (now, later) = (Duration::ZERO, Duration::from_secs(3600));
    for (age, bytes, is_stale) in [(now, 100, true), (later, 100, false), (now, 100_000, false)] {
        let stale = Some(crate::Stale { age, bytes });
        let mut queue = Queue::new(SocketLimits { stale, ..SocketLimits::default() });
        assert!(!queue.is_stale());
        queue.offer(Frame::binary(&[0; 1000]), None);
        // The clock goes on between two looks at it.
        std::thread::yield_now();
        assert_eq!(queue.is_stale(), is_stale, "{age:?} {bytes}");
    }
}
