use daemon::Limits;
use serde_json::{Value, json};

use crate::{
    lab::{lab, limited, serve},
    netcat::{Netcat, code},
};

#[tokio::test]
async fn a_stream_is_a_reply_then_numbered_events_then_an_end() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s []").await, "watch#s [\"watching\"]");
    lab.state.tell("up".into(), json!({"a": 1}));
    lab.state.tell("down".into(), json!(null));
    assert_eq!(guest.hear().await, "event#s [\"up\",{\"a\":1},1]");
    assert_eq!(guest.hear().await, "event#s [\"down\",null,2]");
    assert_eq!(guest.ask("cancel [\"s\"]").await, "cancel []");
    assert_eq!(guest.hear().await, "end#s [{\"reason\":\"cancelled\"}]");
    assert_eq!(lab.state.tell("up".into(), json!(1)), 0);
    assert_eq!(code(&guest.ask("cancel [\"s\"]").await), "not-found");
}

#[tokio::test]
async fn one_stream_may_go_without_a_tag() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch").await, "watch [\"watching\"]");
    assert_eq!(code(&guest.ask("watch").await), "conflict");
    assert_eq!(code(&guest.ask("cancel [\"s\"]").await), "not-found");
    lab.state.tell("up".into(), json!(1));
    assert_eq!(guest.hear().await, "event [\"up\",1,1]");
    assert_eq!(guest.ask("cancel []").await, "cancel []");
    assert_eq!(guest.hear().await, "end [{\"reason\":\"cancelled\"}]");
}

#[tokio::test]
async fn what_a_command_emits_comes_behind_its_reply() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch-eagerly#s []").await, "watch-eagerly#s [\"watching\"]");
    assert_eq!(guest.hear().await, "event#s [\"early\",1,1]");
    assert_eq!(guest.hear().await, "event#s [\"early\",2,2]");

    guest.say("watch-later#t [\"good\"]\necho [1]\n").await;
    assert_eq!(guest.hear().await, "echo [1]");
    lab.state.gate("good").add_permits(1);
    assert_eq!(guest.hear().await, "watch-later#t [\"watching\"]");
    assert_eq!(guest.hear().await, "event#t [\"early\",1,1]");
}

#[tokio::test]
async fn a_stream_may_be_cancelled_before_its_command_has_answered() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("watch-later#t [\"good\"]\ncancel [\"t\"]\n").await;
    assert_eq!(guest.hear().await, "cancel []");
    lab.state.gate("good").add_permits(1);
    assert_eq!(guest.hear().await, "watch-later#t [\"watching\"]");
    assert_eq!(guest.hear().await, "event#t [\"early\",1,1]");
    assert_eq!(guest.hear().await, "end#t [{\"reason\":\"cancelled\"}]");

    // Without a tag it is read only after the answer.
    guest.say("watch-later [\"good\"]\ncancel []\n").await;
    lab.state.gate("good").add_permits(1);
    assert_eq!(guest.hear().await, "watch-later [\"watching\"]");
    let mut then = [guest.hear().await, guest.hear().await, guest.hear().await];
    then.sort();
    assert_eq!(then, ["cancel []", "end [{\"reason\":\"cancelled\"}]", "event [\"early\",1,1]"]);
}

#[tokio::test]
async fn a_command_that_fails_leaves_no_stream() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    for tag in ["", "#s"] {
        assert_eq!(code(&guest.ask(&format!("watch-in-vain{tag}")).await), "not-found");
        assert_eq!(code(&guest.ask(&format!("watch{tag} [1]")).await), "bad-arity");
        assert_eq!(code(&guest.ask(&format!("watch-later{tag} [1]")).await), "bad-argument");
        guest.say(format!("watch-later{tag} [\"bad\"]\n")).await;
        lab.state.gate("bad").add_permits(1);
        assert_eq!(code(&guest.hear().await), "not-found");
        assert_eq!(guest.ask(&format!("watch{tag}")).await, format!("watch{tag} [\"watching\"]"));
    }
    lab.state.tell("up".into(), json!(1));
    assert_eq!(guest.hear().await.as_str(), "event [\"up\",1,1]");
    assert_eq!(guest.hear().await.as_str(), "event#s [\"up\",1,1]");
}

#[tokio::test]
async fn a_stream_that_the_daemon_drops_has_ended() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    lab.state.tell("up".into(), json!(1));
    lab.state.forget();
    assert_eq!(guest.hear().await, "event#s [\"up\",1,1]");
    assert_eq!(guest.hear().await, "end#s [{\"reason\":\"ended\"}]");
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
}

#[tokio::test]
async fn a_tag_is_free_again_in_the_same_breath_as_its_stream_is_cancelled() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    guest.say("watch#s\ncancel [\"s\"]\nwatch#s\n").await;
    assert_eq!(guest.hear().await, "watch#s [\"watching\"]");
    assert_eq!(guest.hear().await, "cancel []");
    assert_eq!(guest.hear().await, "end#s [{\"reason\":\"cancelled\"}]");
    assert_eq!(guest.hear().await, "watch#s [\"watching\"]");
}

#[tokio::test]
async fn who_lags_loses_the_stream_and_keeps_the_connection() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    let payload = json!("x".repeat(100_000));
    let mut told = 0;
    while lab.state.tell("up".into(), payload.clone()) > 0 {
        told += 1;
        assert!(told < 1000, "100 MB wait for a guest that reads nothing");
        tokio::task::yield_now().await;
    }
    let mut seen = 0;
    let end = loop {
        let line = guest.hear().await;
        if !line.starts_with("event#s ") {
            break line;
        }
        seen += 1;
        assert!(line.ends_with(&format!(",{seen}]")));
    };
    let args = end.strip_prefix("end#s ").expect("an end");
    let [end]: [Value; 1] = serde_json::from_str(args).unwrap();
    assert_eq!(end, json!({"reason": "lagged", "missed": told + 1 - seen}));
    assert_eq!(guest.ask("echo [1]").await, "echo [1]");
}

#[tokio::test]
async fn a_stream_of_too_many_packets_lags() {
    let lab = serve(limited(Limits { stream_packets: 10, ..Limits::default() })).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    // The guest's task does not come to its turn in between.
    for _ in 0..10 {
        assert_eq!(lab.state.tell("up".into(), json!(1)), 1);
    }
    assert_eq!(lab.state.tell("up".into(), json!(1)), 0);
    assert_eq!(guest.hear().await, "end#s [{\"reason\":\"lagged\",\"missed\":11}]");
}

#[tokio::test]
async fn many_streams_of_one_guest_share_their_bytes() {
    let lab = serve(limited(Limits { stream_bytes: 100_000, ..Limits::default() })).await;
    let mut guest = Netcat::connect(lab.port).await;
    for tag in 0..100 {
        guest.ask(&format!("watch#{tag}")).await;
    }
    let left = lab.state.tell("up".into(), json!("x".repeat(10_000)));
    assert!(left < 10, "{left} streams have 10 KB each, 100 KB are allowed");
    assert_eq!(
        guest.ask("echo [1]").await.split(' ').next().unwrap().split('#').next(),
        Some("event")
    );
}

#[tokio::test]
async fn events_that_waited_behind_a_large_reply_come_without_being_asked_for() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    guest.say("big [16000000]\n").await;
    let mut other = Netcat::connect(lab.port).await;
    for _ in 0..20 {
        other.ask("echo [1]").await;
    }
    assert_eq!(other.ask("tell [\"up\",1]").await, "tell [1]");
    assert_eq!(guest.hear().await.len(), 16_000_008);
    assert_eq!(guest.hear().await, "event#s [\"up\",1,1]");
}

#[tokio::test]
async fn events_come_through_while_requests_never_cease() {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    assert_eq!(guest.ask("watch#s").await, "watch#s [\"watching\"]");
    guest.say("tell [\"up\",1]\necho [1]\n").await;
    let mut heard = [guest.hear().await, guest.hear().await, guest.hear().await];
    heard.sort();
    assert_eq!(heard, ["echo [1]", "event#s [\"up\",1,1]", "tell [1]"]);
}
