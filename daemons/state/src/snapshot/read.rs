//! Bytes into a state. Nothing in them is believed before it is checked.

use std::{io::Read, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Number;

use super::{
    START, START_2, SnapshotError, frame,
    tree::{HAS_ENTRIES, HAS_REV, mark},
};
use crate::{
    entry::Entries,
    node::{Kind, Member, Node, Revision},
    path::{DEPTH, Segment},
    state::State,
    text::Text,
};

/// The longest run of bytes that is read at once; one value is never larger.
const LONGEST: usize = 1 << 28;

/// So much room is made before it is known that there is something to fill it.
const STEP: usize = 1 << 16;

impl State {
    /// Reads what [`State::write`] has written. In many small pieces: `from` should be buffered.
    ///
    /// # Errors
    /// If it is not what was written.
    pub fn read(from: &mut impl Read) -> Result<Self, SnapshotError> {
        let mut reader = Reader { from, buffer: Vec::new() };
        reader.start()?;
        let mut state = Self::default();
        let parts = state.parts_mut();
        loop {
            match reader.byte()? {
                frame::HEAD => (parts.revision, parts.next_registration) = reader.json()?,
                frame::ACCOUNT => {
                    let (user, account) = reader.json()?;
                    parts.accounts.set(user, account);
                }
                frame::TOKEN => {
                    let (id, token) = reader.json()?;
                    parts.tokens.set(id, token);
                }
                frame::REGISTRATION => {
                    let (id, registration) = reader.json()?;
                    parts.index(id, &registration);
                    parts.registrations.set(id, registration);
                }
                frame::QUOTA => {
                    let (path, quota) = reader.json()?;
                    parts.quotas.set(path, quota);
                }
                frame::HISTORY => {
                    let (first, history) = reader.json()?;
                    parts.histories.begin(first, history);
                }
                frame::TREE => {
                    parts.root = reader.tree()?;
                    return Ok(state);
                }
                _ => return Err(SnapshotError::Damaged("a frame is of no known kind")),
            }
        }
    }
}

struct Reader<'a, R> {
    from: &'a mut R,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<'_, R> {
    fn start(&mut self) -> Result<(), SnapshotError> {
        let mut start = [0; START.len()];
        self.from.read_exact(&mut start)?;
        if start == *START || start == *START_2 { Ok(()) } else { Err(SnapshotError::Start) }
    }

    fn byte(&mut self) -> Result<u8, SnapshotError> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64, SnapshotError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                break;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(SnapshotError::Damaged("a number is too large"))
    }

    fn len(&mut self) -> Result<usize, SnapshotError> {
        usize::try_from(self.number()?).map_err(|_| SnapshotError::Damaged("a length is too large"))
    }

    fn bytes(&mut self) -> Result<&[u8], SnapshotError> {
        let len = self.len()?;
        if len > LONGEST {
            return Err(SnapshotError::Damaged("a length is too large"));
        }
        // A length is believed as far as bytes follow.
        self.buffer.clear();
        let mut rest = len;
        while rest > 0 {
            let (start, step) = (self.buffer.len(), rest.min(STEP));
            self.buffer.resize(start + step, 0);
            self.from.read_exact(&mut self.buffer[start..])?;
            rest -= step;
        }
        Ok(&self.buffer)
    }

    fn text(&mut self) -> Result<&str, SnapshotError> {
        let damaged = |_| SnapshotError::Damaged("a text is not UTF-8");
        std::str::from_utf8(self.bytes()?).map_err(damaged)
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<T, SnapshotError> {
        Ok(serde_json::from_slice(self.bytes()?)?)
    }

    fn tree(&mut self) -> Result<Node, SnapshotError> {
        let root = self.node(0, 0)?;
        if !matches!(root.kind(), Kind::Object(_)) {
            return Err(SnapshotError::Damaged("the root is no object"));
        }
        if self.len()? != root.totals().nodes {
            return Err(SnapshotError::Damaged("nodes are missing"));
        }
        Ok(root)
    }

    fn node(&mut self, parent: Revision, depth: usize) -> Result<Node, SnapshotError> {
        if depth > DEPTH {
            return Err(SnapshotError::Damaged("the tree is too deep"));
        }
        let byte = self.byte()?;
        let rev = if byte & HAS_REV == 0 { parent } else { self.number()? };
        let entries = match byte & HAS_ENTRIES {
            0 => None,
            _ => Some(Arc::new(self.json::<Entries>()?)),
        };
        let kind = self.kind(byte & !(HAS_REV | HAS_ENTRIES), rev, depth)?;
        Ok(Node { rev, entries, kind })
    }

    fn kind(&mut self, mark: u8, rev: Revision, depth: usize) -> Result<Kind, SnapshotError> {
        Ok(match mark {
            mark::NULL => Kind::Null,
            mark::FALSE => Kind::Bool(false),
            mark::TRUE => Kind::Bool(true),
            mark::POSITIVE => Kind::Number(self.number()?.into()),
            mark::NEGATIVE => Kind::Number(0_i64.wrapping_sub_unsigned(self.number()?).into()),
            mark::FLOAT => Kind::Number(self.float()?),
            mark::TEXT => Kind::Text(Text::from(self.text()?)),
            mark::ARRAY => Kind::Array(Arc::new(self.elements(rev, depth)?.into_iter().collect())),
            mark::OBJECT => Kind::Object(Arc::new(self.members(rev, depth)?.into_iter().collect())),
            _ => return Err(SnapshotError::Damaged("a node is of no known kind")),
        })
    }

    fn float(&mut self) -> Result<Number, SnapshotError> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes)?;
        let damaged = SnapshotError::Damaged("a number is not finite");
        Number::from_f64(f64::from_le_bytes(bytes)).ok_or(damaged)
    }

    fn elements(&mut self, rev: Revision, depth: usize) -> Result<Vec<Node>, SnapshotError> {
        let mut elements = Vec::new();
        for _ in 0..self.len()? {
            elements.push(self.node(rev, depth + 1)?);
        }
        Ok(elements)
    }

    fn members(&mut self, rev: Revision, depth: usize) -> Result<Vec<Member>, SnapshotError> {
        let mut members: Vec<Member> = Vec::new();
        for _ in 0..self.len()? {
            let damaged = |_| SnapshotError::Damaged("a key is no segment of a path");
            let key = Segment::new(self.text()?).map_err(damaged)?;
            if members.last().is_some_and(|it| *it.key() >= key) {
                return Err(SnapshotError::Damaged("members are out of order"));
            }
            members.push(Member { key, node: self.node(rev, depth + 1)? });
        }
        Ok(members)
    }
}
