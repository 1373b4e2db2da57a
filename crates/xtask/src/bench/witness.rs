//! Hears what probes say: who they are, and when they began.

use std::{
    collections::HashMap,
    io,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use super::clock::now;

/// What a probe said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    pub(crate) name: String,
    pub(crate) pid: i32,
    /// By the same clock as [`now`].
    pub(crate) at: Duration,
}

impl Word {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        let pid = words.next()?.parse().ok()?;
        Some(Self { name, pid, at: Duration::from_nanos(words.next()?.parse().ok()?) })
    }
}

/// A socket that probes know. A thread empties it, since a full one would make them wait.
pub(crate) struct Witness {
    path: PathBuf,
    words: Receiver<Word>,
}

impl Witness {
    pub(crate) fn listen(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::bind(&path)?;
        let (said, words) = mpsc::channel();
        thread::spawn(move || hear(&socket, &said));
        Ok(Self { path, words })
    }

    /// What the next of `name` says, within `patience`; others are not heard.
    pub(crate) fn next_of(&self, name: &str, patience: Duration) -> Option<Word> {
        let end = now() + patience;
        loop {
            let word = self.words.recv_timeout(end.saturating_sub(now())).ok()?;
            if word.name == name {
                return Some(word);
            }
        }
    }

    /// What the first `count` say that have different names, within `patience`; less, if that
    /// passes.
    pub(crate) fn first_of(&self, count: usize, patience: Duration) -> HashMap<String, Word> {
        let end = now() + patience;
        let mut all = HashMap::with_capacity(count);
        while all.len() < count {
            let Ok(word) = self.words.recv_timeout(end.saturating_sub(now())) else { break };
            all.insert(word.name.clone(), word);
        }
        all
    }

    /// Forgets what was said so far.
    pub(crate) fn forget(&self) {
        while self.words.try_recv().is_ok() {}
    }
}

impl Drop for Witness {
    /// Says something that is no word, by which the thread ends.
    fn drop(&mut self) {
        let end = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"end", &self.path));
        drop(end);
    }
}

fn hear(socket: &UnixDatagram, said: &Sender<Word>) {
    let mut buffer = [0; 256];
    while let Ok(length) = socket.recv(&mut buffer) {
        let word = str::from_utf8(&buffer[..length]).ok().and_then(Word::read);
        let Some(word) = word else { return };
        if said.send(word).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_name_a_pid_and_a_time() {
        let word = Word { name: "S1".into(), pid: 42, at: Duration::from_nanos(1500) };
        assert_eq!(Word::read("S1 42 1500"), Some(word));
        assert_eq!(Word::read("end"), None);
    }
}
