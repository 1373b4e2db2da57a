//! What strangers can do to a daemon and to its other guests by being many, slow or gone.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use daemon::{Environment, Failure, Guest, Limits, Settings};
use tokio::time::Instant;

use crate::{
    lab::{Lab, lab, limited, serve},
    netcat::{Netcat, PATIENCE, code, failure},
};

/// Long enough for what happens at once, short enough to wait for what must not happen.
const MOMENT: Duration = Duration::from_millis(300);

/// A daemon for one guest and no owner.
fn for_one() -> Limits {
    Limits { connections: 1, ..Limits::default() }
}

/// Waits until the only place is free.
async fn let_in(port: u16) -> Netcat {
    let begun = Instant::now();
    loop {
        let mut guest = Netcat::connect(port).await;
        guest.say("echo [1]\n").await;
        if guest.hear().await == "echo [1]" {
            return guest;
        }
        assert!(begun.elapsed() < PATIENCE, "the place stays taken");
    }
}

/// A guest that leaves by RST, since a reply is unread, right behind what it said.
async fn go_while(port: u16, said: &str, entered: impl Fn() -> bool) {
    let mut guest = Netcat::connect(port).await;
    guest.say(format!("echo [1]\n{said}")).await;
    while !entered() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_has_gone_keeps_neither_command_nor_place() {
    for said in
        ["wait [\"a\"]\n", "wait [\"a\"]\necho [2]\n", "wait#1 [\"a\"]\n", "wait#1 [\"a\"]\nec"]
    {
        let lab = serve(limited(for_one())).await;
        go_while(lab.port, said, || lab.state.entered.load(SeqCst) == 1).await;
        let_in(lab.port).await;
        assert_eq!(lab.state.dropped.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn who_has_gone_after_its_last_word_keeps_nothing_either() {
    let lab = serve(limited(for_one())).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("echo [1]\nwait [\"a\"]\n").await;
    guest.finish().await;
    while lab.state.entered.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(guest);
    let_in(lab.port).await;
}

#[tokio::test]
async fn who_has_gone_from_the_unix_socket_keeps_nothing() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("lab.sock");
    let environment = Environment { socket: Some(socket.clone()), ..Environment::default() };
    let lab = serve(lab().settings(Settings { environment, ..Settings::default() })).await;
    let mut guest = Netcat::connect_unix(&socket).await;
    // More is unread than the daemon reads ahead.
    guest.say("wait [\"a\"]\n".repeat(3)).await;
    while lab.state.entered.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(guest);
    let begun = Instant::now();
    while lab.state.dropped.load(SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the command goes on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_begun_is_done_whoever_is_gone() {
    let lab = serve(limited(for_one())).await;
    let said = "work#1 [\"a\"]\nwait#2 [\"b\"]\n";
    go_while(lab.port, said, || lab.state.entered.load(SeqCst) == 2).await;
    let begun = Instant::now();
    while lab.state.dropped.load(SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody has noticed");
        tokio::task::yield_now().await;
    }
    lab.state.open("a".to_owned());
    let begun = Instant::now();
    while lab.state.left.load(SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the command was dropped");
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.state.dropped.load(SeqCst), 1);
    let_in(lab.port).await;
}

#[tokio::test]
async fn who_only_has_no_more_to_say_gets_its_replies() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("wait [\"a\"]\necho [1]\n").await;
    guest.finish().await;
    assert_eq!(guest.hear_within(MOMENT).await, None);
    lab.state.gate("a").add_permits(1);
    assert_eq!(guest.hear_out().await, ["wait [\"a\"]", "echo [1]"]);
}

#[tokio::test]
async fn unfinished_packets_of_many_are_bounded_and_large_ones_still_come_through() {
    let lab = serve(limited(Limits { waiting_bytes: 4 << 20, ..Limits::default() })).await;
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let mut guest = Netcat::connect(lab.port).await;
        guest.say(format!("echo [\"{}", "x".repeat(500_000))).await;
        crowd.push(guest);
    }
    let mut honest = Netcat::connect(lab.port).await;
    let large = format!("echo [\"{}\"]", "y".repeat(1_000_000));
    for _ in 0..5 {
        assert!(honest.ask(&large).await == large);
    }
    let mut sent_away = 0;
    for guest in &mut crowd {
        if let Some(line) = guest.hear_within(Duration::from_millis(20)).await {
            assert_eq!(code(&line), "busy");
            assert_eq!(failure(&line)["limit"], 4 << 20);
            sent_away += 1;
        }
    }
    assert!(sent_away >= 32, "only {sent_away} of 40 were sent away");
}

#[tokio::test]
async fn unread_replies_of_many_are_bounded_and_who_reads_gets_all() {
    let lab = serve(limited(Limits { waiting_bytes: 32 << 20, ..Limits::default() })).await;
    let mut reader = Netcat::connect(lab.port).await;
    let mut crowd = Vec::new();
    let (request, reply_bytes) = ("big [16000000]\n", 16_000_009);
    for _ in 0..10 {
        let mut guest = Netcat::connect(lab.port).await;
        guest.say(request).await;
        crowd.push(guest);
        reader.say(request).await;
        assert!(reader.has_all(reply_bytes).await);
    }
    let mut cut = 0;
    for mut guest in crowd {
        cut += usize::from(!guest.has_all(reply_bytes).await);
    }
    assert!(cut >= 6, "only {cut} of 10 who read nothing were sent away");
}

/// A daemon whose results are large beside what may wait.
fn for_large_results(packet_timeout: Duration) -> Limits {
    let (result_bytes, unsent_bytes) = (4 << 20, 1 << 20);
    Limits { result_bytes, unsent_bytes, packet_timeout, connections: 2, ..Limits::default() }
}

/// Asks for twenty large results side by side.
async fn ask_for_much(port: u16) -> Netcat {
    let mut guest = Netcat::connect(port).await;
    let requests: String = (0..20).map(|tag| format!("big-later#{tag} [4000000]\n")).collect();
    guest.say(requests).await;
    guest
}

#[tokio::test]
async fn results_side_by_side_that_nobody_reads_do_not_pile_up() {
    let lab = serve(limited(for_large_results(PATIENCE))).await;
    let mut guest = ask_for_much(lab.port).await;
    let mut other = Netcat::connect(lab.port).await;
    while lab.state.made.load(SeqCst) == 0 {
        other.ask("echo [1]").await;
    }
    tokio::time::sleep(MOMENT).await;
    let made = lab.state.made.load(SeqCst);
    // Two wait, and the kernel has taken some.
    assert!((1..=6).contains(&made), "{made} results of 4 MB wait");
    for _ in 0..20 {
        assert!(guest.hear().await.starts_with("big-later#"));
    }
    assert_eq!(lab.state.made.load(SeqCst), 20);
}

#[tokio::test]
async fn commands_behind_results_that_nobody_reads_are_not_held_up_for_ever() {
    let lab = serve(limited(Limits { connections: 1, ..for_large_results(MOMENT) })).await;
    let guest = ask_for_much(lab.port).await;
    let_in(lab.port).await;
    // Those that were begun are done, and nobody is there to take what they made.
    let begun = lab.state.begun.load(SeqCst);
    assert!(begun > 1, "nothing was held up");
    assert_eq!(lab.state.made.load(SeqCst), begun);
    drop(guest);
}

#[tokio::test]
async fn results_that_nobody_reads_keep_no_place_for_ever() {
    let lab = serve(limited(Limits { connections: 1, ..for_large_results(MOMENT) })).await;
    let mut guest = Netcat::connect(lab.port).await;
    // All that it asked for is answered: nothing runs, and nothing more is read.
    guest.say("big [4000000]\n".repeat(9)).await;
    let_in(lab.port).await;
    drop(guest);
}

#[tokio::test]
async fn the_owner_gets_in_however_many_are_turned_away() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("lab.sock");
    let environment = Environment { socket: Some(socket.clone()), ..Environment::default() };
    let limits = Limits { connections: 2, ..Limits::default() };
    let lab = serve(lab().settings(Settings { environment, limits, ..Settings::default() })).await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(Netcat::connect(lab.port).await);
    }
    let mut owner = Netcat::connect_unix(&socket).await;
    assert_eq!(owner.ask("echo [1]").await, "echo [1]");
    // Who is one too many even for that is not kept: its connection ends at once.
    for guest in &mut crowd[200..] {
        guest.has_all(1000).await;
    }
}

fn with_account() -> daemon::Daemon<Lab> {
    lab().accounts(|_: &Lab, guest: Guest, user: String, password: String| {
        if (user.as_str(), password.as_str()) != ("ann", "pw") {
            return Err(Failure::new("denied", "no such account"));
        }
        guest.authenticate();
        Ok(())
    })
}

#[tokio::test]
async fn a_wrong_password_costs_a_second_and_the_third_the_connection() {
    let lab = serve(with_account()).await;
    let mut guest = Netcat::connect(lab.port).await;
    let begun = Instant::now();
    assert_eq!(code(&guest.ask("auth [\"ann\",\"x\"]").await), "denied");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    guest.say("auth#2 [\"ann\",\"\"]\nauth#3 [\"bob\",\"pw\"]\nauth#4 [\"ann\",\"pw\"]\n").await;
    let heard = guest.hear_out().await;
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard.iter().all(|line| code(line) == "denied"), "{heard:?}");
}

#[tokio::test]
async fn passwords_that_are_checked_side_by_side_are_three_at_most() {
    let lab = serve(lab().accounts(Lab::log_in_slowly)).await;
    let mut guest = Netcat::connect(lab.port).await;
    let attempts: String = (0..20).map(|tag| format!("auth#{tag} [\"ann\",\"{tag}\"]\n")).collect();
    guest.say(attempts).await;
    for _ in 3..20 {
        assert_eq!(code(&guest.hear().await), "denied");
    }
    assert_eq!(lab.state.entered.load(SeqCst), 3);
    lab.state.gate("login").add_permits(3);
    assert_eq!(guest.hear_out().await.len(), 3);
}
