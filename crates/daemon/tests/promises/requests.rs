use std::time::Duration;

use crate::{
    lab::{lab, serve},
    netcat::{Netcat, code, failure},
};

#[tokio::test]
async fn tagged_requests_overtake_each_other_and_untagged_ones_do_not() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("wait#1 [\"a\"]\nwait#2 [\"b\"]\necho [3]\nwait [\"c\"]\necho [4]\n").await;
    assert_eq!(guest.hear().await, "echo [3]");
    lab.state.gate("b").add_permits(1);
    assert_eq!(guest.hear().await, "wait#2 [\"b\"]");
    lab.state.gate("a").add_permits(1);
    assert_eq!(guest.hear().await, "wait#1 [\"a\"]");
    lab.state.gate("c").add_permits(1);
    assert_eq!(guest.hear().await, "wait [\"c\"]");
    assert_eq!(guest.hear().await, "echo [4]");
}

#[tokio::test]
async fn a_tag_in_use_is_a_conflict_and_free_again_afterwards() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("wait#1 [\"a\"]\necho#1 [1]\n").await;
    let refused = guest.hear().await;
    assert!(refused.starts_with("err#1 "));
    assert_eq!(failure(&refused)["code"], "conflict");
    assert_eq!(failure(&refused)["command"], "echo");
    lab.state.gate("a").add_permits(1);
    assert_eq!(guest.hear().await, "wait#1 [\"a\"]");
    assert_eq!(guest.ask("echo#1 [1]").await, "echo#1 [1]");
}

#[tokio::test]
async fn a_panic_costs_one_reply_and_its_text_stays_inside() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    for command in ["panic", "panic-later", "break"] {
        let line = guest.ask(command).await;
        assert_eq!(code(&line), "internal", "{line}");
        assert!(failure(&line)["id"].is_string(), "{line}");
        assert!(!line.contains("secret"), "{line}");
        assert!(!line.contains("fine"), "{line}");
    }
    assert_eq!(guest.ask("echo [1]").await, "echo [1]");
}

#[tokio::test]
async fn what_was_asked_before_the_end_of_the_stream_is_answered() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("wait#1 [\"a\"]\nwait [\"b\"]\necho [1]\necho [2]\noptions").await;
    guest.finish().await;
    lab.state.gate("b").add_permits(1);
    assert_eq!(guest.hear().await, "wait [\"b\"]");
    assert_eq!(guest.hear().await, "echo [1]");
    assert_eq!(guest.hear().await, "echo [2]");
    assert!(guest.hear().await.starts_with("commands [{"));
    lab.state.gate("a").add_permits(1);
    assert_eq!(guest.hear_out().await, ["wait#1 [\"a\"]"]);
}

#[tokio::test]
async fn a_line_that_is_no_json_is_an_error_also_at_the_end_of_the_stream() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("echo [x]").await;
    assert_eq!(guest.hear_within(Duration::from_millis(50)).await, None);
    guest.finish().await;
    let heard = guest.hear_out().await;
    assert_eq!(heard.len(), 1);
    assert_eq!(code(&heard[0]), "bad-json");
}

#[tokio::test]
async fn quit_answers_what_runs_and_nothing_behind_it() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("wait#1 [\"a\"]\nquit\necho [1]\n").await;
    assert_eq!(guest.hear().await, "quit []");
    lab.state.gate("a").add_permits(1);
    assert_eq!(guest.hear_out().await, ["wait#1 [\"a\"]"]);
}

#[tokio::test]
async fn packets_without_a_line_feed_between_are_answered_apart() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("echo [1]echo-later [2]echo [x]").await;
    assert_eq!(guest.hear().await, "echo [1]");
    assert_eq!(guest.hear().await, "echo-later [2]");
    assert_eq!(code(&guest.ask("").await), "bad-json");
}

#[tokio::test]
async fn a_session_lives_as_long_as_its_guest() {
    use crate::lab::NOTES;
    use std::sync::atomic::Ordering::SeqCst;

    let lab = serve(lab()).await;
    let (mut one, mut two) = (Netcat::connect(lab.port).await, Netcat::connect(lab.port).await);
    assert_eq!(one.ask("note [\"a\"]").await, "note [[\"a\"]]");
    assert_eq!(two.ask("note [\"x\"]").await, "note [[\"x\"]]");
    assert_eq!(one.ask("note [\"b\"]").await, "note [[\"a\",\"b\"]]");
    // A stream in the session knows its guest; that must not keep both alive.
    assert_eq!(one.ask("note-stream").await, "note-stream []");
    one.finish().await;
    assert!(one.hear_out().await.is_empty());
    drop(two);
    let gone = async {
        while NOTES.load(SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::netcat::PATIENCE, gone).await.expect("sessions are dropped");
}
