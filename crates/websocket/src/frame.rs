use bytes::{Buf, Bytes};

use crate::CloseCode;

/// A message, ready to be sent to any number of peers.
///
/// What a server sends is not masked, so the bytes are the same for all: a clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The head, and what follows it at once.
    bytes: Bytes,
    /// The rest of the payload, which other frames may share.
    rest: Bytes,
}

/// A text that many frames may hold without a copy. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utf8(Bytes);

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The last frame of a message.
pub(crate) const FIN: u8 = 0x80;

/// The most that a ping, a pong or a close may carry.
pub(crate) const CONTROL_BYTES: usize = 125;

/// The longest head of a frame that a server sends.
const HEAD: usize = 10;

impl Frame {
    /// A text message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::of(TEXT, text.as_bytes())
    }

    /// A binary message.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Self {
        Self::of(BINARY, bytes)
    }

    /// A text message that `write` appends, so that what is serialised is not copied afterwards.
    ///
    /// # Panics
    /// If what was written is not UTF-8, which would be our fault.
    #[must_use]
    pub fn text_with(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = vec![0; HEAD];
        write(&mut bytes);
        let payload = bytes.get(HEAD..).expect("a message is appended");
        std::str::from_utf8(payload).expect("a text is written");
        let (head, size) = head(TEXT, payload.len());
        let start = HEAD - size;
        bytes[start..HEAD].copy_from_slice(&head[..size]);
        let mut bytes = Bytes::from(bytes);
        bytes.advance(start);
        Self { bytes, rest: Bytes::new() }
    }

    /// A text message of two parts: what is for one peer, and what many are sent without a copy for
    /// each of them.
    #[must_use]
    pub fn text_sharing(begin: &str, rest: &Utf8) -> Self {
        Self::sharing(TEXT, begin.as_bytes(), rest.0.clone())
    }

    /// A binary message of two parts, as [`Frame::text_sharing`].
    #[must_use]
    pub fn binary_sharing(begin: &[u8], rest: Bytes) -> Self {
        Self::sharing(BINARY, begin, rest)
    }

    /// How many bytes it takes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.bytes.len() + self.rest.len()
    }

    pub(crate) fn close(code: Option<CloseCode>, reason: &str) -> Self {
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend(code.get().to_be_bytes());
            payload.extend(&reason.as_bytes()[..reason.floor_char_boundary(CONTROL_BYTES - 2)]);
        }
        Self::of(CLOSE, &payload)
    }

    pub(crate) fn of(opcode: u8, payload: &[u8]) -> Self {
        Self::sharing(opcode, payload, Bytes::new())
    }

    /// What is framed already.
    pub(crate) fn of_wire(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), rest: Bytes::new() }
    }

    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.bytes, &self.rest]
    }

    fn sharing(opcode: u8, begin: &[u8], rest: Bytes) -> Self {
        let (head, size) = head(opcode, begin.len() + rest.len());
        let mut bytes = Vec::with_capacity(size + begin.len());
        bytes.extend_from_slice(&head[..size]);
        bytes.extend_from_slice(begin);
        Self { bytes: bytes.into(), rest }
    }
}

impl From<String> for Utf8 {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl TryFrom<Bytes> for Utf8 {
    type Error = std::str::Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes).map(drop)?;
        Ok(Self(bytes))
    }
}

/// Appends a text message.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let (head, size) = head(TEXT, text.len());
    bytes.extend_from_slice(&head[..size]);
    bytes.extend_from_slice(text.as_bytes());
}

/// The head of a whole message, and how long it is.
fn head(opcode: u8, length: usize) -> ([u8; HEAD], usize) {
    let mut head = [0; HEAD];
    head[0] = FIN | opcode;
    match length {
        0..=125 => {
            head[1] = length as u8;
            (head, 2)
        }
        126..=0xFFFF => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(length as u64).to_be_bytes());
            (head, 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_its_shortest_head() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xFF, 0xFF]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text = "x".repeat(length);
            let frame = Frame::text(&text);
            assert_eq!(frame.bytes[..head.len()], *head);
            assert_eq!(frame.bytes[head.len()..], *text.as_bytes());
            let written = Frame::text_with(|out| out.extend_from_slice(text.as_bytes()));
            assert_eq!(written, frame);
        }
    }

    #[test]
    fn a_frame_that_shares_is_the_same_on_the_wire() {
        let rest = Utf8::from("z".repeat(70_000));
        for begin in ["", "x"] {
            let whole = Frame::text(&format!("{begin}{}", "z".repeat(70_000)));
            let (one, two) = (Frame::text_sharing(begin, &rest), Frame::text_sharing("y", &rest));
            assert_eq!(one.parts().concat(), whole.parts().concat());
            assert_eq!(one.wire_bytes(), whole.wire_bytes());
            assert_eq!(one.rest.as_ptr(), two.rest.as_ptr());
        }
        assert!(Utf8::try_from(Bytes::from_static(b"\xCE")).is_err());
    }

    #[test]
    fn the_reason_of_a_close_is_cut_between_characters() {
        let close = Frame::close(Some(crate::code::NORMAL), &"ä".repeat(100));
        assert_eq!(close.bytes.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close.bytes[4..]).is_ok());
        assert_eq!(*Frame::close(None, "").bytes, [0x88, 0]);
    }
}
