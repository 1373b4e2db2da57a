use serde::Deserialize;

/// Longest name of a packet, in bytes.
pub const NAME_BYTES: usize = 64;

/// Longest tag of a packet, in bytes.
pub const TAG_BYTES: usize = 32;

/// One packet as it was read: `name#tag [args]`.
///
/// It borrows from the buffer of the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What is asked for, or what is answered. From a peer's reply: any run of visible ASCII.
    pub name: &'a str,
    /// What a reply must repeat, so that it finds its request.
    pub tag: Option<&'a str>,
    /// The arguments as they came: a JSON array with balanced brackets, but not yet parsed, so it
    /// may still be no JSON. `[]` where the packet had none.
    pub args: &'a str,
    /// How many bytes of the packet stand before its arguments; what errors count from.
    pub args_at: usize,
    /// Whether another packet follows without a line feed between, as original peers send. The
    /// reply to such a packet is written on its own, since its peer takes a whole read for one
    /// packet.
    pub glued: bool,
}

impl Packet<'_> {
    /// Reads the arguments as one value, for instance a tuple or a `Vec<Value>`.
    ///
    /// # Errors
    /// What serde says of them: no JSON, another number of arguments, or another type.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.args)
    }
}

/// Whether `name` may be the name of a command: a letter or `_`, then up to 63 of letters, digits
/// and `_ - . : /`.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    bad_name_byte(name).is_none()
}

/// Whether `tag` may be a tag: up to 32 of letters, digits and `_ - .`, at least one.
#[must_use]
pub fn is_tag(tag: &[u8]) -> bool {
    (1..=TAG_BYTES).contains(&tag.len()) && tag.iter().all(|&byte| is_tag_byte(byte))
}

/// Where the first byte stands that makes `name` unusable, if one does.
pub(crate) fn bad_name_byte(name: &[u8]) -> Option<usize> {
    let (&first, rest) = name.split_first()?;
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return Some(0);
    }
    rest.iter()
        .position(|&byte| !(is_tag_byte(byte) || matches!(byte, b':' | b'/')))
        .map(|at| at + 1)
        .or((name.len() > NAME_BYTES).then_some(NAME_BYTES))
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}
