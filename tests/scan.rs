//! Daemons that the manager did not start: found by the kernel's tables, asked once, and left
//! alone.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::harness::{Dae, Daemon, PATIENCE, eventually, memory_kib, processor_ms};

/// Between two looks of the manager.
const PERIOD: Duration = Duration::from_secs(15);

/// The foreign daemon of `pid`, as the manager lists it.
fn foreign(dae: &Dae, pid: u32) -> Option<Value> {
    let listed = dae.ask("list", &json!([])).unwrap();
    listed.as_array().unwrap().iter().find(|it| it["pid"] == pid && it["foreign"] == true).cloned()
}

#[test]
fn m_13_1_a_sample_started_by_hand_is_listed_and_gone_with_its_end() {
    let dae = Dae::start();
    let sample = Daemon::sample(&[]);
    let begun = Instant::now();
    let listed = eventually("the sample is found", || foreign(&dae, sample.pid()));
    println!("M-13.1: found after {:?}, by itself", begun.elapsed());
    assert_eq!((&listed["name"], &listed["port"]), (&json!("Sample"), &json!(sample.port())));
    assert_eq!((&listed["state"], &listed["secret"]), (&json!("foreign"), &Value::Null));

    let second = Daemon::sample(&[]);
    let begun = Instant::now();
    dae.succeed(["scan"]);
    println!("M-13.1: `dae scan` took {:?}", begun.elapsed());
    let note = |pid| foreign(&dae, pid).expect("it is listed at once")["note"].clone();
    let (first, second_note) = (note(sample.pid()), note(second.pid()));
    assert!(first.as_str().unwrap().contains("called `Sample`"), "{first}");
    assert_eq!(first, second_note, "both say who is found");

    let pid = second.pid();
    drop(second);
    let begun = Instant::now();
    eventually("a daemon that has ended is not listed", || {
        foreign(&dae, pid).is_none().then_some(())
    });
    println!("M-13.1: gone {:?} after its end", begun.elapsed());
    assert!(foreign(&dae, sample.pid()).is_some());
}

#[test]
fn scan_off_finds_nobody_and_who_is_on_an_ignored_port_is_not_listed() {
    let sample = Daemon::sample(&[]);
    let dae = Dae::at_rest();
    let config = dae.home().join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("config.toml"), format!("scan_ignore = [{}]\n", sample.port())).unwrap();
    dae.succeed(["up"]);
    dae.succeed(["scan"]);
    assert!(foreign(&dae, sample.pid()).is_none());

    dae.succeed(["down"]);
    fs::write(config.join("config.toml"), "scan = \"off\"\n").unwrap();
    dae.succeed(["up"]);
    dae.succeed(["scan"]);
    let listed = dae.ask("list", &json!([])).unwrap();
    assert_eq!(listed, json!([]));

    dae.succeed(["down"]);
    fs::write(config.join("config.toml"), "scan = \"of\"\n").unwrap();
    let refused = dae.run(["up"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("config.toml"), "{said}");
}

/// What a listener of the crowd does with who asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Manner {
    Answers,
    Silent,
    Garbage,
    Endless,
}

const CROWD: [(Manner, usize); 4] =
    [(Manner::Answers, 899), (Manner::Silent, 50), (Manner::Garbage, 50), (Manner::Endless, 1)];

/// Has `test` run where no other manager of this machine sees its sockets; false if this user may
/// not.
fn alone(test: impl FnOnce() + Send + 'static) -> bool {
    let run = thread::spawn(|| {
        let up = || Command::new("ip").args(["link", "set", "lo", "up"]).status();
        let is_alone =
            unshare(CloneFlags::CLONE_NEWNET).is_ok() && up().is_ok_and(|it| it.success());
        if is_alone {
            test();
        }
        is_alone
    });
    run.join().unwrap()
}

#[test]
fn m_13_2_a_thousand_listeners_are_asked_once_each_and_hold_up_nobody() {
    if !alone(ask_a_thousand) {
        println!("skipped: M-13.2 needs a network of its own (root, and `ip`)");
    }
}

fn ask_a_thousand() {
    allow_files(4096);
    let asked: BTreeMap<Manner, Vec<Arc<AtomicUsize>>> = crowd();
    let dae = Dae::at_rest();
    dae.succeed(["up"]);
    let pid = dae.pid();

    let begun = Instant::now();
    let found = dae.ask("scan", &json!([])).unwrap();
    let took = begun.elapsed();
    println!("M-13.2: a look at 1000 new listeners took {took:?}");
    assert!(took < PATIENCE / 2, "{took:?}");
    let names =
        found["foreign"].as_array().unwrap().iter().filter(|it| it["name"] == "Crowd").count();
    assert_eq!(names, 899);

    let before = memory_kib(pid);
    for _ in 0..5 {
        let begun = Instant::now();
        dae.ask("scan", &json!([])).unwrap();
        println!("M-13.2: a look without news took {:?}", begun.elapsed());
    }
    // One more by itself.
    thread::sleep(PERIOD);
    dae.ask("scan", &json!([])).unwrap();
    for (manner, counts) in &asked {
        let wrong = counts.iter().filter(|it| it.load(SeqCst) != 1).count();
        assert_eq!(wrong, 0, "{manner:?}: so many of {} were not asked exactly once", counts.len());
    }
    let grown = memory_kib(pid).saturating_sub(before);
    println!("M-13.2: {grown} KiB more after seven looks");
    assert!(grown < 1024, "{grown} KiB");
}

/// Listens a thousand times in a thread of its own.
fn crowd() -> BTreeMap<Manner, Vec<Arc<AtomicUsize>>> {
    let mut asked = BTreeMap::<Manner, Vec<Arc<AtomicUsize>>>::new();
    let mut listeners = Vec::new();
    for (manner, count) in CROWD {
        for _ in 0..count {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let count = Arc::new(AtomicUsize::new(0));
            asked.entry(manner).or_default().push(Arc::clone(&count));
            listeners.push((listener, manner, count));
        }
    }
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (listener, manner, count) in listeners {
                tokio::spawn(receive(TcpListener::from_std(listener).unwrap(), manner, count));
            }
            std::future::pending::<()>().await;
        });
    });
    asked
}

async fn receive(listener: TcpListener, manner: Manner, count: Arc<AtomicUsize>) {
    loop {
        let (guest, _) = listener.accept().await.unwrap();
        count.fetch_add(1, SeqCst);
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { drop(serve(guest, manner, port).await) });
    }
}

async fn serve(mut guest: TcpStream, manner: Manner, port: u16) -> std::io::Result<()> {
    match manner {
        Manner::Answers => {
            let answer = format!("credential [\"Crowd\",{},{port},null]\n", std::process::id());
            guest.write_all(answer.as_bytes()).await
        }
        Manner::Silent => guest.read_to_end(&mut Vec::new()).await.map(drop),
        Manner::Garbage => guest.write_all(b"HTTP/1.1 400 \xff\x00 Bad\r\n\r\n[[[[").await,
        Manner::Endless => {
            let chunk = vec![b'['; 1 << 20];
            for _ in 0..1024 {
                guest.write_all(&chunk).await?;
            }
            Ok(())
        }
    }
}

#[test]
fn m_13_3_the_daemon_of_another_user_is_neither_asked_nor_listed() {
    let Some(mut nobody) = of_nobody(&crate::harness::binary("sample")) else {
        println!("skipped: M-13.3 needs root and setpriv, to run a daemon as another user");
        return;
    };
    let dae = Dae::start();
    let own = Daemon::sample(&[]);
    dae.succeed(["scan"]);
    let found = foreign(&dae, own.pid()).is_some();
    let strange = foreign(&dae, nobody.id()).is_some();
    nobody.kill().unwrap();
    nobody.wait().unwrap();
    assert!(found && !strange);
}

/// A daemon as the user `nobody`, that listens already.
fn of_nobody(program: &std::path::Path) -> Option<std::process::Child> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    // Where that user may read it.
    let copy = tempfile::Builder::new().prefix("dae-nobody-").tempdir_in("/tmp").unwrap();
    let path = copy.path().join("sample");
    fs::copy(program, &path).unwrap();
    crate::harness::open_to_all(copy.path());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&path);
    let child = command.args(["--port", "0"]).stderr(std::process::Stdio::null()).spawn().ok()?;
    eventually("the daemon of nobody listens", || {
        crate::harness::listening_ports(child.id()).first().copied()
    });
    Some(child)
}

/// What looking costs when nothing is new. A bench: 0.1 % of a core at 1,000 sockets is meant, and
/// a machine with much else to do is given more.
#[test]
fn m_13_4_an_idle_look_at_a_thousand_sockets_is_cheap() {
    let measured = alone(|| {
        allow_files(4096);
        let sockets: Vec<_> = (0..1000)
            .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let dae = Dae::at_rest();
        dae.succeed(["up"]);
        let pid = dae.pid();
        dae.ask("scan", &json!([])).unwrap();
        let before = processor_ms(pid);
        const LOOKS: u64 = 100;
        let mut client = dae.unix();
        for _ in 0..LOOKS {
            client.ask("scan", &json!([]));
        }
        let each = (processor_ms(pid) - before) as f64 / LOOKS as f64;
        let share = each / PERIOD.as_millis() as f64 * 100.0;
        println!(
            "M-13.4: a look at 1000 known sockets takes {each:.2} ms of processor time, {share:.3} % of a core"
        );
        assert!(share < 5.0, "{share} %");
        drop(sockets);
    });
    if !measured {
        println!("skipped: M-13.4 needs a network of its own (root, and `ip`)");
    }
}

fn allow_files(wanted: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted).min(hard), hard).unwrap();
}
