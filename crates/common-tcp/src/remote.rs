use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{Address, CallError, Client, ConnectError, Events, Reply};

/// Where a daemon is just now.
pub trait Resolve: Send + Sync {
    /// Finds the daemon; asked anew before each connection.
    fn resolve(&self) -> impl Future<Output = Result<Address, ConnectError>> + Send;
}

impl Resolve for Address {
    async fn resolve(&self) -> Result<Self, ConnectError> {
        Ok(self.clone())
    }
}

/// A daemon that may go away and come back: connects when it is called, and again when it has been
/// lost.
///
/// A request that did not leave is repeated until the deadline. One that may have reached the
/// daemon is not, since it may have been carried out: the caller is told [`CallError::Lost`] and
/// decides.
#[derive(Debug)]
pub struct Remote<R> {
    place: R,
    deadline: Duration,
    client: Mutex<Option<Client>>,
}

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

impl<R: Resolve> Remote<R> {
    /// A daemon that is looked for at `place`. Connects to nothing yet.
    pub fn new(place: R) -> Self {
        Self { place, deadline: Duration::from_secs(10), client: Mutex::new(None) }
    }

    /// The same with another limit on how long a call waits, all attempts together.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Calls a command and reads its result; `()` where it has none.
    ///
    /// # Errors
    /// As [`Client::call`]; [`CallError::Connect`] when no connection came about until the
    /// deadline.
    pub async fn call<T: DeserializeOwned>(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.exchange(command, args).await?.result(command)
    }

    /// Calls a command and hands out the reply as it came.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn exchange(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, CallError> {
        let until = Instant::now() + self.deadline;
        loop {
            match self.client(command, until).await?.exchange(command, args).await {
                Err(CallError::Lost { sent: false, .. }) if Instant::now() + PAUSE < until => {
                    sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Starts a stream, which ends with the connection that it was started on.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn stream<T: DeserializeOwned>(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<(T, Events), CallError> {
        let until = Instant::now() + self.deadline;
        self.client(command, until).await?.stream(command, args).await
    }

    /// The client of a living connection, with the time that is left.
    async fn client(&self, command: &str, until: Instant) -> Result<Client, CallError> {
        // Others may be connecting just now, and who resolves may have a patience of its own.
        let Ok(connected) = timeout_at(until, self.connected(until)).await else {
            return Err(CallError::TimedOut { command: command.to_owned(), after: self.deadline });
        };
        let left = until.saturating_duration_since(Instant::now());
        Ok(connected?.with_deadline(left.max(PAUSE)))
    }

    /// Tries until a connection comes about.
    async fn connected(&self, until: Instant) -> Result<Client, ConnectError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_lost()) {
            return Ok(client.clone());
        }
        loop {
            let again = Instant::now() + PAUSE;
            match self.connect().await {
                Ok(client) => return Ok(slot.insert(client).clone()),
                Err(error) if again >= until => return Err(error),
                Err(_) => sleep_until(again).await,
            }
        }
    }

    async fn connect(&self) -> Result<Client, ConnectError> {
        Client::connect(&self.place.resolve().await?).await
    }
}
