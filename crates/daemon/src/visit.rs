use std::{
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use common_tcp::{Connection, Decoder, Failure, Unreadable, encode_err};
use tokio::{
    sync::SemaphorePermit,
    time::{Sleep, sleep, timeout},
};

use crate::{
    Guest,
    budget::{Budget, Share},
    pace::Pace,
    router::{Routed, Router, Running},
    serve::Ending,
    standing::Standing,
    strangers::{Strangers, woken},
    turn::{Lane, Turn},
};

/// One guest's connection from its first byte to its last: reads, routes, and alone writes.
///
/// Everything that one read brought is answered before anything is written, and then it is one
/// write.
pub(crate) struct Visit<'a, S> {
    router: &'a Router<S>,
    ending: &'a Ending,
    budget: &'a Budget,
    lane: &'a Lane,
    strangers: &'a Strangers,
    guest: Guest,
    connection: Connection,
    turn: Turn,
    events: Events,
    standing: Standing,
    pace: Pace,
    share: Share,
    /// How many bytes had got to it when its share was noted last.
    noted: u64,
    /// Commands that wait: at most one without a tag, behind which nothing is read.
    running: Vec<Running<'a>>,
    bad_lines: u32,
    stage: Stage,
    /// Who is woken when there is something to send.
    listening: Option<Waker>,
    /// Runs while a packet is unfinished.
    unfinished: Option<Pin<Box<Sleep>>>,
    /// Runs while a guest that may not be idle is.
    idle: Option<Pin<Box<Sleep>>>,
    /// Runs while requests, or the end, are held up by what is not read; began when so much was
    /// written.
    held_up: Option<(u64, Pin<Box<Sleep>>)>,
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
    /// Nobody is there to answer; what was begun is done all the same.
    Lost,
}

/// Whether events are among what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    None,
    Taken,
    Waited,
}

/// Until when a visit could go on without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The guest has had its turn, and there is more to do for it.
    HadItsTurn,
    /// All is answered and written.
    Answered,
    /// Nobody was there any more.
    Lost,
}

/// What a command that waits costs, about, with what its daemon keeps of it.
const COMMAND_BYTES: usize = 1 << 10;

/// So much is put out at once before it is written.
const TAKEN_BYTES: usize = 32 << 10;

/// Events of fewer bytes may wait a moment for more.
const FEW_BYTES: usize = 1 << 10;

/// How long the last bytes are given to be read before the connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

impl<'a, S: 'static> Visit<'a, S> {
    pub(crate) fn new(
        router: &'a Router<S>,
        ending: &'a Ending,
        budget: &'a Budget,
        lane: &'a Lane,
        strangers: &'a Strangers,
        guest: Guest,
        connection: Connection,
    ) -> Self {
        Self {
            router,
            ending,
            budget,
            lane,
            strangers,
            guest,
            connection,
            turn: Turn::sprint(),
            events: Events::None,
            standing: Standing::default(),
            pace: Pace::default(),
            share: Share::default(),
            noted: 0,
            running: Vec::new(),
            bad_lines: 0,
            stage: Stage::Open,
            listening: None,
            unfinished: None,
            idle: None,
            held_up: None,
        }
    }

    /// Serves the guest until the connection is over; what the kernel says of that interests
    /// nobody.
    pub(crate) async fn run(mut self) {
        let mut wants_more = false;
        let last = loop {
            let (begin, place) = self.line_up(wants_more).await;
            let polled = poll_fn(|cx| Poll::Ready(self.take_turn(begin(), cx))).await;
            drop(place);
            wants_more = polled == Poll::Ready(Step::HadItsTurn);
            match polled {
                Poll::Pending => woken().await,
                Poll::Ready(Step::HadItsTurn) => {}
                Poll::Ready(step) => break step,
            }
        };
        // A crowd may go at once: nobody who is here waits for all of them.
        drop(self.lane.wait().await);
        match last {
            Step::Lost => self.strangers.charge_now(|| drop(self.connection)),
            _ => part(self.connection, self.lane, self.strangers).await,
        }
    }

    /// Waits for the next turn: how it begins, and the place that the guest has meanwhile.
    async fn line_up(&mut self, wants_more: bool) -> (fn() -> Turn, Option<SemaphorePermit<'a>>) {
        let place = self.line_up_as_stranger().await;
        if wants_more || place.is_some() {
            self.guest.set_patient(true);
        }
        match place {
            Some(_) => (Turn::of_stranger, place),
            None if wants_more => (Turn::full, Some(self.lane.wait().await)),
            None => (Turn::sprint, None),
        }
    }

    /// Who is known need not wait, and who is evicted must not keep what it keeps until then.
    async fn line_up_as_stranger(&mut self) -> Option<SemaphorePermit<'a>> {
        if self.standing.is_known() {
            return None;
        }
        let mut waits = pin!(self.strangers.wait());
        poll_fn(|cx| match self.guest.is_evicted() {
            true => Poll::Ready(None),
            false => waits.as_mut().poll(cx),
        })
        .await
    }

    fn take_turn(&mut self, turn: Turn, cx: &mut Context<'_>) -> Poll<Step> {
        self.turn = turn;
        let strangers = self.strangers;
        if self.standing.is_known() {
            strangers.note_known(self.turn.now());
            return self.poll(cx);
        }
        strangers.charge_now(|| self.poll(cx))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.listen(cx.waker());
        let polled = self.advance(cx);
        match polled {
            Poll::Pending | Poll::Ready(Step::HadItsTurn) => self.note_share(),
            Poll::Ready(_) => self.budget.release(&mut self.share),
        }
        polled
    }

    /// Is woken from now on when there is something to send.
    fn listen(&mut self, waker: &Waker) {
        if !self.listening.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.guest.outbox().listen(waker);
            self.listening = Some(waker.clone());
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.stage != Stage::Lost {
            match ready!(self.serve(cx)) {
                Ok(step) => return Poll::Ready(step),
                Err(_) => self.lose(),
            }
        }
        self.carry_out(cx)
    }

    /// Reads, answers and writes until there is something to wait for.
    fn serve(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        loop {
            if self.guest.take_eviction() {
                self.clear_out()?;
            }
            if self.turn.is_over() {
                return Poll::Ready(Ok(Step::HadItsTurn));
            }
            // What was said before a command was done goes out before its reply.
            // Where they have no room, both wait for it.
            let ran_all = self.take_events() || self.poll_running(cx);
            self.answer(cx);
            self.note_ending();
            let has_events = self.take_events();
            if self.waits_for_more(cx) {
                return Poll::Pending;
            }
            let wrote_all = self.connection.poll_write(cx)?.is_ready();
            let may_go_on = self.may_answer() && self.connection.decoder().has_next();
            if may_go_on || has_events && wrote_all || !ran_all && self.may_run() {
                continue;
            }
            if wrote_all && self.is_over() {
                return Poll::Ready(Ok(Step::Answered));
            }
            // Nothing that was read is left unanswered here, so what is read does not pile up.
            if !self.may_answer() || self.stage != Stage::Open {
                ready!(self.poll_lost(wrote_all, cx));
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            match self.connection.poll_read(cx, self.turn.most_read())? {
                Poll::Ready(0) => self.stage = Stage::Ended,
                Poll::Ready(_) => self.restart_timer(),
                Poll::Pending => {
                    self.note_rest(wrote_all);
                    if self.poll_unfinished(cx).is_ready() {
                        self.time_out();
                    } else if self.poll_idle(cx).is_ready() {
                        self.give_up();
                    } else {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// All that came is answered.
    fn note_rest(&mut self, wrote_all: bool) {
        if wrote_all && self.running.is_empty() && !self.connection.decoder().is_unfinished() {
            self.standing.note_rest();
        }
        self.guest.set_patient(false);
    }

    /// Where nothing is read: waits until nobody is there any more to answer.
    fn poll_lost(&mut self, wrote_all: bool, cx: &mut Context<'_>) -> Poll<()> {
        match wrote_all {
            true => self.connection.poll_gone(cx),
            false => self.poll_held_up(cx),
        }
    }

    /// Nobody is there to answer any more: who only waits has nothing to wait for.
    fn lose(&mut self) {
        self.stage = Stage::Lost;
        self.standing.note_misdeed();
        self.running.retain(|running| !running.only_waits());
        *self.connection.decoder() = Decoder::default();
    }

    /// What was begun and does more than to wait is done all the same.
    fn carry_out(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            self.connection.forget_unsent();
            if self.poll_running(cx) {
                break;
            }
        }
        match self.running.is_empty() {
            true => Poll::Ready(Step::Lost),
            false => Poll::Pending,
        }
    }

    /// Results that are not read keep a place, and hold up the commands behind them, which may hold
    /// up others, or the end: not for ever. Who must leave is not waited for longer because it
    /// reads a little.
    fn poll_held_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_parting = self.running.is_empty() && self.stage == Stage::Closing;
        let is_full = self.connection.unsent_bytes() >= self.router.common.limits.unsent_bytes;
        if !is_parting && !is_full {
            self.held_up = None;
            return Poll::Pending;
        }
        let written = self.connection.written_bytes();
        let has_moved = self.held_up.as_ref().is_some_and(|(then, _)| *then != written);
        if has_moved && !self.guest.is_dismissed() {
            self.held_up = None;
        }
        let limit = self.router.common.limits.packet_timeout;
        let begin = || (written, Box::pin(sleep(limit)));
        self.held_up.get_or_insert_with(begin).1.as_mut().poll(cx)
    }

    /// Tells the budget what the guest makes us keep.
    fn note_share(&mut self) {
        // What another door keeps of it has not got to the guest.
        let kept = self.connection.kept_bytes();
        let taken = self.connection.written_bytes().wrapping_sub(kept as u64);
        let moved = std::mem::replace(&mut self.noted, taken) != taken;
        let bytes = self.connection.decoder().held_bytes()
            + self.connection.unsent_bytes()
            + kept
            + self.running.len() * COMMAND_BYTES
            + self.guest.outbox().held_bytes();
        self.budget.note(&self.guest, &mut self.share, bytes, moved);
    }

    /// Gives up what the guest makes us keep, and tells it if it reads what it is told.
    fn clear_out(&mut self) -> io::Result<()> {
        // Counted once more, it would be younger than those who have done nothing.
        self.guest.outbox().clear();
        if self.connection.unsent_bytes() > 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.standing.note_misdeed();
        *self.connection.decoder() = Decoder::default();
        self.running.retain(|running| !running.only_waits());
        let limit = self.router.common.limits.waiting_bytes;
        let message = "all guests together make the daemon keep too much, and this one for longest";
        let failure = Failure::new("busy", message).with("limit", limit);
        encode_err(self.connection.halves().1, None, &failure);
        self.stage = Stage::Closing;
        Ok(())
    }

    /// Whether nothing more is to be answered.
    fn is_over(&mut self) -> bool {
        let read_out = match self.stage {
            Stage::Open => false,
            Stage::Ended => !self.connection.decoder().has_next(),
            Stage::Closing | Stage::Lost => true,
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

    /// A few events wait once until everybody else who is ready has had a turn: what that brings
    /// leaves with them, and each time costs a system call for everybody who is told.
    fn waits_for_more(&mut self, cx: &Context<'_>) -> bool {
        let waits = self.events == Events::Taken && self.connection.unsent_bytes() < FEW_BYTES;
        self.events = if waits { Events::Waited } else { Events::None };
        if waits {
            cx.waker().wake_by_ref();
        }
        waits
    }

    /// Puts events behind the replies; true if some are left for the next time.
    fn take_events(&mut self) -> bool {
        let outbox = self.guest.outbox();
        if !outbox.has_news() {
            return false;
        }
        if self.events == Events::None {
            self.events = Events::Taken;
        }
        self.connection.take_room();
        outbox.take(self.connection.halves().1, TAKEN_BYTES)
    }

    fn may_answer(&self) -> bool {
        let limits = &self.router.common.limits;
        self.stage != Stage::Closing
            && !self.guest.is_leaving()
            && self.connection.unsent_bytes() < limits.unsent_bytes
            && self.running.len() < limits.pipeline
            && self.running.iter().all(|running| running.tag.is_some())
    }

    /// Whether commands that wait may go on: what they return has to be kept.
    fn may_run(&self) -> bool {
        let limits = &self.router.common.limits;
        self.connection.unsent_bytes() < limits.unsent_bytes + limits.result_bytes
    }

    /// Answers what has been read, until the guest has had its turn.
    fn answer(&mut self, cx: &mut Context<'_>) {
        self.connection.take_room();
        let enough = self.connection.unsent_bytes() + TAKEN_BYTES;
        while self.may_answer()
            && !self.turn.is_over()
            && self.connection.unsent_bytes() < enough
            && self.answer_one(cx)
        {}
    }

    /// Answers the next packet; false if there is none, or if what is read must be written first.
    fn answer_one(&mut self, cx: &mut Context<'_>) -> bool {
        let (decoder, out) = self.connection.halves();
        decoder.limit_packets(self.router.common.packet_bytes(&self.guest));
        let packet = match decoder.next() {
            None => return false,
            Some(Ok(packet)) => packet,
            Some(Err(why)) => {
                self.complain(&why);
                return true;
            }
        };
        (self.bad_lines, self.idle) = (0, None);
        if let Some(rate) = self.router.common.rate(&self.guest)
            && !self.pace.allows(rate, self.turn.now())
        {
            let message = format!("at most {} requests a second", rate.per_second);
            let failure = Failure::new("rate-limited", message).with("limit", rate.per_second);
            encode_err(out, packet.tag, &failure.of_command(packet.name));
            return true;
        }
        let in_use = |tag| self.running.iter().any(|it| it.tag.as_deref() == Some(tag));
        if let Some(tag) = packet.tag
            && in_use(tag)
        {
            let failure = Failure::new("conflict", "a request with this tag is not answered yet");
            encode_err(out, Some(tag), &failure.of_command(packet.name));
            return true;
        }
        let glued = packet.glued;
        match self.router.route(&self.guest, &packet, out) {
            Routed::Answered => self.standing.note_answer(),
            Routed::Failed => {}
            Routed::Unreadable(why) => decoder.discard_line(why),
            Routed::Running(running) => {
                self.running.push(running);
                self.poll_one(self.running.len() - 1, cx);
            }
        }
        !glued
    }

    fn complain(&mut self, why: &Unreadable) {
        self.bad_lines += 1;
        self.standing.note_misdeed();
        encode_err(self.connection.halves().1, None, &why.to_failure());
        if why.is_fatal() || self.bad_lines >= self.router.common.limits.bad_lines {
            self.stage = Stage::Closing;
        }
    }

    /// Sees which of the commands that wait are done, and appends their replies; false if some were
    /// not looked at.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> bool {
        let mut index = 0;
        while index < self.running.len() && self.may_run() {
            if !self.poll_one(index, cx) {
                index += 1;
            }
        }
        index == self.running.len()
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
        if self.router.finish(&self.guest, &done, result, self.connection.halves().1) {
            self.standing.note_answer();
        } else if self.guest.was_refused() {
            self.standing.note_misdeed();
        }
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

    /// Waits until a guest that is not authenticated has been idle for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.router.common.idle(&self.guest).filter(|_| self.running.is_empty());
        let Some(limit) = limit else {
            self.idle = None;
            return Poll::Pending;
        };
        self.idle.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }

    fn give_up(&mut self) {
        let limit = self.router.common.idle(&self.guest).unwrap_or_default();
        let message = format!("nothing was asked for {limit:?}, and nobody is logged in");
        let failure = Failure::new("timeout", message).with("limit", limit.as_millis() as u64);
        encode_err(self.connection.halves().1, None, &failure);
        self.stage = Stage::Closing;
    }

    fn time_out(&mut self) {
        self.standing.note_misdeed();
        let limit = self.router.common.limits.packet_timeout;
        let message = format!("no byte of the unfinished packet came for {limit:?}");
        let failure = Failure::new("timeout", message).with("limit", limit.as_millis() as u64);
        encode_err(self.connection.halves().1, None, &failure);
        self.stage = Stage::Closing;
    }
}

/// Answers `busy` and closes.
pub(crate) async fn turn_away(
    mut connection: Connection,
    lane: &Lane,
    strangers: &Strangers,
    limit: usize,
) {
    let failure = Failure::new("busy", format!("{limit} guests are here already"));
    encode_err(connection.halves().1, None, &failure.with("limit", limit));
    if let Ok(Ok(())) = timeout(LINGER, strangers.charge(connection.write())).await {
        part(connection, lane, strangers).await;
    }
}

/// Ends our direction and reads on until the guest's ends, for a while, and closes: to close with
/// unread bytes would destroy replies that are still on their way.
///
/// It waits for credit only to read on: a place is free as soon as can be, and who wants to leave
/// often must have been let in as often.
async fn part(mut connection: Connection, lane: &Lane, strangers: &Strangers) {
    let parting = async {
        strangers.charge(connection.finish()).await?;
        strangers.discard(&mut connection, lane).await
    };
    drop(timeout(LINGER, parting).await);
    strangers.charge_now(|| drop(connection));
}
