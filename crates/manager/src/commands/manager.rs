//! The manager, as a command reaches it: over its Unix socket, which needs no token.

use std::time::Duration;

use common_tcp::{Address, Client, Reply};
use manager::paths::Paths;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json, value::RawValue};

use super::Console;
use crate::error::{Complaint, Error};

/// How long a manager may take that only has to look something up.
const LOOKING: Duration = Duration::from_secs(10);

/// How long it may take that starts or stops something, unless `--timeout` says otherwise. It knows
/// the limits of each daemon and answers; this only ends a script that everybody has forgotten.
const DOING: Duration = Duration::from_secs(24 * 60 * 60);

/// What the manager is given beyond `--timeout` to say itself that time is over.
const LATE: Duration = Duration::from_secs(2);

/// A running manager.
#[derive(Debug)]
pub(super) struct Manager(Client);

impl Console {
    /// The manager, for a command that only looks something up.
    pub(super) async fn look(&self) -> Result<Manager, Error> {
        Manager::connect(&self.paths()?, self.timeout.unwrap_or(LOOKING)).await
    }

    /// The manager, for a command that takes the time of daemons.
    pub(super) async fn act(&self) -> Result<Manager, Error> {
        let patience = self.timeout.map_or(DOING, |it| it.saturating_add(LATE));
        Manager::connect(&self.paths()?, patience).await
    }

    /// The options of a command on the wire, with `--timeout` if it was given.
    pub(super) fn with_timeout(&self, mut options: Map<String, Value>) -> Map<String, Value> {
        let ms = self.timeout.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        options.extend(ms.map(|it| ("timeout".to_owned(), json!(it))));
        options
    }
}

impl Manager {
    /// Connects to the manager that has `paths`; each call waits for at most `patience`.
    pub(super) async fn connect(paths: &Paths, patience: Duration) -> Result<Self, Error> {
        match Client::connect(&Address::Unix(paths.socket())).await {
            Ok(client) => Ok(Self(client.with_deadline(patience))),
            Err(error) => Err(Complaint::unconnected(&error).into()),
        }
    }

    /// Runs a command and takes its result as it came, so that `--json` can hand it on.
    pub(super) async fn ask(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Box<RawValue>, Complaint> {
        self.0.call(command, args).await.map_err(|error| Complaint::unanswered(&error))
    }

    /// Runs a command and takes the whole reply.
    pub(super) async fn exchange(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, Complaint> {
        self.0.exchange(command, args).await.map_err(|error| Complaint::unanswered(&error))
    }

    /// The connection itself.
    pub(super) fn into_client(self) -> Client {
        self.0
    }
}

/// Reads a result of the manager.
pub(super) fn read<T: DeserializeOwned>(result: &RawValue) -> Result<T, Complaint> {
    serde_json::from_str(result.get())
        .map_err(|error| Complaint::of("unexpected", &error).when("understand the manager"))
}
