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

impl Brackets {
    /// Follows `bytes` up to the one that ends the arguments or breaks them; says how many that
    /// took.
    pub(super) fn scan(&mut self, bytes: &[u8], limit: u32) -> Option<(usize, Bracket)> {
        let mut index = 0;
        while let Some(&byte) = bytes.get(index) {
            index += 1;
            if self.string && !self.escape && !matches!(byte, b'"' | b'\\' | b'\n') {
                let rest = &bytes[index..];
                let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
                index += plain.unwrap_or(rest.len());
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
