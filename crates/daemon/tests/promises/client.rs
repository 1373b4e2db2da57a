use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};

use common_tcp::{Address, CallError, Client, ConnectError, Pushed, Remote, Resolve};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    lab::{lab, serve},
    netcat::PATIENCE,
};

#[tokio::test]
async fn calls_of_many_tasks_get_their_own_answers() {
    let lab = serve(lab()).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..100 {
        let client = client.clone();
        tasks.spawn(async move {
            for round in 0..50 {
                let asked = json!([task, round]);
                let told: serde_json::Value = match round % 3 {
                    0 => client.call("echo", &(&asked,)).await.unwrap(),
                    1 => client.call("echo-later", &(&asked,)).await.unwrap(),
                    _ => {
                        let reply = client.exchange_tagged("echo-later", &(&asked,)).await;
                        reply.unwrap().result("echo-later").unwrap()
                    }
                };
                assert_eq!(told, asked);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn tagged_calls_are_answered_when_they_are_done() {
    let lab = serve(lab()).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap();
    let first = client.exchange_tagged("wait", &("a",));
    let second = async {
        let reply = client.exchange_tagged("wait", &("b",)).await.unwrap();
        lab.state.gate("a").add_permits(1);
        reply
    };
    lab.state.gate("b").add_permits(1);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap().args, second.args), ("[\"a\"]".into(), "[\"b\"]".into()));
}

#[tokio::test]
async fn a_call_after_one_that_waited_too_long_gets_its_own_answer() {
    let lab = serve(lab()).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap();
    let hasty = client.clone().with_deadline(Duration::from_millis(50));
    let late: Result<String, _> = hasty.call("wait", &("a",)).await;
    assert!(matches!(late, Err(CallError::TimedOut { .. })));
    let dropped = timeout(Duration::from_millis(50), client.call::<String>("wait", &("b",))).await;
    assert!(dropped.is_err());
    let next = client.call::<String>("wait", &("c",));
    for gate in ["a", "b", "c"] {
        lab.state.gate(gate).add_permits(1);
    }
    assert_eq!(next.await.unwrap(), "c");
}

#[tokio::test]
async fn a_reply_of_twenty_mb_is_read() {
    let limits = daemon::Limits { result_bytes: 32 << 20, ..daemon::Limits::default() };
    let lab = serve(crate::lab::limited(limits)).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap().with_deadline(PATIENCE);
    let big: String = client.call("big", &(20 << 20,)).await.unwrap();
    assert_eq!(big.len(), 20 << 20);
}

#[tokio::test]
async fn a_stream_brings_its_events_and_to_drop_it_cancels() {
    let lab = serve(lab()).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap();
    let (first, mut events): (String, _) = client.stream("watch-eagerly", &()).await.unwrap();
    assert_eq!(first, "watching");
    let event = |payload, seq| Pushed::Event { topic: "early".into(), payload, seq };
    let next =
        timeout(PATIENCE, events.next()).await.expect("what is emitted at once comes at once");
    assert_eq!(next, Some(event(json!(1), 1)));
    assert_eq!(events.next().await, Some(event(json!(2), 2)));
    drop(events);
    let cancelled = async { while client.call::<usize>("tell", &("up", 1)).await.unwrap() > 0 {} };
    timeout(PATIENCE, cancelled).await.expect("the daemon is told");
}

#[tokio::test]
async fn a_stream_outlives_the_client_that_started_it() {
    let lab = serve(lab()).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap();
    let (_, mut events): (String, _) = client.stream("watch", &()).await.unwrap();
    drop(client);
    lab.state.tell("up".into(), json!(1));
    let next = timeout(PATIENCE, events.next()).await.expect("an event comes");
    assert!(matches!(next, Some(Pushed::Event { seq: 1, .. })), "{next:?}");
    let served = lab.end();
    let next = timeout(PATIENCE, events.next()).await.expect("the end comes");
    assert_eq!(next, Some(Pushed::End { reason: "shutting-down".into() }));
    drop(events);
    served.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_nobody_up() {
    let lab = serve(lab()).await;
    let client = Client::connect(&Address::local(lab.port)).await.unwrap();
    let (_, mut events): (String, _) = client.stream("watch", &()).await.unwrap();
    let lagged = async {
        while client.call::<usize>("tell", &("up", "x".repeat(100_000))).await.unwrap() > 0 {}
    };
    timeout(PATIENCE, lagged).await.expect("the stream ends at the daemon");
    let mut bytes = 0;
    let end = loop {
        match events.next().await.unwrap() {
            Pushed::Event { .. } => bytes += 100_000,
            Pushed::End { reason } => break reason,
        }
    };
    assert_eq!(end, "lagged");
    assert!(bytes < 64 << 20, "{bytes} bytes waited");
    assert_eq!(events.next().await, None);
}

/// Finds the daemon on whatever port it has just now.
struct Moving(Arc<AtomicU16>);

impl Resolve for Moving {
    async fn resolve(&self) -> Result<Address, ConnectError> {
        Ok(Address::local(self.0.load(SeqCst)))
    }
}

#[tokio::test]
async fn a_remote_follows_a_daemon_that_comes_back_elsewhere() {
    let first = serve(lab()).await;
    let port = Arc::new(AtomicU16::new(first.port));
    let remote = Remote::new(Moving(Arc::clone(&port))).with_deadline(PATIENCE);
    assert_eq!(remote.call::<u8>("echo", &(1,)).await.unwrap(), 1);
    first.end().await.unwrap();
    let call = remote.call::<u8>("echo", &(2,));
    let second = async {
        tokio::task::yield_now().await;
        let second = serve(lab()).await;
        port.store(second.port, SeqCst);
        second
    };
    let (told, second) = tokio::join!(call, second);
    assert_eq!(told.unwrap(), 2);
    let (_, mut events): (String, _) = remote.stream("watch", &()).await.unwrap();
    second.state.forget();
    assert_eq!(events.next().await, Some(Pushed::End { reason: "ended".into() }));
}

#[tokio::test]
async fn a_remote_keeps_its_deadline_for_all_who_wait() {
    struct Nowhere;
    impl Resolve for Nowhere {
        async fn resolve(&self) -> Result<Address, ConnectError> {
            std::future::pending().await
        }
    }
    let remote = Remote::new(Nowhere).with_deadline(Duration::from_millis(200));
    let call = || remote.call::<u8>("echo", &(1,));
    let both = timeout(Duration::from_secs(5), async { tokio::join!(call(), call()) }).await;
    let (one, two) = both.expect("both give up");
    assert!(matches!(one, Err(CallError::TimedOut { .. })), "{one:?}");
    assert!(matches!(two, Err(CallError::TimedOut { .. })), "{two:?}");
}
