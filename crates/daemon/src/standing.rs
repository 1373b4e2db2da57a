/// What is known of one guest: whoever comes is a stranger, and so again is who misbehaves.
///
/// One answer that it has taken is enough; there is no time of probation. It would keep nobody away
/// who means ill: he could sit it out, on as many connections as he likes. As it is, each costs him
/// a turn as a stranger, which is charged, and a round trip, which floods don't wait for. But a
/// client that asks a few things and leaves would stand in line with him to its last question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    #[default]
    Stranger,
    /// It was answered, and may want more and more.
    Answered,
    Known,
}

impl Standing {
    pub(crate) fn is_known(self) -> bool {
        self == Self::Known
    }

    /// A command of it was answered without failure.
    pub(crate) fn note_answer(&mut self) {
        if *self == Self::Stranger {
            *self = Self::Answered;
        }
    }

    /// All that it asked is answered, and it has taken the answers: who floods hardly gets here.
    pub(crate) fn note_rest(&mut self) {
        if *self == Self::Answered {
            *self = Self::Known;
        }
    }

    /// It said what nobody can read, gave a wrong password, kept us waiting, or is gone.
    pub(crate) fn note_misdeed(&mut self) {
        *self = Self::Stranger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_and_comes_to_rest_is_known_until_it_misbehaves() {
        let mut standing = Standing::default();
        standing.note_rest();
        assert!(!standing.is_known(), "nothing was answered");
        standing.note_answer();
        assert!(!standing.is_known(), "it wants more and more");
        standing.note_rest();
        assert!(standing.is_known());
        standing.note_answer();
        assert!(standing.is_known(), "an answer takes nothing away");
        standing.note_misdeed();
        assert!(!standing.is_known());
        standing.note_rest();
        assert!(!standing.is_known(), "nothing was answered since");
    }
}
