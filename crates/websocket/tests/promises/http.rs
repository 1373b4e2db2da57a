//! Before there is a WebSocket, and instead of one.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex},
    net::TcpStream,
    time::sleep,
};
use websocket::{Answer, BodyError, Limits, Link, Pace, Pages, Request, Rules, Server, Socket};

use crate::lab::{Lab, Raw, echo, eventually, frame, handshake, patiently};

/// More than a kernel takes at once.
const LARGE: usize = 20 << 20;

/// `/socket` is one, `/query` says what was asked, `/send` how long a body is.
async fn answer(mut request: Request) -> Answer {
    match request.path() {
        "/socket" => Answer::accept(|mut socket: Socket| async move { echo(&mut socket).await }),
        "/chosen" => Answer::accept(|_| async {}).with_first_subprotocol(),
        "/large" => Answer::bytes(200, "x/y", vec![b'x'; LARGE]).closing(),
        "/informs" => Answer::text(101, "no"),
        "/panics" => panic!("on purpose"),
        "/missing" => Answer::text(404, "missing"),
        "/refused" => Answer::text(409, "taken").closing(),
        "/send" => match request.body(1000).await {
            Ok(body) => Answer::text(200, format!("{} bytes", body.len())),
            Err(BodyError::TooLong) => Answer::text(413, "too long").closing(),
            Err(_) => Answer::text(400, "no body"),
        },
        _ => {
            let said = request.header("x-said").unwrap_or_default();
            let text = format!("{} {:?} {said}", request.path(), request.query());
            Answer::text(200, text).with_header("x-also", "this")
        }
    }
}

async fn lab() -> Lab {
    Lab::start(Limits::default(), Rules::default(), answer).await
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

#[tokio::test]
async fn path_and_query_are_as_they_came() {
    let reply = lab().await.ask(get("/db%20x?id=[master]&t=a=b%5B", "connection: close\r\n")).await;
    assert!(reply.ends_with(r#"/db%20x Some("id=[master]&t=a=b%5B") "#), "{reply}");
    assert!(reply.contains("\r\nx-also: this\r\n"), "{reply}");
}

#[tokio::test]
async fn a_refusal_has_status_and_text_and_ends_the_connection() {
    let lab = lab().await;
    for (request, status, text) in [
        (handshake("/refused", ""), "409 Conflict", "taken"),
        (get("/refused", ""), "409 Conflict", "taken"),
        (get("/socket", ""), "426 Upgrade Required", "this is a WebSocket"),
        (handshake("/socket", "").replace("13", "8"), "426 Upgrade Required", "this is a"),
        (handshake("/socket", "").replace("dGh", ""), "400 Bad Request", "malformed handshake"),
        (get("/", &format!("x: {}\r\n", "y".repeat(40_000))), "431 ", ""),
    ] {
        let reply = lab.ask(&request).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{reply}");
        assert!(reply.contains(text), "{reply}");
        assert!(reply.to_lowercase().contains("close"), "{reply}");
    }
}

#[tokio::test]
async fn host_and_origin_are_judged_before_anything_else() {
    let lab = lab().await;
    let ask = async |host: &str, more: &str| {
        let request = handshake("/refused", more).replace("Host: localhost", host);
        lab.ask(request).await[9..12].to_owned()
    };
    for (host, more, status) in [
        ("Host: localhost", "", "409"),
        ("Host: 127.0.0.1:80", "", "409"),
        ("Host: evil.example", "", "403"),
        ("Host: localhost\r\nHost: localhost", "", "403"),
        ("X: no host", "", "403"),
        ("Host: localhost:80", "Origin: http://localhost\r\n", "409"),
        ("Host: localhost:80", "Origin: https://localhost:80\r\n", "403"),
        ("Host: localhost", "Origin: http://evil.example\r\n", "403"),
        ("Host: localhost", "Origin: null\r\n", "403"),
        ("Host: localhost", "Origin: http://localhost\r\nOrigin: http://evil\r\n", "403"),
    ] {
        assert_eq!(ask(host, more).await, status, "{host} {more}");
    }
    let absolute = handshake("http://evil.example/refused", "");
    assert_eq!(&lab.ask(absolute).await[9..12], "403");
    // The rules may change while the server runs.
    let theirs = "https://app.example".parse().unwrap();
    lab.access.set(Rules { origins: vec![Pages::Of(theirs)], ..Rules::default() });
    assert_eq!(ask("Host: localhost", "Origin: https://app.example\r\n").await, "409");
    assert_eq!(ask("Host: localhost", "Origin: http://localhost\r\n").await, "403");
}

#[tokio::test]
async fn the_first_subprotocol_is_taken_if_the_handler_says_so() {
    let lab = lab().await;
    for (path, is_taken) in [("/chosen", true), ("/socket", false)] {
        let mut raw = lab.connect().await;
        raw.send(handshake(path, "Sec-WebSocket-Protocol: one, two\r\n").as_bytes()).await;
        let head = raw.read_head().await;
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert_eq!(head.contains("sec-websocket-protocol: one\r\n"), is_taken, "{head}");
    }
}

#[tokio::test]
async fn requests_may_be_pipelined_and_the_last_be_a_handshake() {
    let lab = lab().await;
    let mut raw = lab.connect().await;
    let post = "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    let chunked = "POST /send HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";
    let all = [post, chunked, &handshake("/socket", "")].concat();
    raw.send(&[all.as_bytes(), &frame(0x81, b"x")].concat()).await;
    for length in [3, 5] {
        assert!(raw.read_head().await.starts_with("HTTP/1.1 200 "));
        for byte in format!("{length} bytes").bytes() {
            assert_eq!(
                patiently(tokio::io::AsyncReadExt::read_u8(&mut raw.stream)).await.unwrap(),
                byte
            );
        }
    }
    assert!(raw.read_head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.frame().await, Some((0x81, b"x".to_vec())));
}

#[tokio::test]
async fn a_body_above_the_limit_is_told_so_though_it_is_not_read() {
    let lab = lab().await;
    let known = "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n";
    let reply = lab.ask([known.as_bytes(), &[b'x'; 1001]].concat()).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    let chunked = format!(
        "POST /send HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         3e9\r\n{}\r\n",
        "x".repeat(1001)
    );
    let reply = lab.ask(chunked).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[tokio::test]
async fn who_says_nothing_or_next_to_nothing_is_let_go() {
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let lab = Lab::start(limits, Rules::default(), answer).await;
    lab.connect().await.read_to_end().await;
    // After a whole request as well.
    assert!(lab.ask(get("/", "")).await.starts_with("HTTP/1.1 200 "));
    let mut slow = lab.connect().await;
    patiently(async {
        // It ends with an error, since somebody closes.
        while slow.stream.write_all(b"G").await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn where_there_is_no_room_one_is_told_so_until_there_is() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let (lab, mut ends) = Lab::echo(limits).await;
    let (one, _two) = (lab.open().await, lab.open().await);
    assert!(lab.ask(handshake("/", "")).await.starts_with("HTTP/1.1 503 "));
    drop(one);
    patiently(ends.recv()).await;
    patiently(async {
        while !lab
            .ask([handshake("/", "").as_bytes(), &frame(0x88, b"")].concat())
            .await
            .contains("101")
        {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_answer_comes_whole_though_not_all_of_the_request_is_read() {
    let lab = lab().await;
    for more in ["\r\n", "connection: close\r\n\r\n", "content-length: 1000000\r\n\r\nbegun"] {
        let request = format!("POST /large HTTP/1.1\r\nhost: localhost\r\n{more}");
        let reply = lab.ask(&request).await;
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), LARGE, "{more}");
    }
}

fn hasty() -> Limits {
    let pace = Pace { patience: Duration::from_millis(100), bytes_per_second: 1 << 20 };
    Limits { pace, ..Limits::default() }
}

#[tokio::test]
async fn who_takes_an_answer_in_drops_is_let_go() {
    let lab = Lab::start(hasty(), Rules::default(), answer).await;
    let mut raw = lab.admit(Link::default()).await;
    raw.send(get("/large", "").as_bytes()).await;
    patiently(async {
        while raw.stream.read(&mut [0; 10]).await.unwrap() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_takes_nothing_of_what_a_stream_keeps_is_let_go() {
    let lab = Lab::start(hasty(), Rules::default(), answer).await;
    let (server, mut client) = duplex(1 << 10);
    let server = BufWriter::with_capacity(LARGE + 1000, server);
    assert!(lab.entrance.admit(server, b"", Link::default()).await);
    client.write_all(get("/large", "").as_bytes()).await.unwrap();
    eventually(|| lab.control.counters().connections == 1).await;
    eventually(|| lab.control.counters().connections == 0).await;
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_answer() {
    let lab = lab().await;
    for _ in 0..2 {
        assert!(lab.ask(get("/panics", "")).await.starts_with("HTTP/1.1 500 "));
    }
    assert!(lab.ask(get("/informs", "connection: close\r\n")).await.starts_with("HTTP/1.1 500 "));
}

#[tokio::test]
async fn a_connection_outlives_an_error_and_all_is_counted() {
    let lab = lab().await;
    let requests = [get("/missing", ""), get("/missing", ""), get("/refused", "")].concat();
    let reply = lab.ask(&requests).await;
    assert_eq!(reply.matches("HTTP/1.1 404 ").count(), 2, "{reply}");
    assert!(reply.contains("HTTP/1.1 409 "), "{reply}");
    let counters = lab.control.counters();
    assert_eq!(counters.refused, [(404, 2), (409, 1)].into());
    assert_eq!(counters.bytes_in, requests.len() as u64);
    assert_eq!(counters.bytes_out, reply.len() as u64);
}

#[tokio::test]
async fn from_one_address_come_only_so_many() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let lab = Lab::start(limits.clone(), Rules::default(), answer).await;
    let link = Link { peer: Some(([192, 0, 2, 1], 80).into()), ..Link::default() };
    let (_one, _two) = (lab.admit(link).await, lab.admit(link).await);
    let mut three = lab.admit(link).await;
    assert!(three.read_to_end().await.starts_with("HTTP/1.1 503 "));
    let mut other = lab.admit(Link::default()).await;
    other.send(get("/large", "").as_bytes()).await;
    assert!(other.read_head().await.starts_with("HTTP/1.1 200 "));
    // More may come once more are allowed.
    let more = Limits { connections_per_address: 3, ..limits };
    lab.control.set_limits(more).unwrap();
    let mut four = lab.admit(link).await;
    four.send(get("/missing", "").as_bytes()).await;
    assert!(four.read_head().await.starts_with("HTTP/1.1 404 "));
}

/// A server whose guests say `!` before anything else.
async fn with_handshake(handshake: Duration) -> (Lab, impl AsyncFn() -> Raw) {
    let limits = Limits { handshake, ..Limits::default() };
    let mut server = Server::new(limits, Rules::default()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server
        .listen_with(listener, async |mut stream: TcpStream| {
            assert_eq!(stream.read_u8().await?, b'!');
            Ok(BufWriter::new(stream))
        })
        .unwrap();
    let lab = Lab::of(server, async |request: Request| {
        assert!(request.local_addr().is_some() && request.peer().is_some());
        Answer::text(200, request.is_secure().to_string()).closing()
    })
    .await;
    (lab, async move || Raw { stream: TcpStream::connect(address).await.unwrap() })
}

#[tokio::test]
async fn a_listener_may_have_its_own_handshake_before_http() {
    let (_lab, connect) = with_handshake(Duration::from_secs(60)).await;
    for (headers, expected) in [
        ("", "200"),
        ("origin: https://localhost\r\n", "200"),
        ("origin: http://localhost\r\n", "403"),
    ] {
        let mut raw = connect().await;
        raw.send(format!("!{}", get("/", headers)).as_bytes()).await;
        let reply = raw.read_to_end().await;
        assert_eq!(&reply[9..12], expected, "{reply}");
        assert_eq!(reply.ends_with("true"), expected == "200");
    }
}

#[tokio::test]
async fn who_does_not_go_through_with_a_handshake_has_a_place_for_some_time() {
    let (lab, connect) = with_handshake(Duration::from_millis(300)).await;
    let mut raw = connect().await;
    eventually(|| lab.control.counters().connections == 1).await;
    assert_eq!(raw.read_to_end().await, "");
    eventually(|| lab.control.counters().connections == 0).await;
}
