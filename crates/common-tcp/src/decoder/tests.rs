use proptest::{collection::vec, prelude::*};

use super::*;
use crate::encode;

/// What came out, written so that it can be compared: `name#tag args`, or `!` and the code.
fn read(decoder: &mut Decoder, out: &mut Vec<String>) {
    while let Some(item) = decoder.next() {
        match item {
            Ok(Packet { name, tag, args, .. }) => {
                let tag = tag.map(|tag| format!("#{tag}")).unwrap_or_default();
                out.push(format!("{name}{tag} {args}"));
            }
            Err(why) => {
                out.push(format!("!{}", why.to_failure().code()));
                if why.is_fatal() {
                    return;
                }
            }
        }
    }
}

fn cut(wire: &[u8], size: usize) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for chunk in wire.chunks(size) {
        decoder.feed(chunk);
        read(&mut decoder, &mut out);
        if out.last().is_some_and(|last| last == "!not-supported" || last == "!too-large") {
            return out;
        }
    }
    decoder.end();
    read(&mut decoder, &mut out);
    out
}

#[track_caller]
fn check(wire: impl AsRef<[u8]>, expected: &[&str]) {
    let wire = wire.as_ref();
    for size in 1..=wire.len() {
        assert_eq!(cut(wire, size), expected, "cut into {size}: {:?}", wire.escape_ascii());
    }
}

#[test]
fn a_line_is_a_packet() {
    check("dae\n", &["dae []"]);
    check("dae\r\n", &["dae []"]);
    check("  dae  []  \r\n", &["dae []"]);
    check("dae\t[]\n", &["dae []"]);
    check("\n \r\n  \n", &[]);
    check("dae", &["dae []"]);
    check("dae \r", &["dae []"]);
}

#[test]
fn a_packet_ends_at_its_bracket() {
    check("options []dae []", &["options []", "dae []"]);
    check("set [\"k\",[1,\"]\"]]\nget [\"k\"]\n", &["set [\"k\",[1,\"]\"]]", "get [\"k\"]"]);
    check(
        "options [\"\\\"]\",\"[\",\t1 ]dae []\r\n",
        &["options [\"\\\"]\",\"[\",\t1 ]", "dae []"],
    );
}

#[test]
fn a_bad_line_is_one_error_and_costs_nothing_behind_it() {
    check("get \"k\"\ndae\n", &["!bad-args", "dae []"]);
    check("set [\"a\ndae\n", &["!bad-json", "dae []"]);
    check("get [1}]\ndae\n", &["!bad-json", "dae []"]);
    check("get [1] x y\ndae\n", &["get [1]", "!trailing-bytes", "dae []"]);
    check("{\"jsonrpc\":\"2.0\"}\ndae\n", &["!bad-name", "dae []"]);
    check("bad^name []\ndae\n", &["!bad-name", "dae []"]);
    check(format!("{} []\ndae\n", "n".repeat(65)), &["!bad-name", "dae []"]);
    check(format!("{} []\ndae\n", "n".repeat(64)), &[&format!("{} []", "n".repeat(64)), "dae []"]);
    check("options [1,", &["!bad-json"]);
    check("#7 []\n", &["!bad-name"]);
    check("get# []\n", &["!bad-name"]);
}

#[test]
fn nesting_is_bounded_before_any_value_is_built() {
    let nested = |depth: usize| format!("x {}{}", "[".repeat(depth), "]".repeat(depth));
    check(nested(64), &[&nested(64)]);
    check(format!("{}\ndae\n", nested(65)), &["!bad-json", "dae []"]);
}

#[test]
fn latin_1_is_an_error_in_a_request_and_read_in_a_reply() {
    check(b"get [\"\xe9\"]dae []", &["!bad-encoding", "dae []"]);

    let mut decoder = Decoder::of_client(&Limits::of_client());
    decoder.feed(b"credential [\"\xe9\"]ok [1]");
    assert_eq!(decoder.next().unwrap().unwrap().args, "[\"é\"]");
    assert_eq!(decoder.next().unwrap().unwrap().args, "[1]");
    assert!(decoder.next().is_none());
}

#[test]
fn what_looks_like_http_or_tls_is_fatal() {
    check("GET / HTTP/1.1\r\nHost: x\r\n\r\ndae\n", &["!not-supported"]);
    check("CONNECT a:1 HTTP/1.1\r\ndae\n", &["!not-supported"]);
    check("G^T / HTTP/1.0\ndae\n", &["!not-supported"]);
    check("x [1 HTTP/1.1\ndae\n", &["!not-supported"]);
    check("say [] HTTP/1.1\ndae\n", &["say []", "!not-supported"]);
    check("\x16\x03\x01\n", &["!not-supported"]);
    check("dae\n\x16\n", &["dae []", "!bad-name"]);
}

#[test]
fn a_line_of_no_json_can_be_discarded_afterwards() {
    let mut decoder = Decoder::default();
    decoder.feed(b"set [x] and more\ndae []\n");
    assert_eq!(decoder.next().unwrap().unwrap().name, "set");
    decoder.discard_line(Unreadable::BadJson { at: 5, what: "no value".to_owned() });
    assert!(matches!(decoder.next(), Some(Err(Unreadable::BadJson { at: 5, .. }))));
    assert_eq!(decoder.next().unwrap().unwrap().name, "dae");
}

#[test]
fn a_packet_beyond_the_limit_is_fatal_and_not_kept() {
    let limits = Limits { packet_bytes: 100, ..Limits::default() };
    for wire in
        ["n".repeat(101), format!("x [\"{}", "y".repeat(97)), format!("x {}", "y".repeat(99))]
    {
        let mut decoder = Decoder::new(&limits);
        decoder.feed(wire.as_bytes());
        let Some(Err(why)) = decoder.next() else { panic!("{wire} is read") };
        assert_eq!(why, Unreadable::TooLarge { limit: 100 });
    }
    let mut decoder = Decoder::new(&limits);
    decoder.feed(format!("x [\"{}\"]", "y".repeat(94)).as_bytes());
    assert!(decoder.next().unwrap().is_ok());
}

/// What is too large is so however it is cut, also where the byte behind it would end it.
#[test]
fn the_limit_counts_alike_for_any_cut() {
    let limits = Limits { packet_bytes: 100, ..Limits::default() };
    let gap = " ".repeat(100);
    for wire in [
        format!("{}\n", "n".repeat(101)),
        format!("{} []\n", "n".repeat(101)),
        format!("x{gap}\n"),
        format!("x{gap}[]\n"),
        format!("x{gap}y\n"),
    ] {
        for size in [1, 101, wire.len()] {
            let mut decoder = Decoder::new(&limits);
            let mut first = None;
            for chunk in wire.as_bytes().chunks(size) {
                decoder.feed(chunk);
                first = first.or_else(|| decoder.next().map(|it| it.err()));
            }
            assert_eq!(
                first,
                Some(Some(Unreadable::TooLarge { limit: 100 })),
                "{wire:?} by {size}"
            );
        }
    }
}

/// Takes minutes if each packet looks through all that stands behind it.
#[test]
fn many_packets_in_one_read_cost_no_more_than_their_bytes() {
    let mut decoder = Decoder::default();
    decoder.feed(&b"a\n".repeat(500_000));
    let mut packets = 0;
    while decoder.next().is_some_and(|it| it.is_ok()) {
        packets += 1;
    }
    assert_eq!(packets, 500_000);
}

#[test]
fn an_idle_decoder_holds_next_to_nothing() {
    let mut decoder = Decoder::default();
    decoder.feed(format!("x [\"{}\"]", "y".repeat(100_000)).as_bytes());
    assert!(decoder.next().unwrap().is_ok());
    assert!(decoder.next().is_none());
    assert!(decoder.bytes.capacity() <= KEPT_BYTES);
}

fn packet() -> impl Strategy<Value = (String, Option<String>, Vec<serde_json::Value>)> {
    let value = prop_oneof![
        any::<i64>().prop_map(serde_json::Value::from),
        ".{0,8}".prop_map(serde_json::Value::from),
        vec(".{0,4}", 0..3).prop_map(serde_json::Value::from),
        Just(serde_json::json!({"a]": ["}", null]})),
    ];
    ("[a-z_][a-z:./-]{0,9}", proptest::option::of("[0-9a-z.]{1,5}"), vec(value, 0..3))
}

proptest! {
    /// TCP keeps bytes, not packets: however the stream is cut, the same packets come out.
    #[test]
    fn packets_survive_any_cut(packets in vec(packet(), 1..8), size in 1usize..64) {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for (name, tag, args) in &packets {
            encode(&mut wire, name, tag.as_deref(), args).unwrap();
            let tag = tag.as_ref().map(|tag| format!("#{tag}")).unwrap_or_default();
            expected.push(format!("{name}{tag} {}", serde_json::to_string(args).unwrap()));
        }
        prop_assert_eq!(cut(&wire, size), expected);
    }

    /// Whatever comes in, nothing panics, and the way it is cut makes no difference.
    #[test]
    fn any_bytes_cut_anyhow_are_read_alike(
        wire in vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"a []{}\"\\\r\n#H/1."[..])], 0..200),
        size in 1usize..20,
    ) {
        prop_assert_eq!(cut(&wire, size), cut(&wire, wire.len().max(1)));
    }
}
