//! What happens when this process may open no more files: a test of its own, since it is the whole
//! process that may not.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

#[path = "promises/lab.rs"]
#[expect(dead_code, reason = "the other tests need all of it")]
mod lab;

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use websocket::{Limits, code};

use crate::lab::{Lab, Raw, frame};

#[tokio::test]
async fn without_descriptors_those_who_are_here_go_on_and_others_wait() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: most }).unwrap();
    let (lab, _) = Lab::echo(Limits::default()).await;
    let (mut stays, mut leaves) = (lab.open().await, lab.open().await);
    let late = TcpSocket::new_v4().unwrap();
    let mut all: Vec<File> = Vec::new();
    all.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
    // The kernel connects it; nobody can accept it.
    let late = late.connect(lab.address).await.unwrap();
    late.set_nodelay(true).unwrap();
    let mut late = Raw { stream: late };
    for _ in 0..10 {
        stays.send(&frame(0x81, b"x")).await;
        assert_eq!(stays.frame().await, Some((0x81, b"x".to_vec())));
    }
    leaves.send(&frame(0x88, b"\x03\xE8")).await;
    leaves.is_closed_with(code::NORMAL).await;
    assert_eq!(leaves.frame().await, None);
    // There is one descriptor again.
    late.shake_hands().await;
    drop(all);
}
