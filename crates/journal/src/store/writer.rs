//! The one thread that writes: a group, its sync, the news; then what has come meanwhile.

use std::{mem, sync::Arc};

use tokio::time::Instant;

use super::{
    queue::{Group, Job, Queue},
    tail::Tail,
};
use crate::Failure;

/// Room that is kept for the next group; more is given back.
const SPARE: usize = 1 << 20;

/// Has the end of the log for as long as the journal is open.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) tail: Tail,
}

impl Writer {
    /// Writes what comes until the journal is closed.
    pub(crate) fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            match self.queue.take(mem::take(&mut spare)) {
                Job::Write(group) => {
                    self.write(&group);
                    spare = emptied(group.bytes);
                }
                Job::Mend(answers) => {
                    let mended = self.mend();
                    for answer in answers {
                        // Who asked may have gone.
                        answer.send(mended.clone()).ok();
                    }
                }
                Job::End => return self.end(),
            }
        }
    }

    fn write(&mut self, group: &Group) {
        let begun = Instant::now();
        match self.tail.write(group) {
            Ok(()) => self.queue.settle(group, begun.elapsed()),
            Err(error) => {
                // So that it can't come back after a crash, if the disk still does that much.
                self.tail.cut().ok();
                self.queue.fail(error.into());
            }
        }
    }

    fn mend(&mut self) -> Result<u64, Failure> {
        let durable = self.queue.durable();
        if self.queue.has_failed() {
            self.tail.mend(durable)?;
            self.queue.mended();
        }
        Ok(durable)
    }

    fn end(mut self) {
        if !self.queue.has_failed() {
            // Without it nothing is lost but the proof that the last group was durable.
            self.tail.close(self.queue.durable() + 1).ok();
        }
    }
}

impl Drop for Writer {
    /// Whether it was asked for or is a bug.
    fn drop(&mut self) {
        self.queue.ended();
    }
}

fn emptied(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes.shrink_to(SPARE);
    bytes
}
