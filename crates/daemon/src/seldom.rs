use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Has what happens often said seldom: so many times in a while, and then how often it was not.
///
/// For lines in a log that others can cause as often as they like, which would push everything
/// else out of it.
#[derive(Debug)]
pub struct Seldom {
    most: u32,
    length: Duration,
    spell: Mutex<Spell>,
}

#[derive(Debug, Default)]
struct Spell {
    begun: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Seldom {
    /// As is usual for those who are turned away: a client with a wrong token may try again at
    /// once, for ever.
    #[must_use]
    pub fn of_those_turned_away() -> Self {
        Self::new(20, Duration::from_secs(10))
    }

    /// At most `most` times within each `length`.
    #[must_use]
    pub fn new(most: u32, length: Duration) -> Self {
        Self { most, length, spell: Mutex::default() }
    }

    /// It has happened: how often it did since it was said last, if it is to be said now.
    pub fn note(&self) -> Option<u64> {
        self.note_at(Instant::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let mut spell = self.spell.lock().unwrap_or_else(PoisonError::into_inner);
        if spell.begun.is_none_or(|then| now >= then + self.length) {
            *spell = Spell { begun: Some(now), said: 0, unsaid: spell.unsaid };
        }
        if spell.said >= self.most {
            spell.unsaid += 1;
            return None;
        }
        spell.said += 1;
        Some(std::mem::take(&mut spell.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_said_at_once_and_of_the_others_how_many_there_were() {
        let (seldom, start) = (Seldom::new(2, Duration::from_secs(10)), Instant::now());
        let at = |seconds| seldom.note_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(9)], [Some(0), Some(0), None, None]);
        assert_eq!([at(10), at(11), at(12)], [Some(2), Some(0), None]);
        assert_eq!(at(99), Some(1));
    }
}
