mod brackets;

use std::{mem, ops::Range};

use self::brackets::{Bracket, Brackets};
use crate::{
    Limits, Packet, Unreadable,
    packet::{NAME_BYTES, TAG_BYTES, bad_name_byte, is_tag},
};

/// Cuts a stream of bytes into packets.
///
/// Knows no socket: bytes come in by [`feed`](Self::feed), packets go out by [`next`](Self::next).
/// However the bytes are cut, the same packets come out. Holds no memory while it has no bytes.
///
/// ```
/// let mut decoder = common_tcp::Decoder::default();
/// decoder.feed(b"dae\r\nset [\"k\"");
/// assert_eq!(decoder.next().unwrap().unwrap().name, "dae");
/// assert!(decoder.next().is_none());
///
/// decoder.feed(b",1]get [\"k\"]");
/// assert_eq!(decoder.next().unwrap().unwrap().args, "[\"k\",1]");
/// assert_eq!(decoder.next().unwrap().unwrap().name, "get");
/// ```
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the packet that is being read begins in `bytes`; while skipping, where what is unseen
    /// does.
    start: usize,
    /// Where reading goes on.
    at: usize,
    state: State,
    packet_bytes: usize,
    depth: u32,
    of_client: bool,
    seen_any: bool,
    ended: bool,
    /// What [`Decoder::has_next`] found and [`Decoder::next`] has not handed out.
    found: Option<Step>,
}

#[derive(Debug)]
enum State {
    /// Between packets.
    Start,
    /// In the name.
    Name,
    /// Behind a name that ended `name_bytes` after the start.
    Gap { name_bytes: usize },
    /// In the arguments, which began `args_at` after the start.
    Args { name_bytes: usize, args_at: usize, brackets: Brackets },
    /// Directly behind a packet's `]`.
    Tail,
    /// Behind a packet's `]` and a blank.
    TailBlank,
    /// In the rest of a line that can't be read; says why once it has ended.
    Skip(Box<Skipped>),
}

/// What is kept of a line that is discarded.
#[derive(Debug)]
struct Skipped {
    why: Unreadable,
    bytes: usize,
    last: [u8; 16],
}

/// What comes of a step: hand out a packet, or complain.
#[derive(Debug)]
enum Step {
    Packet { name_bytes: usize, args_at: Option<usize>, end: usize },
    Unreadable(Unreadable),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

impl Decoder {
    /// Takes packets of at most so many bytes from now on.
    pub fn limit_packets(&mut self, bytes: usize) {
        self.packet_bytes = bytes;
    }

    /// A decoder of requests. Of the limits it takes `packet_bytes` and `depth`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            at: 0,
            state: State::Start,
            packet_bytes: limits.packet_bytes,
            depth: limits.depth.min(Limits::DEEPEST),
            of_client: false,
            seen_any: false,
            ended: false,
            found: None,
        }
    }

    /// A decoder of replies, more tolerant: a name may be any run of visible ASCII, and bytes that
    /// are not UTF-8 are read as Latin-1, which is what the original programs write.
    #[must_use]
    pub fn of_client(limits: &Limits) -> Self {
        Self { of_client: true, ..Self::new(limits) }
    }

    /// Takes in what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Says that nothing more comes: a packet that only lacks its end is complete by that.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether a packet has begun that its next bytes must complete.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        !matches!(self.state, State::Start | State::Tail | State::TailBlank)
    }

    /// How much memory it has for what was fed and not handed out.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Discards the rest of the line, for a packet whose arguments turned out to be no JSON; `next`
    /// hands `why` out where the line ends. To be called before the packet after it is asked for.
    pub fn discard_line(&mut self, why: Unreadable) {
        self.start = self.at;
        self.state = State::skip(why, 0);
    }

    /// The next packet, or why there is none where one should be; `None` until more bytes are fed.
    ///
    /// After an [`Unreadable`] that is fatal nothing more may be asked for.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows from the decoder")]
    pub fn next(&mut self) -> Option<Result<Packet<'_>, Unreadable>> {
        if !self.has_next() {
            return None;
        }
        match self.found.take()? {
            Step::Unreadable(why) => Some(Err(why)),
            Step::Packet { name_bytes, args_at, end } => {
                let start = mem::replace(&mut self.start, end);
                Some(self.packet(start, name_bytes, args_at, end))
            }
        }
    }

    /// Whether [`next`](Self::next) has something to hand out.
    pub fn has_next(&mut self) -> bool {
        if self.bytes.is_empty() && self.found.is_none() && !self.ended {
            return false;
        }
        if self.found.is_none() {
            self.found = self.step();
        }
        if self.found.is_none() {
            self.compact();
        }
        self.found.is_some()
    }

    fn step(&mut self) -> Option<Step> {
        loop {
            if self.at == self.bytes.len() {
                return if self.ended { self.step_at_end() } else { self.check_length() };
            }
            let step = match &mut self.state {
                State::Start => self.step_start(),
                State::Name => self.step_name(),
                State::Gap { name_bytes } => {
                    let name_bytes = *name_bytes;
                    self.step_gap(name_bytes)
                }
                State::Args { .. } => self.step_args(),
                State::Tail => self.step_tail(),
                State::TailBlank => self.step_tail_blank(),
                State::Skip(_) => self.step_skip(),
            };
            if step.is_some() {
                return step;
            }
        }
    }

    fn step_start(&mut self) -> Option<Step> {
        if !self.seen_any && self.bytes[self.at] == 0x16 {
            return Some(Step::Unreadable(Unreadable::Tls));
        }
        self.seen_any = true;
        let blanks = self.bytes[self.at..].iter().take_while(|byte| is_blank(**byte)).count();
        self.at += blanks;
        self.start = self.at;
        if self.at == self.bytes.len() {
            return None;
        }
        let usual = self.step_usual();
        if usual.is_none() {
            self.state = State::Name;
        }
        usual
    }

    /// The usual packet, `name [args]`, if the whole of it is there. Anything else is left to the
    /// states.
    fn step_usual(&mut self) -> Option<Step> {
        let bytes = &self.bytes[self.start..];
        // No further than a name reaches, or each of many short lines would look through all of
        // them.
        let name = &bytes[..bytes.len().min(NAME_BYTES + TAG_BYTES + 2)];
        let name_bytes = name.iter().position(|&byte| byte == b' ')?;
        if bytes.get(name_bytes + 1) != Some(&b'[') || self.check_name(name_bytes).is_err() {
            return None;
        }
        let args_at = name_bytes + 1;
        let scanned = Brackets::default().scan(&bytes[args_at..], self.depth);
        let Some((length, Bracket::Closed)) = scanned else { return None };
        let packet_bytes = args_at + length;
        if packet_bytes > self.packet_bytes {
            return None;
        }
        self.at = self.start + packet_bytes;
        self.state = State::Tail;
        Some(Step::Packet { name_bytes, args_at: Some(args_at), end: self.at })
    }

    fn step_name(&mut self) -> Option<Step> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')) else {
            self.at = self.bytes.len();
            return self.check_length();
        };
        let end = self.at + length;
        self.at = end;
        if let Some(too_large) = self.check_length() {
            return Some(too_large);
        }
        self.at += 1;
        if self.bytes[end] == b'\n' {
            return Some(self.ended_name(end, self.at));
        }
        let name_bytes = end - self.start;
        match self.check_name(name_bytes) {
            Ok(()) => self.state = State::Gap { name_bytes },
            Err(why) => self.skip(why),
        }
        None
    }

    /// A packet without arguments, whose name ends at `end` and the line at `next`.
    fn ended_name(&mut self, end: usize, next: usize) -> Step {
        self.state = State::Start;
        let name = &self.bytes[self.start..end];
        let name_bytes = name.strip_suffix(b"\r").unwrap_or(name).len();
        match self.check_name(name_bytes) {
            Ok(()) => Step::Packet { name_bytes, args_at: None, end: next },
            Err(why) => Step::Unreadable(why),
        }
    }

    fn step_gap(&mut self, name_bytes: usize) -> Option<Step> {
        if let Some(too_large) = self.check_length() {
            return Some(too_large);
        }
        let byte = self.bytes[self.at];
        let offset = self.at - self.start;
        match byte {
            b' ' | b'\t' | b'\r' => self.at += 1,
            b'\n' => {
                self.at += 1;
                self.state = State::Start;
                return Some(Step::Packet { name_bytes, args_at: None, end: self.at });
            }
            b'[' => {
                let brackets = Brackets::default();
                self.state = State::Args { name_bytes, args_at: offset, brackets };
            }
            _ => self.skip(Unreadable::BadArgs { at: offset }),
        }
        None
    }

    fn step_args(&mut self) -> Option<Step> {
        let State::Args { name_bytes, args_at, brackets } = &mut self.state else { return None };
        let (name_bytes, args_at) = (*name_bytes, *args_at);
        let scanned = brackets.scan(&self.bytes[self.at..], self.depth);
        let Some((length, bracket)) = scanned else {
            self.at = self.bytes.len();
            return self.check_length();
        };
        match bracket {
            Bracket::Closed => {
                self.at += length;
                if let Some(too_large) = self.check_length() {
                    return Some(too_large);
                }
                self.state = State::Tail;
                Some(Step::Packet { name_bytes, args_at: Some(args_at), end: self.at })
            }
            Bracket::Within | Bracket::Wrong(_) => {
                self.at += length - 1;
                let what = if let Bracket::Wrong(what) = bracket { what } else { "" };
                let at = self.at - self.start;
                self.skip(Unreadable::BadJson { at, what: what.to_owned() });
                None
            }
        }
    }

    fn step_tail(&mut self) -> Option<Step> {
        match self.bytes[self.at] {
            b'\n' => self.state = State::Start,
            b' ' | b'\t' | b'\r' => self.state = State::TailBlank,
            _ => {
                self.start = self.at;
                self.state = State::Name;
                return None;
            }
        }
        self.at += 1;
        None
    }

    fn step_tail_blank(&mut self) -> Option<Step> {
        match self.bytes[self.at] {
            b'\n' => self.state = State::Start,
            b' ' | b'\t' | b'\r' => {}
            _ => {
                let at = self.at - self.start;
                self.skip(Unreadable::TrailingBytes { at });
                return None;
            }
        }
        self.at += 1;
        None
    }

    fn step_skip(&mut self) -> Option<Step> {
        let State::Skip(skipped) = &mut self.state else { return None };
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        skipped.keep(&rest[..length.unwrap_or(rest.len())]);
        self.at += length.map_or(rest.len(), |length| length + 1);
        self.start = self.at;
        if skipped.bytes > self.packet_bytes {
            return Some(Step::Unreadable(Unreadable::TooLarge { limit: self.packet_bytes }));
        }
        length.map(|_| self.skipped())
    }

    /// What is said of the skipped line, now that it has ended.
    fn skipped(&mut self) -> Step {
        match mem::replace(&mut self.state, State::Start) {
            State::Skip(skipped) => Step::Unreadable(skipped.verdict()),
            _ => unreachable!("only a skipped line is judged"),
        }
    }

    fn step_at_end(&mut self) -> Option<Step> {
        let end = self.bytes.len();
        match self.state {
            State::Start | State::Tail | State::TailBlank => None,
            State::Name => Some(self.ended_name(end, end)),
            State::Gap { name_bytes } => {
                self.state = State::Start;
                Some(Step::Packet { name_bytes, args_at: None, end })
            }
            State::Args { .. } => {
                let (at, what) = (end - self.start, "the closing `]` is missing".to_owned());
                self.state = State::Start;
                Some(Step::Unreadable(Unreadable::BadJson { at, what }))
            }
            State::Skip(_) => Some(self.skipped()),
        }
    }

    /// Begins to discard the line; what stood before `at` counts to its length.
    fn skip(&mut self, why: Unreadable) {
        let mut skipped = Skipped { why, bytes: 0, last: [0; 16] };
        skipped.keep(&self.bytes[self.start..self.at]);
        self.start = self.at;
        self.state = State::Skip(Box::new(skipped));
    }

    fn check_length(&self) -> Option<Step> {
        let limit = self.packet_bytes;
        let too_large = self.is_unfinished() && self.at - self.start > limit;
        too_large.then_some(Step::Unreadable(Unreadable::TooLarge { limit }))
    }

    fn check_name(&self, name_bytes: usize) -> Result<(), Unreadable> {
        let name = &self.bytes[self.start..self.start + name_bytes];
        if self.of_client {
            let bad = name.iter().position(|byte| !byte.is_ascii_graphic());
            return bad.map_or(Ok(()), |at| Err(Unreadable::BadName { at }));
        }
        let (name, tag) = split_tag(name);
        if name.is_empty() {
            return Err(Unreadable::BadName { at: 0 });
        }
        if let Some(at) = bad_name_byte(name) {
            return Err(Unreadable::BadName { at });
        }
        match tag {
            Some(tag) if !is_tag(tag) => Err(Unreadable::BadName { at: name.len() + 1 }),
            _ => Ok(()),
        }
    }

    fn packet(
        &mut self,
        start: usize,
        name_bytes: usize,
        args_at: Option<usize>,
        end: usize,
    ) -> Result<Packet<'_>, Unreadable> {
        let packet = start..args_at.map_or(start + name_bytes, |_| end);
        if self.of_client
            && let Some(args_at) = args_at
            && str::from_utf8(&self.bytes[packet.clone()]).is_err()
        {
            let end = self.latin1(start + args_at..end);
            return self.borrowed(start..end, name_bytes, Some(args_at), false);
        }
        let glued = matches!(self.state, State::Tail)
            && self.bytes.get(end).is_some_and(|byte| !is_blank(*byte));
        self.borrowed(packet, name_bytes, args_at, glued)
    }

    /// The packet, if it is UTF-8.
    fn borrowed(
        &self,
        packet: Range<usize>,
        name_bytes: usize,
        args_at: Option<usize>,
        glued: bool,
    ) -> Result<Packet<'_>, Unreadable> {
        let text = str::from_utf8(&self.bytes[packet])
            .map_err(|error| Unreadable::BadEncoding { at: error.valid_up_to() })?;
        let (name, tag) = match text[..name_bytes].split_once('#') {
            Some((name, tag)) => (name, Some(tag)),
            None => (&text[..name_bytes], None),
        };
        let args = args_at.map_or("[]", |args_at| &text[args_at..]);
        Ok(Packet { name, tag, args, args_at: args_at.unwrap_or(name_bytes), glued })
    }

    /// Rewrites arguments that an original wrote in Latin-1 as UTF-8, in place; where they end now.
    fn latin1(&mut self, args: Range<usize>) -> usize {
        let text: String = self.bytes[args.clone()].iter().map(|&byte| char::from(byte)).collect();
        let (end, grown) = (args.start + text.len(), text.len() - args.len());
        self.bytes.splice(args, text.into_bytes());
        self.at += grown;
        self.start += grown;
        end
    }

    /// Gives back the room of what has been read.
    fn compact(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        } else if self.start > 0 {
            self.bytes.drain(..self.start);
        }
        self.at -= self.start;
        self.start = 0;
    }
}

/// What an idle decoder keeps of its buffer: enough for a usual request, so that it is not
/// allocated anew for each, and little enough to be held for thousands of idle guests.
const KEPT_BYTES: usize = 256;

impl State {
    fn skip(why: Unreadable, bytes: usize) -> Self {
        Self::Skip(Box::new(Skipped { why, bytes, last: [0; 16] }))
    }
}

impl Skipped {
    /// Counts `bytes` and keeps the last of them.
    fn keep(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let new = &bytes[bytes.len().saturating_sub(self.last.len())..];
        self.last.rotate_left(new.len());
        let kept = self.last.len() - new.len();
        self.last[kept..].copy_from_slice(new);
    }

    /// HTTP if the line ended like a request line, else why it was skipped.
    fn verdict(self) -> Unreadable {
        let line = self.last.trim_ascii_end();
        match line {
            [.., b' ' | b'\t', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                Unreadable::Http
            }
            _ => self.why,
        }
    }
}

fn split_tag(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    match name.iter().position(|&byte| byte == b'#') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
