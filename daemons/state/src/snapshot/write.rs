//! A state into bytes.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    START, START_2, frame,
    tree::{HAS_ENTRIES, HAS_REV, mark, write_number},
};
use crate::{
    node::{Kind, Node, Revision},
    state::State,
};

impl State {
    /// Writes all of this state. In many small pieces: `to` should gather them.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(if self.histories.current().is_some() { START_2 } else { START })?;
        write_frame(to, frame::HEAD, &(self.revision, self.next_registration))?;
        self.histories.iter().try_for_each(|it| write_frame(to, frame::HISTORY, &it))?;
        self.accounts.iter().try_for_each(|it| write_frame(to, frame::ACCOUNT, &it))?;
        self.tokens.iter().try_for_each(|it| write_frame(to, frame::TOKEN, &it))?;
        self.registrations.iter().try_for_each(|it| write_frame(to, frame::REGISTRATION, &it))?;
        self.quotas.iter().try_for_each(|it| write_frame(to, frame::QUOTA, &it))?;
        to.write_all(&[frame::TREE])?;
        write_node(to, &self.root, 0)?;
        write_number(to, self.root.totals().nodes as u64)
    }
}

fn write_frame(to: &mut impl Write, kind: u8, value: &impl Serialize) -> io::Result<()> {
    to.write_all(&[kind])?;
    write_bytes(to, &serde_json::to_vec(value)?)
}

fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_number(to, bytes.len() as u64)?;
    to.write_all(bytes)
}

fn write_node(to: &mut impl Write, node: &Node, parent: Revision) -> io::Result<()> {
    let has_rev = if node.rev() == parent { 0 } else { HAS_REV };
    let has_entries = if node.entries().is_some() { HAS_ENTRIES } else { 0 };
    to.write_all(&[mark_of(node) | has_rev | has_entries])?;
    if has_rev != 0 {
        write_number(to, node.rev())?;
    }
    if let Some(entries) = node.entries() {
        write_bytes(to, &serde_json::to_vec(entries)?)?;
    }
    match node.kind() {
        Kind::Null | Kind::Bool(_) => Ok(()),
        Kind::Number(number) => {
            if let Some(it) = number.as_u64() {
                write_number(to, it)
            } else if let Some(it) = number.as_i64() {
                write_number(to, it.unsigned_abs())
            } else {
                to.write_all(&number.as_f64().unwrap_or_default().to_le_bytes())
            }
        }
        Kind::Text(text) => write_bytes(to, text.as_bytes()),
        Kind::Array(elements) => {
            write_number(to, elements.len() as u64)?;
            elements.iter().try_for_each(|it| write_node(to, it, node.rev()))
        }
        Kind::Object(members) => {
            write_number(to, members.len() as u64)?;
            members.iter().try_for_each(|it| {
                write_bytes(to, it.key().as_str().as_bytes())?;
                write_node(to, it.node(), node.rev())
            })
        }
    }
}

fn mark_of(node: &Node) -> u8 {
    match node.kind() {
        Kind::Null => mark::NULL,
        Kind::Bool(false) => mark::FALSE,
        Kind::Bool(true) => mark::TRUE,
        Kind::Number(it) if it.is_u64() => mark::POSITIVE,
        Kind::Number(it) if it.is_i64() => mark::NEGATIVE,
        Kind::Number(_) => mark::FLOAT,
        Kind::Text(_) => mark::TEXT,
        Kind::Array(_) => mark::ARRAY,
        Kind::Object(_) => mark::OBJECT,
    }
}
