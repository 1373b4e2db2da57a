/// What a peer wants that has sent a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A `pong`.
    Ping,
    /// The text for one peer of its database.
    To {
        /// Which peer; nobody may have that id.
        id: &'a str,
        /// What it gets.
        text: &'a str,
    },
    /// The text for all other peers of its database.
    All(&'a str),
    /// Nothing that can be done: it names no end of the id.
    Malformed,
}

impl<'a> Message<'a> {
    /// Reads a text: `ping`, `to:<id>;<text>`, `to:all;<text>`, `to:;<text>`, or any other, which
    /// is for all.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        if text == "ping" {
            return Self::Ping;
        }
        let Some(addressed) = text.strip_prefix("to:") else { return Self::All(text) };
        match addressed.split_once(';') {
            None => Self::Malformed,
            Some(("" | "all", text)) => Self::All(text),
            Some((id, text)) => Self::To { id, text },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_means_one_thing() {
        let to = |id, text| Message::To { id, text };
        for (text, meaning) in [
            ("ping", Message::Ping),
            ("ping ", Message::All("ping ")),
            ("", Message::All("")),
            ("pong", Message::All("pong")),
            ("{\"a\":1}", Message::All("{\"a\":1}")),
            ("to:[master];x", to("[master]", "x")),
            ("to:abcde;", to("abcde", "")),
            ("to:abcde;ping", to("abcde", "ping")),
            ("to:abcde;a;b", to("abcde", "a;b")),
            ("to:all;x", Message::All("x")),
            ("to:;x", Message::All("x")),
            ("to:all", Message::Malformed),
            ("to:", Message::Malformed),
            ("TO:all;x", Message::All("TO:all;x")),
            (" to:all;x", Message::All(" to:all;x")),
        ] {
            assert_eq!(Message::read(text), meaning, "{text:?}");
        }
    }
}
