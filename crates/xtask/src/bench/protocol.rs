//! The same question in each protocol, and how answers are counted in it.

/// The value that every `get` brings.
const VALUE: &str = "0123456789abcdef";

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    CommonTcp,
    /// The same with paths, as State has them.
    State,
    Resp,
    WebSocket,
}

/// What is asked over and over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Question {
    Get,
    Set,
}

/// A request and its reply.
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    /// Byte for byte, or its beginning.
    pub(crate) reply: Vec<u8>,
    /// Whether it ends with something that is different each time.
    pub(crate) is_open: bool,
}

/// What a WebSocket begins with; the answer to it is a head of HTTP.
pub(crate) const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A message of an echo.
const MESSAGE: [u8; 64] = [b'm'; 64];

/// What a client must hide its messages with, so that proxies take them for nothing else.
const MASK: [u8; 4] = [7, 11, 13, 17];

impl Protocol {
    pub(crate) fn exchange(self, question: Question) -> Exchange {
        match question {
            Question::Get => self.get(),
            Question::Set => self.set(),
        }
    }

    /// Puts the value there.
    pub(crate) fn set(self) -> Exchange {
        match self {
            Self::CommonTcp => Exchange::of(&format!("set [\"key\",\"{VALUE}\"]\n"), "set []\n"),
            Self::Resp => Exchange::of(
                &format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$16\r\n{VALUE}\r\n"),
                "+OK\r\n",
            ),
            Self::State => {
                let request = format!("update [[\"key\"],\"{VALUE}\"]\n");
                Exchange { is_open: true, ..Exchange::of(&request, "update [{\"rev\":") }
            }
            // An echo has nothing to put anywhere.
            Self::WebSocket => self.get(),
        }
    }

    /// What is measured.
    pub(crate) fn get(self) -> Exchange {
        match self {
            Self::CommonTcp => Exchange::of("get [\"key\"]\n", &format!("get [\"{VALUE}\"]\n")),
            Self::State => Exchange::of("get [[\"key\"]]\n", &format!("get [\"{VALUE}\"]\n")),
            Self::Resp => {
                Exchange::of("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", &format!("$16\r\n{VALUE}\r\n"))
            }
            Self::WebSocket => {
                let masked = MESSAGE.iter().zip(MASK.iter().cycle()).map(|(it, mask)| it ^ mask);
                let head = [0x81, 0x80 | MESSAGE.len() as u8];
                let request = head.into_iter().chain(MASK).chain(masked).collect();
                let reply = [&[0x81, MESSAGE.len() as u8], &MESSAGE[..]].concat();
                Exchange { request, reply, is_open: false }
            }
        }
    }

    /// A counter for the replies of one connection.
    pub(crate) fn counter(self, question: Question) -> Counter {
        match (self, question) {
            (Self::CommonTcp | Self::State, _) => Counter::Lines,
            (Self::Resp, Question::Get) => Counter::Bulk(Bulk::default()),
            (Self::Resp, Question::Set) | (Self::WebSocket, _) => {
                Counter::Alike { length: self.exchange(question).reply.len(), cut: 0 }
            }
        }
    }
}

impl Exchange {
    fn of(request: &str, reply: &str) -> Self {
        Self { request: request.into(), reply: reply.into(), is_open: false }
    }
}

/// Counts replies, however the stream is cut.
pub(crate) enum Counter {
    /// Each reply ends with the only line feed in it.
    Lines,
    Bulk(Bulk),
    /// All replies are so long; so much of one is read.
    Alike {
        length: usize,
        cut: usize,
    },
}

impl Counter {
    /// How many replies end within `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Lines => bytes.iter().filter(|&&byte| byte == b'\n').count(),
            Self::Bulk(bulk) => bulk.feed(bytes),
            Self::Alike { length, cut } => {
                let read = *cut + bytes.len();
                *cut = read % *length;
                read / *length
            }
        }
    }
}

/// Where a stream of RESP bulk strings (`$<length>\r\n<bytes>\r\n`) was cut.
#[derive(Default)]
pub(crate) struct Bulk {
    /// The length as far as it was read.
    length: usize,
    /// What is still to come of the body and the line end behind it; 0 within the header.
    body: usize,
}

impl Bulk {
    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let mut replies = 0;
        while let Some(&byte) = bytes.first() {
            if self.body > 0 {
                let taken = self.body.min(bytes.len());
                bytes = &bytes[taken..];
                self.body -= taken;
                replies += usize::from(self.body == 0);
            } else {
                bytes = &bytes[1..];
                self.read_header(byte);
            }
        }
        replies
    }

    fn read_header(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => self.length = self.length * 10 + usize::from(byte - b'0'),
            b'\n' => (self.length, self.body) = (0, self.length + 2),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        for protocol in [Protocol::CommonTcp, Protocol::State, Protocol::Resp, Protocol::WebSocket]
        {
            let stream = protocol.get().reply.repeat(3);
            for size in 1..=stream.len() {
                let mut counter = protocol.counter(Question::Get);
                let count: usize = stream.chunks(size).map(|it| counter.feed(it)).sum();
                assert_eq!(count, 3, "{protocol:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_reply_without_its_last_byte_does_not_count() {
        for protocol in [Protocol::CommonTcp, Protocol::State, Protocol::Resp, Protocol::WebSocket]
        {
            let reply = protocol.get().reply;
            assert_eq!(protocol.counter(Question::Get).feed(&reply[..reply.len() - 1]), 0);
        }
    }
}
