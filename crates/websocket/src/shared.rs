use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc::UnboundedSender, watch};

use crate::{
    Access, Limits, Rules, heartbeat::Heartbeat, places::Places, queued::Queued, traffic::Traffic,
    turn::Lane, turned_away::Teller, unfinished::Unfinished, wire::Wire,
};

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    limits: RwLock<Arc<Limits>>,
    pub(crate) access: Arc<Access>,
    pub(crate) places: Arc<Places>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) queued: Arc<Queued>,
    pub(crate) unfinished: Unfinished,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) lane: Lane,
    pub(crate) turned_away: Teller,
    /// True once the server ends.
    pub(crate) ending: watch::Sender<bool>,
    /// Connections that are to be closed. Each has a place, so there are never more than those.
    closing: UnboundedSender<Box<Wire>>,
}

impl Shared {
    pub(crate) fn new(
        limits: Limits,
        rules: Rules,
        lane: Lane,
        closing: UnboundedSender<Box<Wire>>,
    ) -> Self {
        Self {
            access: Arc::new(Access::new(rules)),
            places: Arc::new(Places::new(&limits)),
            traffic: Arc::default(),
            queued: Arc::default(),
            unfinished: Unfinished::new(limits.unfinished_bytes),
            heartbeat: Heartbeat::new(),
            lane,
            ending: watch::Sender::new(false),
            closing,
            turned_away: Teller::default(),
            limits: RwLock::new(Arc::new(limits)),
        }
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.places.set_limits(&limits);
        self.unfinished.set_most(limits.unfinished_bytes);
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// Has a connection closed; it just ends where there is no server any more.
    pub(crate) fn close(&self, wire: Box<Wire>) {
        drop(self.closing.send(wire));
    }
}
