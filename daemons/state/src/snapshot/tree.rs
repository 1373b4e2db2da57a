//! Marks and numbers of a tree in bytes.

use std::io::{self, Write};

/// What a node is. Or-ed with [`HAS_ENTRIES`] and [`HAS_REV`].
pub(super) mod mark {
    pub(in crate::snapshot) const NULL: u8 = 0;
    pub(in crate::snapshot) const FALSE: u8 = 1;
    pub(in crate::snapshot) const TRUE: u8 = 2;
    pub(in crate::snapshot) const POSITIVE: u8 = 3;
    pub(in crate::snapshot) const NEGATIVE: u8 = 4;
    pub(in crate::snapshot) const FLOAT: u8 = 5;
    pub(in crate::snapshot) const TEXT: u8 = 6;
    pub(in crate::snapshot) const ARRAY: u8 = 7;
    pub(in crate::snapshot) const OBJECT: u8 = 8;
}

/// The node carries permission entries.
pub(super) const HAS_ENTRIES: u8 = 0x40;

/// The node's revision is not its parent's.
pub(super) const HAS_REV: u8 = 0x80;

/// Writes `number` in as many bytes as it needs, seven bits each.
pub(super) fn write_number(to: &mut impl Write, mut number: u64) -> io::Result<()> {
    let (mut bytes, mut len) = ([0; 10], 0);
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes[len] = if number == 0 { low } else { low | 0x80 };
        len += 1;
        if number == 0 {
            return to.write_all(&bytes[..len]);
        }
    }
}
