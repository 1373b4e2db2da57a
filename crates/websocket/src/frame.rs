use bytes::{Buf, Bytes};

/// A message, ready to be sent to any number of peers.
///
/// What a server sends is not masked, so the bytes are the same for all: a clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

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
        Self(bytes)
    }

    /// How many bytes it takes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn close(code: Option<u16>, reason: &str) -> Self {
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend(code.to_be_bytes());
            payload.extend(&reason.as_bytes()[..reason.floor_char_boundary(CONTROL_BYTES - 2)]);
        }
        Self::of(CLOSE, &payload)
    }

    pub(crate) fn of(opcode: u8, payload: &[u8]) -> Self {
        let (head, size) = head(opcode, payload.len());
        let mut bytes = Vec::with_capacity(size + payload.len());
        bytes.extend_from_slice(&head[..size]);
        bytes.extend_from_slice(payload);
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
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
            assert_eq!(frame.bytes()[..head.len()], *head);
            assert_eq!(frame.bytes()[head.len()..], *text.as_bytes());
            let written = Frame::text_with(|out| out.extend_from_slice(text.as_bytes()));
            assert_eq!(written, frame);
        }
    }

    #[test]
    fn the_reason_of_a_close_is_cut_between_characters() {
        let close = Frame::close(Some(1000), &"ä".repeat(100));
        assert_eq!(close.bytes().len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close.bytes()[4..]).is_ok());
        assert_eq!(Frame::close(None, "").bytes(), [0x88, 0]);
    }
}
