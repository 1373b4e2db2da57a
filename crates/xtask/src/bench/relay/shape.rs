//! What peers send and to whom, as soon as they have heard enough.

use std::{collections::VecDeque, time::Duration};

use super::crowd::{Crowd, CrowdError, id, marks, text};
use crate::bench::{clock::now, histogram::Histogram};

/// A load, from the first message to the last.
pub(crate) trait Shape {
    /// Sends what can be sent before anything was heard.
    fn begin(&mut self, crowd: &Crowd) -> Result<(), CrowdError>;

    /// Takes what a peer was sent and sends what can be sent now; how many messages it was.
    fn hear(
        &mut self,
        crowd: &Crowd,
        number: usize,
        bytes: &[u8],
        latencies: &mut Histogram,
    ) -> Result<usize, CrowdError>;
}

/// One sends to all others.
pub(crate) struct Broadcast {
    receivers: usize,
    burst: Vec<u8>,
    bursts: usize,
    /// How many each has heard.
    heard: Vec<u64>,
    /// How many all have heard, and of the following ones how many have heard each.
    complete: u64,
    reached: VecDeque<usize>,
    /// When each burst was sent of which somebody has not heard all.
    sent: VecDeque<Duration>,
}

/// Some send to one other each.
pub(crate) struct Direct {
    /// What each sends again for each that was heard.
    messages: Vec<Vec<u8>>,
    sent: Vec<VecDeque<Duration>>,
}

/// Some ask one who answers.
pub(crate) struct Trips {
    questions: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    sent: Vec<Duration>,
    /// What the master has read of a question whose end it has not.
    begun: Vec<u8>,
}

/// So many messages leave in one write.
const BURST: usize = 16;

/// So many bursts of a broadcast are on their way, if all of it is not more than so many bytes, and
/// two in any case: nobody is so far behind that he would be sent away.
const BURSTS: usize = 8;
const BYTES: usize = 128 << 10;

impl Broadcast {
    pub(crate) fn new(crowd: &Crowd, receivers: usize, bytes: usize) -> Self {
        Self {
            receivers,
            burst: crowd.way.to_all(&text(bytes)).repeat(BURST),
            bursts: (BYTES / (BURST * bytes)).clamp(2, BURSTS),
            heard: vec![0; receivers],
            complete: 0,
            reached: VecDeque::new(),
            sent: VecDeque::new(),
        }
    }

    /// The last of the crowd sends.
    fn send(&mut self, crowd: &Crowd) -> Result<(), CrowdError> {
        self.reached.extend([0; BURST]);
        self.sent.push_back(now());
        crowd.say(self.receivers, &self.burst)
    }

    /// A receiver has heard one more.
    fn count(&mut self, number: usize, at: Duration, latencies: &mut Histogram) -> Option<()> {
        let ahead = (self.heard[number] - self.complete) as usize;
        self.heard[number] += 1;
        *self.reached.get_mut(ahead)? += 1;
        // Only whole bursts are taken away from the front of both.
        latencies.record(at.saturating_sub(*self.sent.get(ahead / BURST)?), 1);
        Some(())
    }
}

impl Shape for Broadcast {
    fn begin(&mut self, crowd: &Crowd) -> Result<(), CrowdError> {
        (0..self.bursts).try_for_each(|_| self.send(crowd))
    }

    fn hear(
        &mut self,
        crowd: &Crowd,
        number: usize,
        bytes: &[u8],
        latencies: &mut Histogram,
    ) -> Result<usize, CrowdError> {
        let (found, at) = (marks(bytes), now());
        for _ in 0..found {
            let counted = self.count(number, at, latencies);
            let what = "more than was sent";
            counted.ok_or(CrowdError::TooMuch { server: crowd.way.name(), what })?;
        }
        // Who has heard the last of a burst has heard all of it.
        while self.reached.get(BURST - 1) == Some(&self.receivers) {
            self.reached.drain(..BURST);
            self.sent.pop_front();
            self.complete += BURST as u64;
            self.send(crowd)?;
        }
        Ok(found)
    }
}

impl Direct {
    /// The first `pairs` of the crowd send, each to one of the others.
    pub(crate) fn new(crowd: &Crowd, pairs: usize, bytes: usize) -> Self {
        let message = |number| crowd.way.to_one(&id(pairs + number), &text(bytes));
        let messages = (0..pairs).map(message).collect();
        Self { messages, sent: vec![VecDeque::new(); pairs] }
    }

    fn send(&mut self, crowd: &Crowd, pair: usize, count: usize) -> Result<(), CrowdError> {
        self.sent[pair].extend(std::iter::repeat_n(now(), count));
        crowd.say(pair, &self.messages[pair].repeat(count))
    }
}

impl Shape for Direct {
    fn begin(&mut self, crowd: &Crowd) -> Result<(), CrowdError> {
        (0..self.messages.len()).try_for_each(|pair| self.send(crowd, pair, BURST))
    }

    fn hear(
        &mut self,
        crowd: &Crowd,
        number: usize,
        bytes: &[u8],
        latencies: &mut Histogram,
    ) -> Result<usize, CrowdError> {
        let (found, at) = (marks(bytes), now());
        // Whoever sends hears nothing, but for what NATS asks of everybody.
        let Some(pair) = number.checked_sub(self.messages.len()) else { return Ok(0) };
        for _ in 0..found {
            let what = "more than was sent";
            let sent = self.sent[pair].pop_front();
            let sent = sent.ok_or(CrowdError::TooMuch { server: crowd.way.name(), what })?;
            latencies.record(at.saturating_sub(sent), 1);
        }
        if found > 0 {
            self.send(crowd, pair, found)?;
        }
        Ok(found)
    }
}

impl Trips {
    /// The last of the crowd is the master; a question ends with who asks.
    pub(crate) fn new(crowd: &Crowd, workers: usize, bytes: usize) -> Self {
        let question = |number| {
            let text = format!("{}{number:04}!", "x".repeat(bytes - 5));
            crowd.way.to_one(&id(workers), &text)
        };
        let answer = |number| crowd.way.to_one(&id(number), &text(bytes));
        Self {
            questions: (0..workers).map(question).collect(),
            answers: (0..workers).map(answer).collect(),
            sent: vec![Duration::ZERO; workers],
            begun: Vec::new(),
        }
    }

    fn ask(&mut self, crowd: &Crowd, worker: usize) -> Result<(), CrowdError> {
        self.sent[worker] = now();
        crowd.say(worker, &self.questions[worker])
    }

    fn answer(&mut self, crowd: &Crowd, bytes: &[u8]) -> Result<usize, CrowdError> {
        self.begun.extend_from_slice(bytes);
        let (mut answers, mut from, mut found) = (Vec::new(), 0, 0);
        while let Some(length) = self.begun[from..].iter().position(|&it| it == super::way::MARK) {
            let end = from + length;
            let digits = str::from_utf8(&self.begun[end.saturating_sub(4)..end]);
            let worker = digits.ok().and_then(|it| it.parse().ok());
            let answer = worker.and_then(|it: usize| self.answers.get(it));
            let what = "a question of nobody";
            let nobody = CrowdError::TooMuch { server: crowd.way.name(), what };
            answers.extend_from_slice(answer.ok_or(nobody)?);
            (from, found) = (end + 1, found + 1);
        }
        self.begun.drain(..from);
        if found > 0 {
            crowd.say(self.questions.len(), &answers)?;
        }
        Ok(found)
    }
}

impl Shape for Trips {
    fn begin(&mut self, crowd: &Crowd) -> Result<(), CrowdError> {
        (0..self.questions.len()).try_for_each(|worker| self.ask(crowd, worker))
    }

    fn hear(
        &mut self,
        crowd: &Crowd,
        number: usize,
        bytes: &[u8],
        latencies: &mut Histogram,
    ) -> Result<usize, CrowdError> {
        if number == self.questions.len() {
            return self.answer(crowd, bytes);
        }
        let found = marks(bytes);
        if found > 0 {
            latencies.record(now().saturating_sub(self.sent[number]), 1);
            self.ask(crowd, number)?;
        }
        Ok(found)
    }
}
