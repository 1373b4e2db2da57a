//! One who floods, and one who doesn't.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use websocket::Limits;

use crate::lab::{Lab, frame};

#[tokio::test]
async fn who_asks_little_is_answered_while_others_flood() {
    let (lab, _) = Lab::echo(Limits::default()).await;
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut read, mut write) = lab.open().await.stream.into_split();
        let burst = frame(0x81, b"flood").repeat(5_000);
        floods.spawn(async move { while write.write_all(&burst).await.is_ok() {} });
        floods.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while read.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
    }
    let mut calm = lab.open().await;
    for _ in 0..100 {
        calm.send(&frame(0x81, b"calm")).await;
        assert_eq!(calm.frame().await, Some((0x81, b"calm".to_vec())));
    }
    assert_eq!(floods.len(), 40, "they still flood");
}
