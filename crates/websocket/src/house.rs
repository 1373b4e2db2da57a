use std::sync::Arc;

use tokio::sync::{mpsc::UnboundedSender, watch};

use crate::{Access, Limits, places::Places, pulse::Pulse, turn::Lane, wire::Wire};

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) limits: Limits,
    pub(crate) access: Arc<Access>,
    pub(crate) places: Arc<Places>,
    pub(crate) pulse: Pulse,
    pub(crate) lane: Lane,
    /// True once the server ends.
    pub(crate) ending: watch::Sender<bool>,
    /// Connections that are to be closed. Each has a place, so there are never more than those.
    pub(crate) parting: UnboundedSender<Box<Wire>>,
}

impl House {
    /// Has a connection closed; it just ends where there is no server any more.
    pub(crate) fn part(&self, wire: Box<Wire>) {
        drop(self.parting.send(wire));
    }
}
