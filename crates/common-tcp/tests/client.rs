//! The client before servers that are slow, strange, dying or hostile. Each server is a closure
//! over the socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io, time::Duration};

use common_tcp::{Address, CallError, Client, ConnectError, Pushed, Remote, Resolve};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Listens where no manager of this machine comes by and asks who is there, as it may on a port.
fn listen() -> (UnixListener, Address, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("server.sock");
    let listener = UnixListener::bind(&path).unwrap();
    (listener, Address::Unix(path), home)
}

/// Serves each connection with `serve`, one after the other.
async fn server<F>(mut serve: impl FnMut(UnixStream) -> F + Send + 'static) -> Address
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (listener, address, home) = listen();
    tokio::spawn(async move {
        let _home = home;
        while let Ok((socket, _)) = listener.accept().await {
            drop(serve(socket).await);
        }
    });
    address
}

async fn client(address: &Address) -> Client {
    Client::connect(address).await.unwrap().with_deadline(PATIENCE)
}

/// What a program of the original kind does: no line feed, a close after `dae`, no answer to what
/// it does not know, Latin-1.
async fn original(mut socket: UnixStream) -> io::Result<()> {
    let mut read = [0; 1024];
    loop {
        let length = socket.read(&mut read).await?;
        match &read[..length] {
            b"" => return Ok(()),
            b"dae []\n" => {
                socket.write_all(b"credential [\"Caf\xe9\",7,8,null]").await?;
                return Ok(());
            }
            b"options []\n" => socket.write_all(b"commands [{\"get\":1}]").await?,
            b"get [\"k\"]\n" => socket.write_all(b"get [\"\xfcber\"]").await?,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_original_is_understood() {
    let address = server(original).await;
    let client = client(&address).await;
    let options: Value = client.call("options", &()).await.unwrap();
    assert_eq!(options, json!({"get": 1}));
    assert_eq!(client.call::<String>("get", &("k",)).await.unwrap(), "über");
    let credential: (String, u32, u16, Option<String>) =
        client.exchange("dae", &()).await.unwrap().parse().unwrap();
    assert_eq!(credential, ("Café".into(), 7, 8, None));
    let after = client.call::<String>("get", &("k",)).await;
    assert!(matches!(after, Err(CallError::Lost { .. })), "{after:?}");
}

#[tokio::test]
async fn what_an_original_does_not_know_costs_that_call_only() {
    let address = server(original).await;
    let client = client(&address).await;
    let hasty = client.clone().with_deadline(Duration::from_millis(50));
    for _ in 0..3 {
        let unknown: Result<(), _> = hasty.call("nope", &()).await;
        assert!(matches!(unknown, Err(CallError::TimedOut { .. })), "{unknown:?}");
    }
    assert_eq!(client.call::<String>("get", &("k",)).await.unwrap(), "über");
    let options: Value = client.call("options", &()).await.unwrap();
    assert_eq!(options, json!({"get": 1}));
}

/// A server whose answers the test writes, line by line.
async fn scripted() -> (Address, mpsc::UnboundedReceiver<String>, mpsc::UnboundedSender<Vec<u8>>) {
    let (heard, requests) = mpsc::unbounded_channel();
    let (answers, mut said) = mpsc::unbounded_channel::<Vec<u8>>();
    let (listener, address, home) = listen();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        drop(home);
        let (read, mut write) = socket.into_split();
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                drop(heard.send(line));
            }
        });
        while let Some(bytes) = said.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    (address, requests, answers)
}

#[tokio::test]
async fn late_answers_do_not_shift_those_of_later_calls() {
    let (address, mut requests, answers) = scripted().await;
    let client = client(&address).await;
    let hasty = client.clone().with_deadline(Duration::from_millis(50));
    for command in ["get", "get", "list"] {
        let late: Result<u8, _> = hasty.call(command, &()).await;
        assert!(matches!(late, Err(CallError::TimedOut { .. })));
        requests.recv().await.unwrap();
    }
    let late = hasty.exchange_tagged("get", &()).await;
    assert!(matches!(late, Err(CallError::TimedOut { .. })));
    assert_eq!(requests.recv().await.unwrap(), "get#c1 []");
    let call = client.call::<u8>("get", &());
    let serve = async {
        requests.recv().await.unwrap();
        let late =
            b"get [1]\nerr [{\"code\":\"x\",\"command\":\"get\"}]\ndaemons [[]]\nget#c1 [3]\n";
        answers.send(late.to_vec()).unwrap();
        answers.send(b"get [4]\n".to_vec()).unwrap();
    };
    let (told, ()) = tokio::join!(call, serve);
    assert_eq!(told.unwrap(), 4);
}

#[tokio::test]
async fn a_server_that_never_answers_holds_a_bounded_number_of_calls() {
    let (address, mut requests, answers) = scripted().await;
    let client = client(&address).await;
    let hasty = client.clone().with_deadline(Duration::from_millis(20));
    for _ in 0..3 {
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let hasty = hasty.clone();
                tokio::spawn(async move {
                    match hasty.exchange_tagged("get", &()).await {
                        Err(CallError::TimedOut { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    }
    // Those beyond the bound were never sent, and waited no longer than they were told to.
    let mut sent = 0;
    while timeout(Duration::from_millis(100), requests.recv()).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 1024);
    answers.send(b"get#c1 [1]\n".to_vec()).unwrap();
    let call = client.call::<u8>("get", &());
    let serve = async {
        assert_eq!(requests.recv().await.unwrap(), "get []");
        answers.send(b"get [5]\n".to_vec()).unwrap();
    };
    let (told, ()) = tokio::join!(call, serve);
    assert_eq!(told.unwrap(), 5);
}

#[tokio::test]
async fn a_lost_connection_tells_whether_the_request_was_sent() {
    let (address, mut requests, answers) = scripted().await;
    let client = client(&address).await;
    let call = client.call::<u8>("get", &());
    let serve = async {
        requests.recv().await.unwrap();
        drop(answers);
    };
    // The server's other half holds the socket open until the client goes; its FIN is enough.
    let (told, ()) = tokio::join!(call, serve);
    assert!(matches!(told, Err(CallError::Lost { sent: true, .. })), "{told:?}");
    let told = client.call::<u8>("get", &()).await;
    assert!(matches!(told, Err(CallError::Lost { sent: false, .. })), "{told:?}");
    assert!(client.is_lost());
}

#[tokio::test]
async fn a_remote_does_not_repeat_what_may_have_been_carried_out() {
    let mut visits = 0;
    let address = server(move |mut socket: UnixStream| {
        visits += 1;
        let visit = visits;
        async move {
            while socket.read(&mut [0; 100]).await? > 0 && visit > 1 {
                socket.write_all(format!("get [{visit}]\n").as_bytes()).await?;
            }
            Ok(())
        }
    })
    .await;
    let remote = Remote::new(address).with_deadline(PATIENCE);
    let told = remote.call::<u8>("get", &()).await;
    assert!(matches!(told, Err(CallError::Lost { sent: true, .. })), "{told:?}");
    assert_eq!(remote.call::<u8>("get", &()).await.unwrap(), 2);
}

/// Two calls on a server that says `bytes`, up to `times` times; what came of them, and how often
/// it could.
async fn endure(bytes: Vec<u8>, times: usize) -> (CallError, usize) {
    let (listener, address, home) = listen();
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        drop(home);
        let mut request = [0; 100];
        socket.read_exact(&mut request[..14]).await.unwrap();
        for said in 0..times {
            if socket.write_all(&bytes).await.is_err() {
                return said;
            }
        }
        times
    });
    let client = client(&address).await;
    let calls =
        async { tokio::join!(client.call::<u8>("get", &()), client.call::<u8>("get", &())) };
    let (one, two) = timeout(PATIENCE, calls).await.expect("the calls end");
    assert!(matches!(two, Err(CallError::Lost { sent: true, .. })), "{two:?}");
    (one.expect_err("no answer"), served.await.unwrap())
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_is_nobody_elses() {
    for (said, code) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n<html>", "bad-args"),
        ("get [}\nget [1]\nget [2]\n", "bad-json"),
        ("g\u{7}t [1]\nget [2]\n", "bad-name"),
    ] {
        let (error, _) = endure(said.into(), 1).await;
        let CallError::Failed(failure) = &error else { panic!("{said}: {error:?}") };
        assert_eq!(failure.code(), code, "{said}");
    }
    endure((0..=255).collect(), 100).await;
    endure(b"# []\nevent# []\nend#\nerr#c1 5\n#c1 []\n".to_vec(), 1).await;
}

#[tokio::test]
async fn an_endless_line_ends_the_connection() {
    // A gigabyte, in each of the places where a line may be long.
    for start in ["", "get [\"", "get ", "get 1"] {
        let line = [start.as_bytes(), &[b'x'; 1 << 20]].concat();
        let (_, said) = endure(line, 1024).await;
        assert!(said < 200, "{said} MiB were read of `{start}`");
    }
}

#[tokio::test]
async fn what_was_not_asked_for_is_passed_over() {
    let (address, mut requests, answers) = scripted().await;
    let client = client(&address).await;
    let unasked =
        b"get [1]\nget#c9 [1]\nevent [\"up\",1,1]\nevent#c1 [\"up\",1,1]\nend#c7 [{}]\nend [5]\n";
    // Once the tagged reply is here, so is all that the server said by itself before.
    let say = async {
        requests.recv().await.unwrap();
        answers.send(unasked.repeat(10_000)).unwrap();
        answers.send(b"get [2] and more\nsync#c1 []\n".to_vec()).unwrap();
    };
    let (synced, ()) = tokio::join!(client.exchange_tagged("sync", &()), say);
    assert_eq!(synced.unwrap().name, "sync");
    let calls =
        async { tokio::join!(client.call::<u8>("get", &()), client.call::<u8>("get", &())) };
    let serve = async {
        requests.recv().await.unwrap();
        answers.send(b"get [3] and more\nget [4]\n".to_vec()).unwrap();
    };
    let ((three, four), ()) = tokio::join!(calls, serve);
    assert_eq!((three.unwrap(), four.unwrap()), (3, 4));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_lags_by_packets_and_by_bytes() {
    for (payload, most) in [("1".to_owned(), 63_200), (format!("\"{}\"", "x".repeat(1 << 20)), 16)]
    {
        let (address, mut requests, answers) = scripted().await;
        let client = client(&address).await;
        let serve = async {
            assert_eq!(requests.recv().await.unwrap(), "watch#c1 []");
            answers.send(b"watch#c1 []\n".to_vec()).unwrap();
        };
        let (started, ()) = tokio::join!(client.stream::<()>("watch", &()), serve);
        let mut events = started.unwrap().1;
        for seq in 1..=most + 10 {
            answers.send(format!("event#c1 [\"up\",{payload},{seq}]\n").into_bytes()).unwrap();
        }
        let cancel = requests.recv().await.unwrap();
        assert!(cancel.starts_with("cancel#") && cancel.ends_with("[\"c1\"]"), "{cancel}");
        let mut seen = 0;
        while let Some(Pushed::Event { .. }) = events.next().await {
            seen += 1;
        }
        assert!(seen <= most, "{seen} events waited");
        assert_eq!(events.next().await, None);
        // Nobody else was held up.
        let serve = async {
            requests.recv().await.unwrap();
            answers.send(b"err#c2 [{\"code\":\"not-found\"}]\nget [2]\n".to_vec()).unwrap();
        };
        let (told, ()) = tokio::join!(client.call::<u8>("get", &()), serve);
        assert_eq!(told.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_burst_of_events_is_no_lag() {
    let (address, mut requests, answers) = scripted().await;
    let client = client(&address).await;
    let serve = async {
        requests.recv().await.unwrap();
        answers.send(b"watch#c1 []\n".to_vec()).unwrap();
        let events = (1..=20_000).map(|seq| format!("event#c1 [\"up\",1,{seq}]\n"));
        answers.send(events.collect::<String>().into_bytes()).unwrap();
        answers.send(b"get [1]\nend#c1 [{\"reason\":\"ended\"}]\n".to_vec()).unwrap();
    };
    let (started, ()) = tokio::join!(client.stream::<()>("watch", &()), serve);
    let mut events = started.unwrap().1;
    let mut seen = 0;
    let end = loop {
        match events.next().await {
            Some(Pushed::Event { .. }) => seen += 1,
            other => break other,
        }
    };
    assert_eq!(end, Some(Pushed::End { reason: "ended".into() }));
    assert_eq!(seen, 20_000);
}

#[tokio::test]
async fn the_end_of_the_connection_ends_its_streams() {
    let (address, mut requests, answers) = scripted().await;
    let client = client(&address).await;
    let serve = async {
        requests.recv().await.unwrap();
        answers.send(b"watch#c1 [7]\nevent#c1 [\"up\",null,1]\n".to_vec()).unwrap();
        drop(answers);
    };
    let (started, ()) = tokio::join!(client.stream::<u8>("watch", &()), serve);
    let (first, mut events) = started.unwrap();
    assert_eq!(first, 7);
    assert!(matches!(events.next().await, Some(Pushed::Event { seq: 1, .. })));
    assert_eq!(events.next().await, Some(Pushed::End { reason: "lost".into() }));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_name_cannot_smuggle_in_a_second_packet() {
    let (address, mut requests, _answers) = scripted().await;
    let client = client(&address).await;
    for name in ["", "get []\nreset", "a b", "get#c1", "é"] {
        let told = client.call::<u8>(name, &()).await;
        assert!(matches!(told, Err(CallError::Unexpected { .. })), "{name}: {told:?}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_remote_that_finds_nobody_says_so() {
    struct Nobody;
    impl Resolve for Nobody {
        async fn resolve(&self) -> Result<Address, ConnectError> {
            Err(ConnectError::NotFound { name: "Sample".into(), why: "no such daemon".into() })
        }
    }
    let remote = Remote::new(Nobody).with_deadline(Duration::from_millis(200));
    let told = remote.call::<u8>("get", &()).await;
    assert!(matches!(told, Err(CallError::Connect(ConnectError::NotFound { .. }))), "{told:?}");
}
