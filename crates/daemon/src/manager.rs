use std::{process, sync::Arc, time::Duration};

use common_tcp::{Address, CallError, ConnectError, Credential, Remote, Resolve};
use serde::Deserialize;

use crate::Environment;

/// The manager, as its daemons see it: it tells where others are.
///
/// Clones share one connection, which is made when it is needed and made again when it was lost.
#[derive(Clone, Debug)]
pub struct Manager(Arc<Remote<Address>>);

/// There is no manager to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no manager is known: `DAE_PORT` is not set")]
pub struct ManagerError;

/// A daemon that is looked for by name each time a connection is needed.
#[derive(Clone, Debug)]
pub struct ByName {
    manager: Manager,
    name: String,
}

/// What `find` tells.
#[derive(Deserialize)]
struct Found {
    name: String,
    pid: u32,
    port: u16,
}

/// How long a daemon waits for the manager to take note that it is ready.
const DEADLINE: Duration = Duration::from_secs(10);

impl Manager {
    /// The manager that started this process, by `DAE_PORT`.
    ///
    /// # Errors
    /// [`ManagerError`] when there is none.
    pub fn from_environment() -> Result<Self, ManagerError> {
        Environment::read().manager_port.map(Self::at).ok_or(ManagerError)
    }

    /// The manager on a port of this machine.
    #[must_use]
    pub fn at(port: u16) -> Self {
        Self(Arc::new(Remote::new(Address::local(port)).with_deadline(DEADLINE)))
    }

    /// The manager itself, for its own commands such as `list`.
    #[must_use]
    pub fn remote(&self) -> &Remote<Address> {
        &self.0
    }

    /// Where the daemon `name` is just now.
    ///
    /// # Errors
    /// [`CallError::Failed`] with `not-found` when none of that name runs.
    pub async fn find(&self, name: &str) -> Result<Credential, CallError> {
        let Found { name, pid, port } = self.0.call("find", &(name,)).await?;
        Ok(Credential { name, pid, port, secret: None })
    }

    /// The daemon `name`, to be called whenever it is there: it is looked for at each new
    /// connection.
    #[must_use]
    pub fn daemon(&self, name: &str) -> Remote<ByName> {
        Remote::new(ByName { manager: self.clone(), name: name.to_owned() })
    }

    /// Says that this process listens on `port`.
    pub(crate) async fn tell_ready(&self, secret: Option<String>, port: u16) {
        let told: Result<(), _> = self.0.call("ready", &(secret, port, process::id())).await;
        if let Err(error) = told {
            tracing::warn!(%error, "the manager did not take note that this daemon is ready");
        }
    }
}

impl Resolve for ByName {
    async fn resolve(&self) -> Result<Address, ConnectError> {
        match self.manager.find(&self.name).await {
            Ok(found) => Ok(Address::local(found.port)),
            Err(error) => {
                Err(ConnectError::NotFound { name: self.name.clone(), why: error.to_string() })
            }
        }
    }
}
