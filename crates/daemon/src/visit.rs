use std::{
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use common_tcp::{Connection, Failure, Unreadable, encode_err};
use tokio::time::{Sleep, sleep, timeout};

use crate::{
    Guest,
    router::{Routed, Router, Running},
    serve::Ending,
};

/// One guest's connection from its first byte to its last: reads, routes, and alone writes.
///
/// Everything that one read brought is answered before anything is written, and then it is one write.
pub(crate) struct Visit<'a, S> {
    router: &'a Router<S>,
    ending: &'a Ending,
    guest: Guest,
    connection: Connection,
    /// Commands that wait: at most one without a tag, behind which nothing is read.
    running: Vec<Running<'a>>,
    bad_lines: u32,
    stage: Stage,
    /// Runs while a packet is unfinished.
    unfinished: Option<Pin<Box<Sleep>>>,
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests are read and answered.
    Open,
    /// The guest said that nothing more comes; what came is answered.
    Ended,
    /// Nothing more is read, whatever comes; what runs is answered.
    Closing,
}

/// Replies are handed to the kernel once this much has gathered, even if more could be answered.
const BURST_BYTES: usize = 64 << 10;

/// How long the last bytes are given to be read before the connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

impl<'a, S: 'static> Visit<'a, S> {
    pub(crate) fn new(
        router: &'a Router<S>,
        ending: &'a Ending,
        guest: Guest,
        connection: Connection,
    ) -> Self {
        let stage = Stage::Open;
        let running = Vec::new();
        Self { router, ending, guest, connection, running, bad_lines: 0, stage, unfinished: None }
    }

    /// Serves the guest until the connection is over; what the kernel says of that interests nobody.
    pub(crate) async fn run(mut self) {
        if poll_fn(|cx| self.poll(cx)).await.is_ok() {
            drop(timeout(LINGER, self.part()).await);
        }
    }

    /// Ends our direction and reads on until the guest's ends: to close with unread bytes would destroy
    /// replies that are still on their way.
    async fn part(&mut self) -> io::Result<()> {
        self.connection.finish().await?;
        while poll_fn(|cx| self.connection.poll_discard(cx)).await? > 0 {}
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.poll_running(cx);
            self.answer(cx);
            self.note_ending();
            let has_events = self.take_events(cx);
            let wrote_all = self.connection.poll_write(cx)?.is_ready();
            if self.may_answer() && self.connection.decoder().has_next() || has_events && wrote_all
            {
                continue;
            }
            if wrote_all && self.is_over() {
                return Poll::Ready(Ok(()));
            }
            // Nothing that was read is left unanswered here, so what is read does not pile up.
            if !self.may_answer() || self.stage != Stage::Open {
                return Poll::Pending;
            }
            match self.connection.poll_read(cx)? {
                Poll::Ready(0) => self.stage = Stage::Ended,
                Poll::Ready(_) => self.restart_timer(),
                Poll::Pending => {
                    if self.poll_unfinished(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.time_out();
                }
            }
        }
    }

    /// Whether nothing more is to be answered.
    fn is_over(&mut self) -> bool {
        let read_out = match self.stage {
            Stage::Open => false,
            Stage::Ended => !self.connection.decoder().has_next(),
            Stage::Closing => true,
        };
        read_out && self.running.is_empty()
    }

    /// Sees whether the daemon ends or the guest wants to leave.
    fn note_ending(&mut self) {
        if self.guest.is_leaving() {
            self.stage = Stage::Closing;
        }
        // A packet that was read before is answered first.
        let read_out = self.stage == Stage::Open && !self.connection.decoder().has_next();
        if self.ending.has_begun() && read_out {
            self.guest.outbox().close("shutting-down");
            self.stage = Stage::Closing;
        }
    }

    /// Puts events behind the replies; true if some are left for the next time.
    fn take_events(&mut self, cx: &Context<'_>) -> bool {
        self.guest.outbox().take(self.connection.halves().1, BURST_BYTES, cx.waker())
    }

    fn may_answer(&self) -> bool {
        let limits = &self.router.common.limits;
        self.stage != Stage::Closing
            && !self.guest.is_leaving()
            && self.connection.unsent_bytes() < limits.unsent_bytes
            && self.running.len() < limits.pipeline
            && self.running.iter().all(|running| running.tag.is_some())
    }

    /// Answers what has been read, until a burst of replies is to be written.
    fn answer(&mut self, cx: &mut Context<'_>) {
        let burst = self.connection.unsent_bytes() + BURST_BYTES;
        while self.may_answer() && self.connection.unsent_bytes() < burst {
            let (decoder, out) = self.connection.halves();
            let Some(packet) = decoder.next() else { return };
            let packet = match packet {
                Ok(packet) => packet,
                Err(why) => {
                    self.complain(&why);
                    continue;
                }
            };
            self.bad_lines = 0;
            let in_use = |tag| self.running.iter().any(|it| it.tag.as_deref() == Some(tag));
            if let Some(tag) = packet.tag
                && in_use(tag)
            {
                let failure =
                    Failure::new("conflict", "a request with this tag is not answered yet");
                encode_err(out, Some(tag), &failure.of_command(packet.name));
                continue;
            }
            let glued = packet.glued;
            match self.router.route(&self.guest, &packet, out) {
                Routed::Answered => {}
                Routed::Unreadable(why) => decoder.discard_line(why),
                Routed::Running(running) => {
                    self.running.push(running);
                    self.poll_one(self.running.len() - 1, cx);
                }
            }
            if glued {
                return;
            }
        }
    }

    fn complain(&mut self, why: &Unreadable) {
        self.bad_lines += 1;
        encode_err(self.connection.halves().1, None, &why.to_failure());
        if why.is_fatal() || self.bad_lines >= self.router.common.limits.bad_lines {
            self.stage = Stage::Closing;
        }
    }

    /// Sees which of the commands that wait are done, and appends their replies.
    fn poll_running(&mut self, cx: &mut Context<'_>) {
        let mut index = 0;
        while index < self.running.len() {
            if !self.poll_one(index, cx) {
                index += 1;
            }
        }
    }

    /// Appends the reply of one of them if it is done, or if the daemon waits for it no longer.
    fn poll_one(&mut self, index: usize, cx: &mut Context<'_>) -> bool {
        let future = self.running[index].future.as_mut();
        let result = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) if self.ending.is_overdue() => {
                Err(Failure::new("shutting-down", "the daemon ends before this is done"))
            }
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(Running::panicked(panic.as_ref())),
        };
        let done = self.running.remove(index);
        self.router.finish(&self.guest, &done, result, self.connection.halves().1);
        true
    }

    /// Gives an unfinished packet its time anew, now that a byte of it came.
    fn restart_timer(&mut self) {
        if self.unfinished.is_some() {
            self.unfinished = None;
        }
    }

    fn poll_unfinished(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.connection.decoder().is_unfinished() {
            self.unfinished = None;
            return Poll::Pending;
        }
        let limit = self.router.common.limits.packet_timeout;
        self.unfinished.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }

    fn time_out(&mut self) {
        let limit = self.router.common.limits.packet_timeout;
        let message = format!("no byte of the unfinished packet came for {limit:?}");
        let failure = Failure::new("timeout", message).with("limit", limit.as_millis() as u64);
        encode_err(self.connection.halves().1, None, &failure);
        self.stage = Stage::Closing;
    }
}

/// Answers `busy` and closes.
pub(crate) async fn turn_away(mut connection: Connection, limit: usize) {
    let failure = Failure::new("busy", format!("{limit} guests are here already"));
    encode_err(connection.halves().1, None, &failure.with("limit", limit));
    let told = async {
        connection.write().await?;
        connection.finish().await?;
        while poll_fn(|cx| connection.poll_discard(cx)).await? > 0 {}
        io::Result::Ok(())
    };
    drop(timeout(LINGER, told).await);
}
