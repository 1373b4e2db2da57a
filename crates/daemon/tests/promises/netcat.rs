use std::{path::Path, time::Duration};

use common_tcp::{Address, Socket};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// A guest that sends bytes and sees lines.
pub(crate) struct Netcat {
    socket: Socket,
    heard: Vec<u8>,
}

/// The one patience: what has not come by then does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Netcat {
    pub(crate) async fn connect(port: u16) -> Self {
        Self::at(&Address::local(port)).await
    }

    pub(crate) async fn connect_unix(path: &Path) -> Self {
        Self::at(&Address::Unix(path.to_owned())).await
    }

    async fn at(address: &Address) -> Self {
        Self { socket: Socket::connect(address).await.unwrap(), heard: Vec::new() }
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.socket.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// Says `bytes` as far as they are taken within `patience`; how many were.
    pub(crate) async fn say_within(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let mut said = 0;
        while said < bytes.len() {
            match timeout(patience, self.socket.write(&bytes[said..])).await {
                Ok(written) => said += written.unwrap(),
                Err(_) => break,
            }
        }
        said
    }

    /// The next line, without its line feed.
    pub(crate) async fn hear(&mut self) -> String {
        self.hear_within(PATIENCE).await.expect("a line comes")
    }

    /// The next line, if one comes in that time.
    pub(crate) async fn hear_within(&mut self, patience: Duration) -> Option<String> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.heard[seen..].iter().position(|&byte| byte == b'\n') {
                let line = self.heard.drain(..=seen + end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            seen = self.heard.len();
            let read = timeout(patience, self.socket.read_buf(&mut self.heard)).await.ok()?;
            assert_ne!(read.unwrap(), 0, "the connection ended");
        }
    }

    /// Says `line` and hears its answer.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.say(format!("{line}\n")).await;
        self.hear().await
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// All lines up to the end of the stream, which must not be a reset.
    pub(crate) async fn hear_out(&mut self) -> Vec<String> {
        let read = timeout(PATIENCE, self.socket.read_to_end(&mut self.heard)).await;
        read.expect("the connection ends").expect("it ends by FIN");
        let heard = String::from_utf8(std::mem::take(&mut self.heard)).unwrap();
        heard.lines().map(str::to_owned).collect()
    }
}

impl Netcat {
    /// Takes the next `bytes`; false if the connection ends before, in whatever way.
    pub(crate) async fn has_all(&mut self, bytes: usize) -> bool {
        while self.heard.len() < bytes {
            match timeout(PATIENCE, self.socket.read_buf(&mut self.heard)).await.unwrap() {
                Ok(1..) => {}
                _ => return false,
            }
        }
        drop(self.heard.drain(..bytes));
        true
    }
}

/// The argument of an `err` packet.
#[track_caller]
pub(crate) fn failure(line: &str) -> Value {
    let (name, args) = line.split_once(' ').unwrap();
    assert_eq!(name.split('#').next(), Some("err"), "{line}");
    serde_json::from_str::<[Value; 1]>(args).unwrap()[0].clone()
}

#[track_caller]
pub(crate) fn code(line: &str) -> String {
    failure(line)["code"].as_str().unwrap().to_owned()
}
