//! What a client sends, and what comes back.

use websocket::{End, Fault, Limits};

use crate::lab::{Lab, eventually, frame, messages_of, patiently};

#[tokio::test]
async fn a_ping_between_fragments_is_answered_before_the_message() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let mut raw = lab.open().await;
    let all = [frame(0x01, b"a"), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, b"b")];
    raw.send(&all.concat()).await;
    assert_eq!(raw.frame().await, Some((0x8A, b"?".to_vec())));
    assert_eq!(raw.frame().await, Some((0x81, b"ab".to_vec())));
}

#[tokio::test]
async fn what_follows_the_handshake_at_once_is_read() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let mut raw = lab.connect().await;
    let begin = crate::lab::handshake("/", "");
    raw.send(&[begin.as_bytes(), &frame(0x81, b"early")].concat()).await;
    raw.read_head().await;
    assert_eq!(raw.frame().await, Some((0x81, b"early".to_vec())));
}

#[tokio::test]
async fn each_fault_has_its_code_however_it_is_cut() {
    let (lab, mut ends) = Lab::echo(messages_of(100)).await;
    let too_long = Fault::TooLong { bytes: 101, most: 100 };
    let most = messages_of(100).socket.incoming.fragments;
    for (wrong, fault) in [
        (frame(0xC1, b"x"), Fault::Protocol),
        (frame(0x83, b"x"), Fault::Protocol),
        (frame(0x80, b"x"), Fault::Protocol),
        (frame(0x09, b"x"), Fault::Protocol),
        (vec![0x81, 1, b'x'], Fault::Protocol),
        (frame(0x88, b"\x03"), Fault::Protocol),
        (frame(0x88, b"\x03\xED"), Fault::Protocol),
        (frame(0x88, b"\x03\xE8\xFF"), Fault::NotUtf8),
        (frame(0x81, b"\xCE"), Fault::NotUtf8),
        ([frame(0x01, b"\xCE"), frame(0x80, b"x")].concat(), Fault::NotUtf8),
        (frame(0x82, &[0; 101])[..8].to_vec(), too_long),
        ([frame(0x02, &[0; 60]), frame(0x80, &[0; 41])].concat(), too_long),
        ([frame(0x02, b""), frame(0x00, b"").repeat(8)].concat(), Fault::TooManyFragments { most }),
    ] {
        for cut in 0..wrong.len() {
            let mut raw = lab.open().await;
            let before = lab.control.counters().bytes_in;
            raw.send(&wrong[..cut]).await;
            // What is sent at once would be read at once.
            eventually(|| lab.control.counters().bytes_in == before + cut as u64).await;
            raw.send(&wrong[cut..]).await;
            raw.is_closed_with(fault.code()).await;
            assert_eq!(raw.frame().await, None);
            assert_eq!(patiently(ends.recv()).await, Some(End::Broken(fault)), "{wrong:02x?}");
        }
    }
}

#[tokio::test]
async fn a_message_at_the_limit_passes() {
    let (lab, _) = Lab::echo(messages_of(100_000)).await;
    let mut raw = lab.open().await;
    raw.send(&frame(0x82, &[7; 100_000])).await;
    assert_eq!(raw.frame().await, Some((0x82, vec![7; 100_000])));
    raw.send(&[frame(0x02, &[7; 99_999]), frame(0x80, &[7])].concat()).await;
    assert_eq!(raw.frame().await, Some((0x82, vec![7; 100_000])));
    raw.send(&frame(0x82, &[7; 100_001])).await;
    raw.is_closed_with(websocket::code::TOO_BIG).await;
}

#[tokio::test]
async fn a_text_may_be_cut_within_its_characters() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let mut raw = lab.open().await;
    let text = "κόσμε 😀";
    for cut in 0..=text.len() {
        let (begin, end) = text.as_bytes().split_at(cut);
        raw.send(&[frame(0x01, begin), frame(0x80, end)].concat()).await;
        assert_eq!(raw.frame().await, Some((0x81, text.as_bytes().to_vec())), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_ends_the_connection() {
    let (lab, mut ends) = Lab::echo(Limits::default()).await;
    for (said, answered, end) in [
        (&b"\x0F\xA0bye"[..], &b"\x0F\xA0"[..], Some((4000, "bye"))),
        (b"\x03\xE8", b"\x03\xE8", Some((1000, ""))),
        (b"", b"", None),
    ] {
        let mut raw = lab.open().await;
        // What comes behind a close is not read.
        raw.send(&[frame(0x81, b"last"), frame(0x88, said), frame(0xFF, b"")].concat()).await;
        assert_eq!(raw.frame().await, Some((0x81, b"last".to_vec())));
        assert_eq!(raw.frame().await, Some((0x88, answered.to_vec())));
        assert_eq!(raw.frame().await, None);
        let end = end.map(|(code, why)| (code.try_into().unwrap(), why.to_owned()));
        assert_eq!(patiently(ends.recv()).await, Some(End::ByPeer(end)));
    }
}

#[tokio::test]
async fn who_goes_without_a_close_is_lost() {
    let (lab, mut ends) = Lab::echo(Limits::default()).await;
    drop(lab.open().await);
    assert_eq!(patiently(ends.recv()).await, Some(End::Lost));
}
