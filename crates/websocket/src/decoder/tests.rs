use proptest::{collection::vec, prelude::*};

use super::*;

/// What a decoder says, with the bytes.
type Read = Result<(Found, Vec<u8>), Fault>;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn limits() -> DecoderLimits {
    DecoderLimits { message_bytes: 1000, fragments: 4 }
}

/// A frame of a client: its first byte as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        length @ 0..=125 => wire.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            wire.push(0x80 | 126);
            wire.extend((length as u16).to_be_bytes());
        }
        length => {
            wire.push(0x80 | 127);
            wire.extend((length as u64).to_be_bytes());
        }
    }
    wire.extend(MASK);
    wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    wire
}

fn read(wire: &[u8], sizes: impl Iterator<Item = usize>) -> Vec<Read> {
    let mut decoder = Decoder::new(limits());
    let mut all = Vec::new();
    let mut rest = wire;
    for size in sizes {
        let (now, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        decoder.feed(now);
        while let Some(next) = decoder.next() {
            all.push(next.map(|found| (found, decoder.payload().to_vec())));
            if next.is_err() {
                return all;
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    all
}

/// Reads `wire` whole, cut once at every byte, and byte by byte.
fn read_however_cut(wire: &[u8]) -> Vec<Read> {
    let whole = read(wire, std::iter::once(usize::MAX));
    for cut in 0..wire.len() {
        assert_eq!(read(wire, [cut, usize::MAX].into_iter()), whole, "cut at {cut}");
    }
    assert_eq!(read(wire, std::iter::repeat(1)), whole);
    whole
}

fn check(frames: &[Vec<u8>], expected: &[Read]) {
    assert_eq!(read_however_cut(&frames.concat()), expected, "{frames:02x?}");
}

fn found(found: Found, bytes: impl AsRef<[u8]>) -> Read {
    Ok((found, bytes.as_ref().to_vec()))
}

#[test]
fn messages_of_every_length_are_read() {
    for length in [0, 1, 7, 8, 9, 125, 126, 127, 500, 1000] {
        let payload: Vec<u8> = (0..length).map(|it| it as u8).collect();
        let expected = [found(Found::Binary, &payload), found(Found::Text, "next")];
        check(&[frame(0x82, &payload), frame(0x81, b"next")], &expected);
    }
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    check(
        &[
            frame(0x01, b"a"),
            frame(0x89, b"?"),
            frame(0x00, b""),
            frame(0x8A, b""),
            frame(0x80, b"b"),
            frame(0x82, b"c"),
        ],
        &[
            found(Found::Ping, "?"),
            found(Found::Pong, ""),
            found(Found::Text, "ab"),
            found(Found::Binary, "c"),
        ],
    );
}

#[test]
fn what_rfc_6455_forbids_is_a_fault() {
    let unmasked = vec![0x81, 1, b'x'];
    for wrong in [
        frame(0xC1, b""),
        frame(0xA1, b""),
        frame(0x91, b""),
        frame(0x83, b""),
        frame(0x87, b""),
        frame(0x8B, b""),
        frame(0x8F, b""),
        frame(0x80, b"nothing to continue"),
        frame(0x00, b"nothing to continue"),
        frame(0x09, b"a ping in fragments"),
        frame(0x08, b""),
        frame(0x89, &[0; 126]),
        frame(0x88, &[0; 126]),
        unmasked,
        [frame(0x01, b"begun"), frame(0x81, b"and another")].concat(),
        [frame(0x01, b"begun"), frame(0x02, b"and another")].concat(),
    ] {
        assert_eq!(read_however_cut(&wrong), [Err(Fault::Protocol)], "{wrong:02x?}");
    }
}

#[test]
fn a_message_at_the_limit_passes_and_one_above_does_not() {
    check(&[frame(0x82, &[1; 1000])], &[found(Found::Binary, [1; 1000])]);
    let too_long = |bytes| Err(Fault::TooLong { bytes, most: 1000 });
    check(&[frame(0x82, &[1; 1001])], &[too_long(1001)]);
    let halves = |second| [frame(0x02, &[1; 500]), frame(0x80, &vec![1; second])];
    check(&halves(500), &[found(Found::Binary, [1; 1000])]);
    check(&halves(501), &[too_long(1001)]);
    // The head tells, so nothing of it has to be kept.
    for length in [1001_u64, u64::from(u32::MAX), 1 << 63, u64::MAX] {
        let mut head = vec![0x82, 0xFF];
        head.extend(length.to_be_bytes());
        head.extend(MASK);
        assert_eq!(read_however_cut(&head), [too_long(usize::try_from(length).unwrap())]);
    }
}

#[test]
fn fragments_are_counted() {
    let begin = [frame(0x02, b""), frame(0x00, b""), frame(0x00, b"")].concat();
    check(&[begin.clone(), frame(0x80, b"x")], &[found(Found::Binary, "x")]);
    check(
        &[begin, frame(0x00, b""), frame(0x80, b"x")],
        &[Err(Fault::TooManyFragments { most: 4 })],
    );
}

#[test]
fn a_close_says_what_it_may_or_is_a_fault() {
    let says = |payload: &[u8]| {
        let mut decoder = Decoder::new(limits());
        decoder.feed(&frame(0x88, payload));
        assert_eq!(decoder.next(), Some(Ok(Found::Close)));
        decoder.close().map(|it| it.map(|(code, reason)| (code, reason.to_owned())))
    };
    let of = |code: u16, reason: &[u8]| [&code.to_be_bytes(), reason].concat();
    assert_eq!(says(b""), Ok(None));
    assert_eq!(says(b"\x03"), Err(Fault::Protocol));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 4999] {
        assert_eq!(says(&of(code, b"why")), Ok(Some((code.try_into().unwrap(), "why".to_owned()))));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(says(&of(code, b"")), Err(Fault::Protocol), "{code}");
    }
    assert_eq!(says(&of(1000, b"\xFF")), Err(Fault::NotUtf8));
}

#[test]
fn between_messages_next_to_nothing_is_held() {
    let mut decoder = Decoder::new(DecoderLimits { message_bytes: 1 << 20, fragments: 10 });
    for first in [0x82, 0x02] {
        decoder.feed(&frame(first, &[1; 500_000]));
        if first == 0x02 {
            assert_eq!(decoder.next(), None);
            decoder.feed(&frame(0x80, &[1; 500_000]));
        }
        assert_eq!(decoder.next(), Some(Ok(Found::Binary)));
        assert_eq!(decoder.next(), None);
        assert!(decoder.input.capacity() <= KEPT_BYTES);
        assert_eq!(decoder.joined.capacity(), 0);
    }
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn what_a_large_message_took_is_not_kept_for_the_start_of_the_next() {
    let mut decoder = Decoder::new(DecoderLimits { message_bytes: 1 << 20, fragments: 10 });
    decoder.feed(&[frame(0x82, &[1; 500_000]), frame(0x82, b"next")[..3].to_vec()].concat());
    assert_eq!(decoder.next(), Some(Ok(Found::Binary)));
    assert_eq!(decoder.next(), None);
    assert!(decoder.input.capacity() <= KEPT_BYTES, "{}", decoder.input.capacity());
    decoder.feed(&frame(0x82, b"next")[3..]);
    assert_eq!(decoder.next(), Some(Ok(Found::Binary)));
    assert_eq!(decoder.payload(), b"next");
}

#[test]
fn what_was_found_is_gone_once_more_is_fed() {
    for first in [frame(0x81, &[b'x'; 100]), [frame(0x01, b"x"), frame(0x80, b"y")].concat()] {
        let mut decoder = Decoder::new(limits());
        decoder.feed(&first);
        assert_eq!(decoder.next(), Some(Ok(Found::Text)));
        decoder.feed(b"");
        assert_eq!(decoder.payload(), b"");
        assert_eq!(decoder.close(), Ok(None));
    }
}

proptest! {
    /// TCP keeps bytes, not frames: however the stream is cut, the same comes out, and nothing
    /// panics.
    #[test]
    fn any_bytes_cut_anyhow_are_the_same(
        frames in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..6),
        garbage in vec(any::<u8>(), 0..40),
        size in 1_usize..50,
    ) {
        let mut wire: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        wire.extend(garbage);
        let whole = read(&wire, std::iter::once(usize::MAX));
        prop_assert_eq!(read(&wire, std::iter::repeat(size)), whole);
    }

    #[test]
    fn to_mask_twice_changes_nothing(bytes in vec(any::<u8>(), 0..100), mask: [u8; 4]) {
        let mut twice = bytes.clone();
        unmask(&mut twice, mask);
        let each = |(byte, mask): (&u8, &u8)| byte ^ mask;
        let once: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(each).collect();
        prop_assert_eq!(&twice, &once);
        unmask(&mut twice, mask);
        prop_assert_eq!(twice, bytes);
    }
}
