//! How long something is as JSON text, without writing it somewhere.

use std::io::{self, Write};

use serde::Serialize;
use state::node::Totals;

/// A byte of text may take six as JSON (`\u001f`), and a number three times what it counts for.
const LONGEST: usize = 6;

/// Whether `value`, which amounts to `totals`, has at most `limit` bytes as JSON text. It is
/// counted only if that is in doubt, and no further than `limit`.
pub(super) fn fits(value: &impl Serialize, totals: Totals, limit: usize) -> bool {
    let is_surely = totals.bytes.saturating_mul(LONGEST) <= limit;
    is_surely || serde_json::to_writer(Counter { left: limit }, value).is_ok()
}

/// Takes so many bytes and keeps none.
struct Counter {
    left: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use state::Node;

    use super::*;

    #[test]
    fn a_text_fits_to_the_byte() {
        for value in [json!("\u{1f}\u{1f}"), json!([1, 2.5, null]), json!({"a": {}}), json!(1)] {
            let node = Node::try_from(&value).unwrap();
            let len = value.to_string().len();
            assert!(fits(&node, node.totals(), len), "{value}");
            assert!(!fits(&node, node.totals(), len - 1), "{value}");
        }
    }
}
