use std::ops::AddAssign;

/// What has gone through a hub so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What peers have sent, by kind; of presence there is none.
    pub accepted: [Flow; 4],
    /// What peers were sent, by kind.
    pub delivered: [Flow; 4],
    /// Messages for an id that nobody had.
    pub unknown: u64,
    /// Texts that begin an address and do not end it.
    pub malformed: u64,
    /// Messages that are no text.
    pub binary: u64,
    /// How peers went.
    pub gone: Gone,
    /// Large messages that were kept to be fetched, were written to files, and were never fetched.
    pub large_kept: u64,
    /// See there.
    pub large_spilled: u64,
    /// See there.
    pub large_expired: u64,
}

/// Messages, and the bytes of their texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many.
    pub messages: u64,
    /// How long.
    pub bytes: u64,
}

/// What a message is to those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To all others.
    Broadcast,
    /// To one.
    Direct,
    /// Posted, to whomever.
    Large,
    /// Told of a peer.
    Presence,
}

/// Peers that are none any more, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// It said goodbye.
    pub close: u64,
    /// The connection was lost.
    pub reset: u64,
    /// It did not read, or too slowly.
    pub slow: u64,
    /// It sent more at once than it may, or what it must not.
    pub oversize: u64,
    /// Somebody else has its id.
    pub replaced: u64,
    /// It did not answer.
    pub idle: u64,
    /// Somebody wanted it so.
    pub kicked: u64,
    /// The relay ended.
    pub drain: u64,
}

impl Kind {
    /// All kinds, in the order of the arrays.
    pub const ALL: [Self; 4] = [Self::Broadcast, Self::Direct, Self::Large, Self::Presence];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Direct => "direct",
            Self::Large => "large",
            Self::Presence => "presence",
        }
    }
}

impl Flow {
    /// Messages of `bytes` each.
    pub(crate) fn of(messages: usize, bytes: usize) -> Self {
        Self { messages: messages as u64, bytes: (messages * bytes) as u64 }
    }

    /// Counts messages of `bytes` each.
    pub(crate) fn add(&mut self, messages: usize, bytes: usize) {
        *self += Self::of(messages, bytes);
    }
}

impl AddAssign for Flow {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}
