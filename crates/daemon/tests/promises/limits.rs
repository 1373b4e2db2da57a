use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use daemon::Limits;

use crate::{
    lab::{lab, limited, serve},
    netcat::{Netcat, code, failure},
};

/// Long enough for what happens at once, short enough to wait for what must not happen.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn beyond_the_pipeline_nothing_is_read() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    let requests: String = (0..80).map(|tag| format!("wait#{tag} [\"a\"]\n")).collect();
    guest.say(requests).await;
    guest.say("echo [\"last\"]\n").await;
    assert_eq!(guest.hear_within(MOMENT).await, None);
    assert_eq!(lab.state.entered.load(SeqCst), 64);
    lab.state.gate("a").add_permits(80);
    let mut heard = Vec::new();
    for _ in 0..81 {
        heard.push(guest.hear().await);
    }
    assert!(heard.contains(&"echo [\"last\"]".to_owned()));
    assert_eq!(lab.state.entered.load(SeqCst), 80);
}

#[tokio::test]
async fn who_never_reads_is_read_no_more_and_harms_nobody() {
    let lab = serve(lab()).await;
    let mut slow = Netcat::connect(lab.port).await;
    let request = format!("echo [\"{}\"]\n", "x".repeat(60_000));
    let requests = request.repeat(2000);
    let taken = slow.say_within(requests.as_bytes(), MOMENT).await;
    // The buffers of the kernel, both ways, and a little of ours.
    assert!(taken < 60 << 20, "{taken} bytes were read of a guest that reads nothing");
    let mut other = Netcat::connect(lab.port).await;
    assert_eq!(other.ask("echo [1]").await, "echo [1]");
    // What was taken is answered all the same, in full.
    for _ in 0..taken / request.len() {
        assert_eq!(slow.hear().await.len(), request.len() - 1);
    }
}

/// How many bytes a guest gets that reads a little now and then, until its connection ends by
/// `last`.
async fn reads_slowly(last: &str) -> usize {
    let packet_timeout = MOMENT;
    let limits = Limits { unsent_bytes: 100 << 20, packet_timeout, ..Limits::default() };
    let lab = serve(limited(limits)).await;
    let mut slow = Netcat::connect(lab.port).await;
    slow.say(format!("{}{last}\n", "big [15000000]\n".repeat(3))).await;
    let mut taken = 0;
    while slow.has_all(STEP).await {
        taken += STEP;
        // Its slowness is what is looked at: there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    taken
}

/// What is taken at once.
const STEP: usize = 150_000;

#[tokio::test]
async fn who_must_leave_is_not_waited_for_and_who_wants_to_gets_all() {
    let (dismissed, left) = tokio::join!(reads_slowly("dismiss"), reads_slowly("quit"));
    assert!(left >= 45_000_000 - STEP, "{left} bytes came");
    assert!(dismissed < 40_000_000, "{dismissed} bytes came, however late");
}

#[tokio::test]
async fn a_command_runs_on_while_its_guest_reads_nothing() {
    let lab = serve(lab()).await;
    let mut slow = Netcat::connect(lab.port).await;
    slow.say("wait#1 [\"a\"]\nbig [16000000]\n").await;
    let mut other = Netcat::connect(lab.port).await;
    other.ask("echo [1]").await;
    lab.state.gate("a").add_permits(1);
    let done = async {
        while lab.state.left.load(SeqCst) == 0 {
            other.ask("echo [1]").await;
        }
    };
    tokio::time::timeout(crate::netcat::PATIENCE, done).await.expect("the command is done");
}

#[tokio::test]
async fn a_result_beyond_the_limit_is_an_error_and_the_connection_lives() {
    let lab = serve(limited(Limits { result_bytes: 1000, ..Limits::default() })).await;
    let mut guest = Netcat::connect(lab.port).await;
    let line = guest.ask("big#1 [1000]").await;
    assert!(line.starts_with("err#1 "));
    assert_eq!(failure(&line)["code"], "too-large");
    assert_eq!(failure(&line)["limit"], 1000);
    assert_eq!(failure(&line)["command"], "big");
    assert_eq!(guest.ask("big [3]").await, "big [\"xxx\"]");
}

#[tokio::test]
async fn a_packet_beyond_the_limit_is_an_error_and_then_the_end() {
    let lab = serve(limited(Limits { packet_bytes: 1000, ..Limits::default() })).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("echo [1]\n").await;
    // More than the kernel buffers is under way when the answer comes.
    guest.say(format!("echo [\"{}", "x".repeat(20 << 20))).await;
    guest.finish().await;
    let heard = guest.hear_out().await;
    assert_eq!(heard[0], "echo [1]");
    assert_eq!(code(&heard[1]), "too-large");
    assert_eq!(heard.len(), 2);
}

#[tokio::test]
async fn the_sixteenth_bad_line_in_a_row_is_the_last() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("^\n".repeat(15)).await;
    guest.say("echo [1]\n").await;
    guest.say("^\n".repeat(16)).await;
    guest.say("echo [2]\n").await;
    let heard = guest.hear_out().await;
    assert_eq!(heard.len(), 32);
    assert_eq!(heard[15], "echo [1]");
}

#[tokio::test]
async fn an_unfinished_packet_has_its_time_and_an_idle_guest_has_all() {
    let limits = Limits { packet_timeout: MOMENT, ..Limits::default() };
    let lab = serve(limited(limits)).await;
    let mut idle = Netcat::connect(lab.port).await;
    let mut guest = Netcat::connect(lab.port).await;
    // What runs is answered, however long the packet behind it stays unfinished.
    guest.say("wait#1 [\"a\"]\nech").await;
    let line = guest.hear().await;
    assert_eq!(failure(&line)["code"], "timeout");
    assert_eq!(failure(&line)["limit"], 300);
    lab.state.gate("a").add_permits(1);
    assert_eq!(guest.hear_out().await, ["wait#1 [\"a\"]"]);
    assert_eq!(idle.ask("echo [1]").await, "echo [1]");
}

#[tokio::test]
async fn one_guest_too_many_is_told_so() {
    let lab = serve(limited(Limits { connections: 2, ..Limits::default() })).await;
    let mut one = Netcat::connect(lab.port).await;
    let mut two = Netcat::connect(lab.port).await;
    assert_eq!(one.ask("echo [1]").await, "echo [1]");
    assert_eq!(two.ask("echo [1]").await, "echo [1]");
    let mut three = Netcat::connect(lab.port).await;
    three.say("echo [1]\n").await;
    three.finish().await;
    let heard = three.hear_out().await;
    assert_eq!(heard.len(), 1);
    assert_eq!(failure(&heard[0])["code"], "busy");
    assert_eq!(failure(&heard[0])["limit"], 2);
    one.finish().await;
    assert!(one.hear_out().await.is_empty());
    let mut four = Netcat::connect(lab.port).await;
    assert_eq!(four.ask("echo [1]").await, "echo [1]");
}
