use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The one signal that goes down the tree when a daemon ends.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A shutdown, and the hand that requests it by sending `true` (or by being dropped).
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the daemon is to end. Cancel safe.
    pub async fn requested(&mut self) {
        // An error means that the serving end is gone, which is the end as well.
        drop(self.0.wait_for(|requested| *requested).await);
    }

    /// Whether the daemon is to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn signal() {
        let hear = |kind| signal(kind).expect("these two signals can be handled");
        let (mut terminate, mut interrupt) =
            (hear(SignalKind::terminate()), hear(SignalKind::interrupt()));
        // Both are cancel safe.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
