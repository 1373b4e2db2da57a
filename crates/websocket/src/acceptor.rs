use std::{future::poll_fn, pin::pin, sync::Arc};

use tokio::{
    sync::mpsc::{Receiver, UnboundedReceiver},
    task::{JoinError, JoinSet, yield_now},
    time::timeout,
};

use crate::{
    closing::{LINGER, close},
    guard::tell,
    http::{Handler, run_connection, turn_away},
    inbound::Inbound,
    limits::Limits,
    listeners::Listeners,
    shared::Shared,
    wire::Wire,
};

/// Lets people in, and sees to it that everything comes to an end.
pub(crate) struct Acceptor {
    shared: Arc<Shared>,
    handler: Arc<Handler>,
    closing: UnboundedReceiver<Box<Wire>>,
    entering: Receiver<Inbound>,
    tasks: JoinSet<()>,
}

/// So many are let in before those who are here have their turn.
const GROUP: u32 = 16;

impl Acceptor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        handler: Arc<Handler>,
        closing: UnboundedReceiver<Box<Wire>>,
        entering: Receiver<Inbound>,
    ) -> Self {
        Self { shared, handler, closing, entering, tasks: JoinSet::new() }
    }

    pub(crate) async fn run(
        mut self,
        mut listeners: Listeners,
        requested: impl Future<Output = ()>,
    ) {
        let shared = Arc::clone(&self.shared);
        let (mut heartbeat, mut requested) = (pin!(shared.heartbeat.run()), pin!(requested));
        let mut come = 0_u32;
        loop {
            // What is kept is polled again; all else is cancel safe.
            tokio::select! {
                inbound = poll_fn(|cx| listeners.poll_accept(cx)) => {
                    self.receive(inbound);
                    come = come.wrapping_add(1);
                    if come.is_multiple_of(GROUP) {
                        yield_now().await;
                    }
                }
                Some(inbound) = self.entering.recv() => self.receive(inbound),
                Some(wire) = self.closing.recv() => self.close(wire),
                Some(done) = self.tasks.join_next() => note(done),
                () = &mut heartbeat => {}
                () = &mut requested => break,
            }
        }
        drop(listeners);
        self.entering.close();
        self.end().await;
    }

    fn receive(&mut self, inbound: Inbound) {
        let shared = Arc::clone(&self.shared);
        match shared.places.take(inbound.link.peer.map(|it| it.ip())) {
            Some(place) => {
                self.tasks.spawn(run_connection(inbound, place, shared, Arc::clone(&self.handler)));
            }
            None => self.turn_away(inbound, "too many connections"),
        }
    }

    fn turn_away(&mut self, inbound: Inbound, why: &'static str) {
        self.shared.traffic.answered(503);
        if let Some(place) = self.shared.places.take_for_turning_away() {
            self.tasks.spawn(turn_away(inbound, why, Arc::clone(&self.shared), place));
        }
    }

    fn close(&mut self, wire: Box<Wire>) {
        self.tasks.spawn(close(wire));
    }

    async fn end(mut self) {
        let shared = Arc::clone(&self.shared);
        shared.ending.send_replace(true);
        while let Some(inbound) = self.entering.recv().await {
            self.turn_away(inbound, "the server ends");
        }
        let limits = shared.limits();
        let mut closing = pin!(shared.heartbeat.close_all(limits.end_code, limits.drain));
        let mut has_closed = false;
        let gone = async {
            while !has_closed || !self.tasks.is_empty() || !self.closing.is_empty() {
                // What is kept is polled again; all else is cancel safe.
                tokio::select! {
                    () = &mut closing, if !has_closed => has_closed = true,
                    Some(wire) = self.closing.recv() => self.close(wire),
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
