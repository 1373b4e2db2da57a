use std::{future::poll_fn, pin::pin, sync::Arc};

use tokio::{
    sync::mpsc::{Receiver, UnboundedReceiver},
    task::{JoinError, JoinSet, yield_now},
    time::timeout,
};

use crate::{
    guard::tell,
    house::House,
    http::{Handler, turn_away, visit},
    limits::Limits,
    listeners::Listeners,
    parting::{LINGER, part},
    visitor::Visitor,
    wire::Wire,
};

/// Lets people in, and sees to it that everything comes to an end.
pub(crate) struct Reception {
    house: Arc<House>,
    handler: Arc<Handler>,
    parting: UnboundedReceiver<Box<Wire>>,
    entering: Receiver<Visitor>,
    tasks: JoinSet<()>,
}

/// So many are let in before those who are here have their turn.
const GROUP: u32 = 16;

impl Reception {
    pub(crate) fn new(
        house: Arc<House>,
        handler: Arc<Handler>,
        parting: UnboundedReceiver<Box<Wire>>,
        entering: Receiver<Visitor>,
    ) -> Self {
        Self { house, handler, parting, entering, tasks: JoinSet::new() }
    }

    pub(crate) async fn run(
        mut self,
        mut listeners: Listeners,
        requested: impl Future<Output = ()>,
    ) {
        let house = Arc::clone(&self.house);
        let (mut pulse, mut requested) = (pin!(house.pulse.run()), pin!(requested));
        let mut come = 0_u32;
        loop {
            // What is kept is polled again; all else is cancel safe.
            tokio::select! {
                visitor = poll_fn(|cx| listeners.poll_accept(cx)) => {
                    self.receive(visitor);
                    come = come.wrapping_add(1);
                    if come.is_multiple_of(GROUP) {
                        yield_now().await;
                    }
                }
                Some(visitor) = self.entering.recv() => self.receive(visitor),
                Some(wire) = self.parting.recv() => self.part(wire),
                Some(done) = self.tasks.join_next() => note(done),
                () = &mut pulse => {}
                () = &mut requested => break,
            }
        }
        drop(listeners);
        self.entering.close();
        self.end().await;
    }

    fn receive(&mut self, visitor: Visitor) {
        let house = Arc::clone(&self.house);
        match house.places.take(visitor.link.peer.map(|it| it.ip())) {
            Some(place) => {
                self.tasks.spawn(visit(visitor, place, house, Arc::clone(&self.handler)));
            }
            None => self.turn_away(visitor, "too many connections"),
        }
    }

    fn turn_away(&mut self, visitor: Visitor, why: &'static str) {
        self.house.traffic.answered(503);
        if let Some(place) = self.house.places.take_for_turning_away() {
            self.tasks.spawn(turn_away(visitor, why, Arc::clone(&self.house), place));
        }
    }

    fn part(&mut self, wire: Box<Wire>) {
        self.tasks.spawn(part(wire));
    }

    async fn end(mut self) {
        let house = Arc::clone(&self.house);
        house.ending.send_replace(true);
        while let Some(visitor) = self.entering.recv().await {
            self.turn_away(visitor, "the server ends");
        }
        let limits = house.limits();
        let mut closing = pin!(house.pulse.close_all(limits.end_code, limits.drain));
        let mut has_closed = false;
        let gone = async {
            while !has_closed || !self.tasks.is_empty() || !self.parting.is_empty() {
                // What is kept is polled again; all else is cancel safe.
                tokio::select! {
                    () = &mut closing, if !has_closed => has_closed = true,
                    Some(wire) = self.parting.recv() => self.part(wire),
                    Some(done) = self.tasks.join_next() => note(done),
                }
            }
        };
        if timeout(longest_end(&limits), gone).await.is_err() {
            tracing::warn!("some connections were still busy at the end");
            self.tasks.shutdown().await;
        }
    }
}

/// How long the end may take: the last is closed, answers what it has read, takes the close and
/// answers it, and its last bytes arrive.
fn longest_end(limits: &Limits) -> std::time::Duration {
    limits.drain + 2 * limits.closing + LINGER
}

fn note(done: Result<(), JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        tell(panic);
    }
}
