use std::{
    collections::VecDeque,
    io::{self, Read},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use daemon::{Admission, Daemon, EventWriter, Limits, Newcomers, Rate, Settings, Source, Stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    lab::{Served, limited, serve},
    netcat::{Netcat, code},
};

/// What waits for the one who draws.
#[derive(Debug, Default)]
struct Well {
    waiting: Mutex<VecDeque<String>>,
    stream: Mutex<Option<Stream>>,
}

impl Source for Well {
    fn fill(&self, events: &mut EventWriter<'_>) {
        let mut waiting = self.waiting.lock().unwrap();
        while !events.is_full()
            && let Some(text) = waiting.pop_front()
        {
            events.push("drop", &text);
        }
    }

    fn held_bytes(&self) -> usize {
        self.waiting.lock().unwrap().iter().map(String::len).sum()
    }
}

impl Well {
    fn put(&self, text: impl Into<String>) {
        self.waiting.lock().unwrap().push_back(text.into());
        self.stream.lock().unwrap().as_ref().unwrap().wake();
    }
}

async fn well() -> Served<Arc<Well>> {
    let daemon = Daemon::with_state("Well", Arc::<Well>::default())
        .command("draw", |well: &Arc<Well>, stream: Stream| {
            stream.draw_from(Arc::<Well>::clone(well));
            *well.stream.lock().unwrap() = Some(stream);
        })
        .command("stop", |well: &Arc<Well>| well.stream.lock().unwrap().take().unwrap().end("dry"));
    serve(daemon).await
}

#[tokio::test]
async fn a_stream_draws_from_its_source_until_that_is_empty_and_again_when_it_is_woken() {
    let well = well().await;
    let mut guest = Netcat::connect(well.port).await;
    assert_eq!(guest.ask("draw#s").await, "draw#s []");
    well.state.put("1");
    well.state.put("2");
    assert_eq!(guest.hear().await, "event#s [\"drop\",1,1]");
    assert_eq!(guest.hear().await, "event#s [\"drop\",2,2]");
    well.state.put("3");
    assert_eq!(guest.hear().await, "event#s [\"drop\",3,3]");
    assert_eq!(guest.ask("ping").await, "ping []");
}

/// Tells when it is drawn from.
#[derive(Debug, Default)]
struct Bell {
    well: Arc<Well>,
    drawn: Notify,
}

impl Source for Bell {
    fn fill(&self, events: &mut EventWriter<'_>) {
        self.well.fill(events);
        self.drawn.notify_one();
    }

    fn held_bytes(&self) -> usize {
        self.well.held_bytes()
    }
}

#[tokio::test]
async fn a_few_events_wait_for_those_who_are_ready_too() {
    let bell = Arc::<Bell>::default();
    let daemon = Daemon::with_state("Bell", Arc::clone(&bell)).command(
        "draw",
        |bell: &Arc<Bell>, stream: Stream| {
            stream.draw_from(Arc::<Bell>::clone(bell));
            *bell.well.stream.lock().unwrap() = Some(stream);
        },
    );
    let served = serve(daemon).await;
    let mut guest = TcpStream::connect((Ipv4Addr::LOCALHOST, served.port)).await.unwrap();
    let mut reply = *b"draw []\n";
    guest.write_all(b"draw\n").await.unwrap();
    guest.read_exact(&mut reply).await.unwrap();
    let mut guest = guest.into_std().unwrap();

    bell.well.put("1");
    let ready = tokio::spawn(async move {
        bell.drawn.notified().await;
        let found = guest.read(&mut [0; 1]).unwrap_err().kind();
        bell.well.put("2");
        (found, guest)
    });
    let (found, guest) = ready.await.unwrap();
    assert_eq!(found, io::ErrorKind::WouldBlock, "the first left before the second was there");
    let mut guest = TcpStream::from_std(guest).unwrap();
    let mut events = *b"event [\"drop\",1,1]\nevent [\"drop\",2,2]\n";
    guest.read_exact(&mut events).await.unwrap();
    assert_eq!(events.as_slice(), b"event [\"drop\",1,1]\nevent [\"drop\",2,2]\n");
}

#[tokio::test]
async fn what_is_in_the_source_comes_before_the_end() {
    let well = well().await;
    let mut guest = Netcat::connect(well.port).await;
    assert_eq!(guest.ask("draw#s").await, "draw#s []");
    (0..3).for_each(|it| well.state.put(it.to_string()));
    well.state.stream.lock().unwrap().take().unwrap().end("dry");
    for (index, seq) in (0..3).zip(1..) {
        assert_eq!(guest.hear().await, format!("event#s [\"drop\",{index},{seq}]"));
    }
    assert_eq!(guest.hear().await, "end#s [{\"reason\":\"dry\"}]");
}

#[tokio::test]
async fn a_source_keeps_what_its_guest_does_not_read() {
    let well = well().await;
    let mut guest = Netcat::connect(well.port).await;
    assert_eq!(guest.ask("draw#s").await, "draw#s []");
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    let left = || well.state.waiting.lock().unwrap().len();
    (0..40).for_each(|_| well.state.put(large.as_str()));
    let mut other = Netcat::connect(well.port).await;
    let mut before = usize::MAX;
    // The kernel takes some of it, and then no more.
    while left() != before {
        before = left();
        for _ in 0..100 {
            other.ask("ping").await;
        }
    }
    assert!(left() > 0, "all 40 MB were taken for a guest that reads nothing");
    // The daemon has something shorter to say by now.
    well.state.waiting.lock().unwrap().clear();
    well.state.put("\"short\"");
    let mut seq = 0;
    loop {
        let line = guest.hear().await;
        seq += 1;
        if line.len() < 100 {
            break assert_eq!(line, format!("event#s [\"drop\",\"short\",{seq}]"));
        }
        assert!(line.ends_with(&format!(",{seq}]")));
    }
    assert!(seq < 40);
}

fn bounded(admission: Admission) -> Daemon<crate::lab::Lab> {
    limited(Limits::default()).settings(Settings { admission, ..Settings::default() })
}

#[tokio::test]
async fn who_asks_too_fast_is_told_so_and_stays() {
    let rate = Some(Rate { per_second: 1, burst: 5 });
    let lab = serve(bounded(Admission { rate, newcomers: None })).await;
    let mut guest = Netcat::connect(lab.port).await;
    let mut allowed = 0;
    while guest.ask("echo [1]").await == "echo [1]" {
        allowed += 1;
        assert!(allowed < 100);
    }
    assert!(allowed >= 5);
    assert_eq!(code(&guest.ask("echo#t [1]").await), "rate-limited");
}

#[tokio::test]
async fn who_is_not_known_has_less() {
    let rate = Rate { per_second: 1000, burst: 1000 };
    let newcomers = |idle| Some(Newcomers { packet_bytes: 1000, rate, idle });
    let newcomers_of = |idle| Admission { rate: None, newcomers: newcomers(idle) };
    let lab = serve(bounded(newcomers_of(Duration::from_secs(600)))).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert!(guest.ask("hello").await.contains("\"packet\":1000,"));
    guest.say(format!("echo [\"{}\"]\n", "x".repeat(1000))).await;
    assert_eq!(code(&guest.hear().await), "too-large");

    let lab = serve(bounded(newcomers_of(Duration::from_millis(100)))).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(code(&guest.hear().await), "timeout");
    assert_eq!(guest.hear_out().await, [""; 0], "and the connection is closed");
}
