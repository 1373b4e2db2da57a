//! Asks whoever listens on a port for its credential.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    credential::{Credential, Reply},
    table::Listener,
};

/// Bytes of an answer that are read at most. A credential has some hundred.
const ANSWER: u64 = 4096;
/// Probes at a time: enough that some silent peers do not hold up a scan, few beside our
/// descriptors.
const AT_ONCE: usize = 16;
/// Bytes of a strange answer that are shown.
const SHOWN: usize = 64;

/// How long a probe waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the connection.
    pub connect: Duration,
    /// For each further piece of the answer.
    pub read: Duration,
    /// For all of it.
    pub total: Duration,
}

impl Limits {
    /// For our own children.
    pub const OWN: Self = Self {
        connect: Duration::from_millis(500),
        read: Duration::from_secs(1),
        total: Duration::from_secs(2),
    };
    /// For sockets of strangers, who did not ask for our visit.
    pub const FOREIGN: Self = Self {
        connect: Duration::from_millis(500),
        read: Duration::from_millis(500),
        total: Duration::from_millis(500),
    };
}

/// What came back.
#[derive(Debug)]
pub enum Probe {
    /// A daemon's word about itself.
    Credential(Credential),
    /// Nobody takes connections there, or not on loopback.
    Refused,
    /// Not one byte within the limits.
    Silent,
    /// The connection was closed without a word.
    Closed,
    /// Something else: its beginning, escaped.
    Garbage(String),
    /// Our own trouble, such as no descriptor left; the peer was not asked.
    Failed(io::Error),
}

/// Sends `dae` and waits for the credential.
///
/// The connection is closed as soon as the answer is complete; its line need not end. Our sending
/// side stays open until then, since an original takes the end of a stream as the end of the talk.
pub async fn probe(socket: Listener, limits: Limits) -> Probe {
    let end = Instant::now() + limits.total;
    let mut stream = match timeout(limits.connect.min(limits.total), connect(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unconnected(error),
        Err(_) => return Probe::Silent,
    };
    let mut heard = Vec::new();
    let reply = timeout_at(end, ask(&mut stream, &mut heard, limits.read)).await;
    match reply {
        Ok(Ok(Reply::Credential(credential))) => Probe::Credential(credential),
        _ if !heard.is_empty() => {
            Probe::Garbage(heard[..heard.len().min(SHOWN)].escape_ascii().to_string())
        }
        Err(_) => Probe::Silent,
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Probe::Silent,
        Ok(_) => Probe::Closed,
    }
}

/// Probes many sockets, 16 at a time; a slow one takes one of these places and delays nobody else.
///
/// Dropping the future ends all of it.
pub async fn probe_all(sockets: Vec<Listener>, limits: Limits) -> Vec<(Listener, Probe)> {
    let mut waiting = sockets.into_iter();
    let mut running = JoinSet::new();
    let mut answers = Vec::with_capacity(waiting.len());
    loop {
        for socket in waiting.by_ref().take(AT_ONCE - running.len()) {
            running.spawn(async move { (socket, probe(socket, limits).await) });
        }
        match running.join_next().await {
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => return answers,
        }
    }
}

async fn connect(socket: Listener) -> io::Result<TcpStream> {
    let mut refusal = io::ErrorKind::AddrNotAvailable.into();
    for &ip in socket.dial() {
        match TcpStream::connect((ip, socket.address.port())).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn unconnected(error: io::Error) -> Probe {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, ConnectionReset, NetworkUnreachable, TimedOut,
    };
    match error.kind() {
        ConnectionRefused | ConnectionReset | NetworkUnreachable | AddrNotAvailable => {
            Probe::Refused
        }
        TimedOut => Probe::Silent,
        _ => Probe::Failed(error),
    }
}

/// Reads until the reply is decided or the stream ends; `heard` keeps what came, also on a timeout.
async fn ask(stream: &mut TcpStream, heard: &mut Vec<u8>, wait: Duration) -> io::Result<Reply> {
    stream.write_all(b"dae []\n").await?;
    let mut stream = stream.take(ANSWER);
    loop {
        if timeout(wait, stream.read_buf(heard)).await?? == 0 {
            return Ok(Reply::Partial);
        }
        match Reply::read(heard) {
            Reply::Partial => {}
            reply => return Ok(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{net::TcpListener, sync::mpsc};

    use super::*;

    /// Ample for a peer in the same process; a silent one costs a test this much.
    const SHORT: Limits = Limits {
        connect: Duration::from_millis(200),
        read: Duration::from_millis(200),
        total: Duration::from_millis(300),
    };

    fn at(listener: &TcpListener) -> Listener {
        Listener { address: listener.local_addr().unwrap(), uid: 0, inode: 0 }
    }

    /// Probes a peer on `address` that does `play` with its guest, while the guest stays.
    async fn against(address: &str, play: impl AsyncFnOnce(&mut TcpStream)) -> Probe {
        let listener = TcpListener::bind(address).await.unwrap();
        let socket = at(&listener);
        let peer = async {
            let (mut guest, _) = listener.accept().await.unwrap();
            play(&mut guest).await;
            drop(guest);
            pending::<Probe>().await
        };
        tokio::select! {
            answer = probe(socket, Limits { read: SHORT.read, ..Limits::OWN }) => answer,
            never = peer => never,
        }
    }

    /// A peer that reads the request, writes these pieces, and then stays or closes.
    async fn saying(pieces: &[&[u8]], stays: bool) -> Probe {
        against("127.0.0.1:0", async |guest| {
            let mut request = [0; 7];
            guest.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"dae []\n");
            for piece in pieces {
                guest.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            if stays {
                pending::<()>().await;
            }
        })
        .await
    }

    fn is_sample(probe: &Probe) -> bool {
        matches!(probe, Probe::Credential(it) if it.name == "Sample" && it.pid == 42 && it.port == 80)
    }

    #[tokio::test]
    async fn an_original_answers_without_newline_and_closes() {
        let answer = saying(&[br#"credential ["Sample",42,80,null]"#], false).await;
        assert!(is_sample(&answer), "{answer:?}");
    }

    #[tokio::test]
    async fn ours_answers_a_line_and_stays() {
        for end in [&b"\n"[..], b"\r\n", b""] {
            let line = [br#"credential ["Sample",42,80,"ab12"]"#, end].concat();
            let answer = saying(&[&line], true).await;
            assert!(is_sample(&answer), "{answer:?}");
        }
        let line = br#"credential ["Sample",42,80,"ab12"]"#;
        let bytes: Vec<&[u8]> = line.chunks(1).collect();
        let answer = saying(&bytes, true).await;
        assert!(is_sample(&answer), "{answer:?}");
    }

    #[tokio::test]
    async fn ipv6_and_any_address_are_reached() {
        for address in ["0.0.0.0:0", "[::1]:0", "[::]:0"] {
            if TcpListener::bind(address).await.is_err() {
                continue;
            }
            let reply = br#"credential ["Sample",42,80,null]"#;
            let answer = against(address, async |it| it.write_all(reply).await.unwrap()).await;
            assert!(is_sample(&answer), "{address}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_garbage_at_once_and_shown_escaped() {
        let answer = saying(&[b"HTTP/1.1 400 Bad Request\r\n\xff"], true).await;
        assert!(
            matches!(&answer, Probe::Garbage(it) if it == r"HTTP/1.1 400 Bad Request\r\n\xff"),
            "{answer:?}"
        );
        let half = saying(&[br#"credential ["Sample""#], true).await;
        assert!(matches!(&half, Probe::Garbage(it) if it.ends_with(r#"\"Sample\""#)), "{half:?}");
        let half = saying(&[b"cred"], false).await;
        assert!(matches!(&half, Probe::Garbage(it) if it == "cred"), "{half:?}");
    }

    #[tokio::test]
    async fn who_says_nothing_is_silent_or_closed_or_refused() {
        assert!(matches!(saying(&[], true).await, Probe::Silent));
        assert!(matches!(saying(&[], false).await, Probe::Closed));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = at(&listener);
        // Nobody accepts: the kernel connects all the same.
        assert!(matches!(probe(socket, SHORT).await, Probe::Silent));
        drop(listener);
        while !matches!(probe(socket, SHORT).await, Probe::Refused) {}
    }

    #[tokio::test]
    async fn a_peer_that_trickles_is_left_after_the_total_time() {
        let trickle = against("127.0.0.1:0", async |guest| {
            guest.write_all(b"credential [").await.unwrap();
            loop {
                guest.write_all(b" ").await.unwrap();
                tokio::time::sleep(SHORT.read / 4).await;
            }
        });
        let start = Instant::now();
        assert!(matches!(trickle.await, Probe::Garbage(_)));
        assert!(start.elapsed() >= Limits::OWN.total);
    }

    #[tokio::test]
    async fn an_answer_of_more_than_four_kilobytes_is_not_read_to_its_end() {
        let with_secret_of = |size: usize| {
            format!(r#"credential ["Sample",42,80,"{}"]"#, "a".repeat(size)).into_bytes()
        };
        assert!(is_sample(&saying(&[&with_secret_of(4_000)], true).await));
        let answer = saying(&[&with_secret_of(5_000)], true).await;
        assert!(matches!(&answer, Probe::Garbage(it) if it.len() < 100), "{answer:?}");
    }

    #[tokio::test]
    async fn a_peer_that_sends_a_gigabyte_is_left_after_four_kilobytes() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let answer = against("127.0.0.1:0", async |guest| {
            guest.write_all(br#"credential [""#).await.unwrap();
            let mut sent = 0;
            while let Ok(size) = guest.write(&[b'a'; 1 << 16]).await
                && sent < 1 << 30
            {
                sent += size;
                tell.send(sent).unwrap();
            }
        })
        .await;
        assert!(matches!(answer, Probe::Garbage(_)), "{answer:?}");

        told.close();
        let mut sent = 0;
        while let Some(more) = told.recv().await {
            sent = more;
        }
        // What the kernel buffers between the two, at most.
        assert!(sent < 64 << 20, "{sent}");
    }

    #[tokio::test]
    async fn silent_peers_delay_nobody() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let daemon = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sockets = [[at(&silent); 20], [at(&daemon); 20]].concat();
        let serve = async {
            loop {
                let (mut guest, _) = daemon.accept().await.unwrap();
                guest.write_all(br#"credential ["Sample",42,80,null]"#).await.unwrap();
            }
        };
        let start = Instant::now();
        let answers: Vec<(Listener, Probe)> = tokio::select! {
            answers = probe_all(sockets, SHORT) => answers,
            never = serve => never,
        };
        assert_eq!(answers.len(), 40);
        assert_eq!(answers.iter().filter(|(_, it)| is_sample(it)).count(), 20);
        assert_eq!(answers.iter().filter(|(_, it)| matches!(it, Probe::Silent)).count(), 20);
        assert!(start.elapsed() < 10 * SHORT.total, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn no_more_than_sixteen_are_asked_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let patient =
            Limits { read: Duration::from_secs(60), total: Duration::from_secs(60), ..SHORT };
        let count = async {
            // Whoever leaves makes room for one.
            drop(listener.accept().await.unwrap());
            let mut guests = Vec::new();
            let wait = |guests: &Vec<_>| if guests.len() < AT_ONCE { 30_000 } else { 100 };
            while let Ok(guest) =
                timeout(Duration::from_millis(wait(&guests)), listener.accept()).await
            {
                guests.push(guest.unwrap());
            }
            guests.len()
        };
        tokio::select! {
            _ = probe_all(vec![at(&listener); 40], patient) => unreachable!("nobody answers"),
            count = count => assert_eq!(count, AT_ONCE),
        }
    }
}
