//! How each file of a journal begins: what it is, whose, and from which revision on.

use super::record::{LAST, checksum};
use crate::Revision;

/// Before the first record of each segment, and at the start of each snapshot.
pub(crate) const HEAD: usize = 32;

/// The head of a file of the journal `id`.
pub(crate) fn head(magic: &[u8; 8], id: u64, revision: Revision) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(magic);
    head[8..16].copy_from_slice(&id.to_le_bytes());
    head[16..24].copy_from_slice(&revision.to_le_bytes());
    let sum = checksum(id, &head[..24]);
    head[24..28].copy_from_slice(&sum.to_le_bytes());
    head
}

/// The journal and the revision that a head tells.
pub(crate) fn parse_head(magic: &[u8; 8], file: &[u8]) -> Option<(u64, Revision)> {
    let found = file.get(..HEAD)?;
    let number = |at: usize| found[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let (id, revision) = (number(8)?, number(16)?);
    (found == head(magic, id, revision) && revision <= LAST).then_some((id, revision))
}
