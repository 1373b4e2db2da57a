//! A whole state as a stream of bytes.
//!
//! Own bytes and not JSON, because a tree of millions of nodes is read at every start: nodes in
//! the order of a walk, each with a mark, its revision unless it is that of its parent, its
//! entries if it has any, and its value. All else is in JSON, a frame for each thing. Whether bytes
//! are whole is for whoever stores them to know; that they are of a state is checked here.

mod read;
mod tree;
mod write;

use std::io;

/// What a snapshot begins with. The last letter is the version of the form.
const START: &[u8] = b"state snapshot 1\n";

/// The same of one with histories, which the first form does not know.
const START_2: &[u8; START.len()] = b"state snapshot 2\n";

/// What follows in a frame.
mod frame {
    pub(super) const HEAD: u8 = b'H';
    pub(super) const ACCOUNT: u8 = b'A';
    pub(super) const TOKEN: u8 = b'T';
    pub(super) const REGISTRATION: u8 = b'R';
    pub(super) const QUOTA: u8 = b'Q';
    /// A history, if there was more than one.
    pub(super) const HISTORY: u8 = b'B';
    /// The tree, and after it the end.
    pub(super) const TREE: u8 = b'N';
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They could not be read.
    #[error("cannot read a snapshot")]
    Io(#[from] io::Error),
    /// They are none, or of a newer program.
    #[error("not a snapshot of a state that this program can read")]
    Start,
    /// They are none from here on.
    #[error("a snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// A part of them is not what it should be.
    #[error("a snapshot is damaged")]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests;
