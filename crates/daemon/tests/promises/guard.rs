use crate::{
    lab::{lab, serve},
    netcat::{Netcat, code},
};

/// Says `parts` one by one; what is answered, up to the end of the stream.
async fn check(parts: &[&str], before: &[&str]) {
    let lab = serve(lab()).await;
    let mut guest = Netcat::connect(lab.port).await;
    for part in parts {
        guest.say(part).await;
        tokio::task::yield_now().await;
    }
    let mut heard = guest.hear_out().await;
    assert_eq!(code(&heard.pop().unwrap()), "not-supported", "{parts:?}");
    let mut codes = heard.iter().map(|line| code(line));
    assert!(codes.by_ref().eq(before.iter().map(|&it| it.to_owned())), "{parts:?}: {heard:?}");
    assert!(!lab.state.streams.lock().unwrap().iter().any(|_| true));
}

#[tokio::test]
async fn what_looks_like_http_is_not_read_any_further() {
    check(&["POST / HTTP/1.1\r\nHost: x\r\n\r\nwatch []\n"], &[]).await;
    check(&["GET / HT", "TP/1.", "1\r", "\nHost: x\r\n\r\nwatch []\n"], &[]).await;
    check(&["CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\n\r\nwatch []\n"], &[]).await;
    check(&["CONNECT [1]:1 HTTP/1.1\r\nwatch []\n"], &["unknown-command"]).await;
    check(&["echo / HTTP/1.1\r\nwatch []\n"], &[]).await;
    check(&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], &[]).await;
    check(&["w@tch / HTTP/1.0\r\nwatch []\n"], &[]).await;
    check(&["\x16\x03\x01\nwatch []\n"], &[]).await;
}
