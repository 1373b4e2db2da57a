//! The same question in two protocols, and how answers are counted in each.

/// The value that every `get` brings.
const VALUE: &str = "0123456789abcdef";

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    CommonTcp,
    Resp,
}

/// A request and its reply, byte for byte.
pub(crate) struct Exchange {
    pub(crate) request: String,
    pub(crate) reply: String,
}

impl Protocol {
    /// Puts the value there.
    pub(crate) fn set(self) -> Exchange {
        match self {
            Self::CommonTcp => Exchange {
                request: format!("set [\"key\",\"{VALUE}\"]\n"),
                reply: "set []\n".into(),
            },
            Self::Resp => Exchange {
                request: format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$16\r\n{VALUE}\r\n"),
                reply: "+OK\r\n".into(),
            },
        }
    }

    /// What is measured.
    pub(crate) fn get(self) -> Exchange {
        match self {
            Self::CommonTcp => Exchange {
                request: "get [\"key\"]\n".into(),
                reply: format!("get [\"{VALUE}\"]\n"),
            },
            Self::Resp => Exchange {
                request: "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".into(),
                reply: format!("$16\r\n{VALUE}\r\n"),
            },
        }
    }

    /// A counter for the replies of one connection.
    pub(crate) fn counter(self) -> Counter {
        match self {
            Self::CommonTcp => Counter::Lines,
            Self::Resp => Counter::Bulk(Bulk::default()),
        }
    }
}

/// Counts replies, however the stream is cut.
pub(crate) enum Counter {
    /// Each reply ends with the only line feed in it.
    Lines,
    Bulk(Bulk),
}

impl Counter {
    /// How many replies end within `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Lines => bytes.iter().filter(|&&byte| byte == b'\n').count(),
            Self::Bulk(bulk) => bulk.feed(bytes),
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
        for protocol in [Protocol::CommonTcp, Protocol::Resp] {
            let stream = protocol.get().reply.repeat(3);
            for size in 1..=stream.len() {
                let mut counter = protocol.counter();
                let count: usize = stream.as_bytes().chunks(size).map(|it| counter.feed(it)).sum();
                assert_eq!(count, 3, "{protocol:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_reply_without_its_last_byte_does_not_count() {
        for protocol in [Protocol::CommonTcp, Protocol::Resp] {
            let reply = protocol.get().reply;
            assert_eq!(protocol.counter().feed(&reply.as_bytes()[..reply.len() - 1]), 0);
        }
    }
}
