use crate::{
    CloseCode, close,
    frame::{BINARY, CLOSE, CONTINUATION, CONTROL_BYTES, FIN, PING, PONG, TEXT},
};

/// Bytes of a client into messages (RFC 6455, 5 and 8.1). Pure: it knows no socket.
///
/// Keeps what is not complete yet, and next to nothing between messages. A frame above the limit is
/// refused by its head, before a byte of it is kept.
#[derive(Debug, Default)]
pub struct Decoder {
    limits: DecoderLimits,
    /// What has been read; before `at` it is done with.
    input: Vec<u8>,
    at: usize,
    /// The fragments of a message, put together.
    joined: Vec<u8>,
    /// What the message in `joined` is, and how many fragments it has so far.
    begun: Option<(Found, u32)>,
    /// Where the payload lies of what was found last.
    payload: Payload,
}

/// What a peer may send.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    /// The longest message, its fragments together.
    pub message_bytes: usize,
    /// The most fragments of a message.
    pub fragments: u32,
}

/// What a decoder found; its bytes are what [`Decoder::payload`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A text message, not yet seen to be UTF-8.
    Text,
    /// A binary message.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// The peer closes; a code and a reason follow, or nothing.
    Close,
}

/// What a peer must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame that RFC 6455 forbids.
    #[error("a frame that RFC 6455 forbids")]
    Protocol,
    /// A text, or a reason, that is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotUtf8,
    /// A message above the limit, as far as it was announced: more fragments may have followed.
    #[error("a message of {bytes} bytes, {most} at most")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// A message in too many fragments.
    #[error("a message in more than {most} fragments")]
    TooManyFragments {
        /// How many it may have.
        most: u32,
    },
}

/// Where a payload lies.
#[derive(Clone, Copy, Debug, Default)]
enum Payload {
    #[default]
    Nowhere,
    /// From here in the input, so long.
    Input(usize, usize),
    Joined,
}

/// The head of one frame.
struct Head {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    /// How long the head is, and what follows it.
    size: usize,
    length: usize,
}

/// What is kept of a buffer between messages.
const KEPT_BYTES: usize = 512;

impl Fault {
    /// The code to close with.
    #[must_use]
    pub fn code(self) -> CloseCode {
        match self {
            Self::Protocol => close::code::PROTOCOL,
            Self::NotUtf8 => close::code::NOT_UTF8,
            Self::TooLong { .. } | Self::TooManyFragments { .. } => close::code::TOO_BIG,
        }
    }
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self { message_bytes: 1 << 20, fragments: 1024 }
    }
}

impl Decoder {
    /// A decoder for one connection.
    #[must_use]
    pub fn new(limits: DecoderLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Sets other limits, from the next frame on.
    pub fn set_limits(&mut self, limits: DecoderLimits) {
        self.limits = limits;
    }

    /// Takes what was read. What was found before is gone with it.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.let_go();
        if self.at > self.input.len() / 2 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Looks for the next message or control frame; `None` until more is fed.
    ///
    /// # Errors
    /// What the peer must not have sent; nothing that follows can be understood.
    #[expect(clippy::should_implement_trait, reason = "a payload borrows from the decoder")]
    pub fn next(&mut self) -> Option<Result<Found, Fault>> {
        self.let_go();
        while let Some(frame) = self.next_frame().transpose() {
            match frame.and_then(|head| self.take(&head)) {
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok(found)),
                Err(fault) => return Some(Err(fault)),
            }
        }
        self.tidy();
        None
    }

    /// The bytes of what was found last, unmasked.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self.payload {
            Payload::Nowhere => &[],
            Payload::Input(start, length) => &self.input[start..start + length],
            Payload::Joined => &self.joined,
        }
    }

    /// What the close that was found last says.
    ///
    /// # Errors
    /// If it may not say that.
    pub fn close(&self) -> Result<Option<(CloseCode, &str)>, Fault> {
        match self.payload() {
            [] => Ok(None),
            [_] => Err(Fault::Protocol),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                let reason = std::str::from_utf8(reason).map_err(|_| Fault::NotUtf8)?;
                let code = CloseCode::try_from(code).map_err(|_| Fault::Protocol)?;
                Ok(Some((code, reason)))
            }
        }
    }

    /// How many bytes are held for what is not complete.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.input.len() - self.at + self.joined.len()
    }

    /// Forgets what was found last.
    fn let_go(&mut self) {
        if let Payload::Joined = std::mem::take(&mut self.payload) {
            self.joined = Vec::new();
        }
    }

    /// The next frame, if all of it is here; its head is judged as soon as that is.
    fn next_frame(&self) -> Result<Option<Head>, Fault> {
        let input = &self.input[self.at..];
        let Some(head) = Head::read(input)? else { return Ok(None) };
        self.judge(&head)?;
        Ok((input.len() - head.size >= head.length).then_some(head))
    }

    fn judge(&self, head: &Head) -> Result<(), Fault> {
        let (held, fragments) = match (head.opcode, &self.begun) {
            (CONTINUATION, Some((_, fragments))) => (self.joined.len(), fragments + 1),
            (TEXT | BINARY, None) => (0, 1),
            (CLOSE | PING | PONG, _) if head.is_last && head.length <= CONTROL_BYTES => {
                return Ok(());
            }
            _ => return Err(Fault::Protocol),
        };
        let bytes = held.saturating_add(head.length);
        let (most, most_fragments) = (self.limits.message_bytes, self.limits.fragments);
        if bytes > most {
            return Err(Fault::TooLong { bytes, most });
        }
        if fragments > most_fragments {
            return Err(Fault::TooManyFragments { most: most_fragments });
        }
        Ok(())
    }

    /// Takes a frame that is whole; what it completes.
    fn take(&mut self, head: &Head) -> Result<Option<Found>, Fault> {
        let start = self.at + head.size;
        self.at = start + head.length;
        unmask(&mut self.input[start..self.at], head.mask);
        let found = match head.opcode {
            TEXT => Found::Text,
            BINARY => Found::Binary,
            PING => Found::Ping,
            PONG => Found::Pong,
            CLOSE => Found::Close,
            _ => return Ok(self.join(start, head)),
        };
        if !head.is_last {
            self.begun = Some((found, 0));
            return Ok(self.join(start, head));
        }
        self.payload = Payload::Input(start, head.length);
        Ok(Some(found))
    }

    fn join(&mut self, start: usize, head: &Head) -> Option<Found> {
        let (found, fragments) = self.begun?;
        self.joined.extend_from_slice(&self.input[start..start + head.length]);
        self.begun = (!head.is_last).then_some((found, fragments + 1));
        if head.is_last {
            self.payload = Payload::Joined;
        }
        head.is_last.then_some(found)
    }

    /// Gives back what is not needed until more comes: what a message took that is gone.
    fn tidy(&mut self) {
        let left = self.input.len() - self.at;
        if left == 0 || self.input.capacity() / 4 > left.max(KEPT_BYTES) {
            self.input.drain(..self.at);
            self.at = 0;
            self.input.shrink_to((2 * left).max(KEPT_BYTES));
        }
    }
}

impl Head {
    /// Reads the head at the start of `input`; `None` if it is not all there.
    fn read(input: &[u8]) -> Result<Option<Self>, Fault> {
        let &[first, second, ref rest @ ..] = input else { return Ok(None) };
        // Reserved bits belong to extensions, and a client that does not mask is none.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Fault::Protocol);
        }
        let opcode = first & 0x0F;
        if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(Fault::Protocol);
        }
        let (length, rest) = match second & 0x7F {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u16::from_be_bytes(*length).into(), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            short => (short.into(), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        // More than can be counted is above any limit.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let size = input.len() - rest.len();
        Ok(Some(Self { is_last: first & FIN != 0, opcode, mask: *mask, size, length }))
    }
}

/// Eight bytes at a time, which the compiler makes more of.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests;
