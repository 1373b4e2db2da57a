//! Where the arguments of a packet end.

/// Which brackets are open and whether a string is; one bit a bracket, set for `{`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brackets {
    open: u128,
    depth: u32,
    string: bool,
    escape: bool,
}

/// What a byte did to the brackets.
pub(super) enum Bracket {
    Within,
    Closed,
    Wrong(&'static str),
}

/// Whether a byte of a string is just that.
fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | b'\n')
}

/// How many bytes of a string come before one that is more. Most strings are short.
fn plain(bytes: &[u8]) -> usize {
    let (first, rest) = bytes.split_at(bytes.len().min(16));
    first.iter().position(|&it| !is_plain(it)).unwrap_or_else(|| first.len() + plain_of_long(rest))
}

fn plain_of_long(bytes: &[u8]) -> usize {
    // Those of a chunk are counted together, as the compiler makes vectors of that and not of a
    // search.
    let (chunks, _) = bytes.as_chunks::<32>();
    let marks = |chunk: &[u8; 32]| {
        let is = |it: &u8, mark| u8::from(*it == mark);
        let each = chunk.iter().map(|it| is(it, b'"') + is(it, b'\\') + is(it, b'\n'));
        each.sum::<u8>()
    };
    let sure = chunks.iter().take_while(|it| marks(it) == 0).count() * 32;
    let rest = &bytes[sure..];
    sure + rest.iter().position(|&it| !is_plain(it)).unwrap_or(rest.len())
}

impl Brackets {
    /// Follows `bytes` up to the one that ends the arguments or breaks them; says how many that
    /// took.
    pub(super) fn scan(&mut self, bytes: &[u8], limit: u32) -> Option<(usize, Bracket)> {
        let mut index = 0;
        while let Some(&byte) = bytes.get(index) {
            index += 1;
            if self.string && !self.escape && is_plain(byte) {
                index += plain(&bytes[index..]);
                continue;
            }
            match self.step(byte, limit) {
                Bracket::Within => {}
                ended => return Some((index, ended)),
            }
        }
        None
    }

    #[inline]
    fn step(&mut self, byte: u8, limit: u32) -> Bracket {
        if self.string {
            return self.step_string(byte);
        }
        match byte {
            b'"' => self.string = true,
            b'[' | b'{' if self.depth == limit => return Bracket::Wrong("it is nested too deep"),
            b'[' => self.push(0),
            b'{' => self.push(1),
            b']' => return self.pop(0),
            b'}' => return self.pop(1),
            b'\n' => return Bracket::Wrong("the line ends before the closing `]`"),
            _ => {}
        }
        Bracket::Within
    }

    #[inline]
    fn step_string(&mut self, byte: u8) -> Bracket {
        match byte {
            b'\n' => return Bracket::Wrong("the line ends within a string"),
            _ if self.escape => self.escape = false,
            b'\\' => self.escape = true,
            b'"' => self.string = false,
            _ => {}
        }
        Bracket::Within
    }

    fn push(&mut self, kind: u128) {
        self.open = self.open << 1 | kind;
        self.depth += 1;
    }

    fn pop(&mut self, kind: u128) -> Bracket {
        if self.open & 1 != kind {
            return Bracket::Wrong("brackets do not match");
        }
        self.open >>= 1;
        self.depth -= 1;
        if self.depth == 0 { Bracket::Closed } else { Bracket::Within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_plain_up_to_the_first_byte_that_is_not_wherever_that_is() {
        for length in 0..70 {
            let plain_bytes = vec![b'x'; length];
            assert_eq!(plain(&plain_bytes), length);
            for (at, mark) in (0..length).flat_map(|at| b"\"\\\n".iter().map(move |it| (at, *it))) {
                let mut bytes = plain_bytes.clone();
                bytes[at..].fill(mark);
                assert_eq!(plain(&bytes), at, "{mark} at {at} of {length}");
            }
        }
    }
}
