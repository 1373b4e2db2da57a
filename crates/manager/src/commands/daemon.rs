//! A daemon, reached directly at the port that the manager tells.

use common_tcp::{Address, CallError, Client, Reply};
use serde::Deserialize;
use serde_json::Value;

use super::{Console, manager::read};
use crate::error::{Complaint, Error};

/// A connected daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    client: Client,
}

#[derive(Deserialize)]
struct Found {
    name: String,
    port: Option<u16>,
}

impl Daemon {
    /// Finds and connects to the daemon `name`; `Dae` is the manager itself.
    pub(super) async fn find(name: &str, console: &Console) -> Result<Self, Error> {
        let manager = console.look().await?;
        if is_manager(name) {
            return Ok(Self { name: "Dae".to_owned(), client: manager.into_client() });
        }
        let answer = manager.ask("find", &(name,)).await.map_err(|it| it.when("find it"))?;
        let Found { name, port } = read(&answer)?;
        let Some(port) = port else {
            let silent = Complaint::new("unavailable", format!("`{name}` listens on no port"));
            return Err(silent.with("name", name).into());
        };
        match Client::connect(&Address::local(port)).await {
            Ok(client) => Ok(Self { client: console.patient(client), name }),
            Err(error) => Err(Complaint::of("unavailable", &error)
                .when(&format!("reach `{name}`"))
                .with("name", name)
                .into()),
        }
    }

    /// Sends one packet and takes the reply.
    pub(super) async fn exchange(&self, command: &str, args: &[Value]) -> Result<Reply, Error> {
        self.client.exchange(command, args).await.map_err(|error| self.complaint(&error).into())
    }

    fn complaint(&self, error: &CallError) -> Complaint {
        let complaint = match error {
            CallError::Failed(failure) => {
                let told = format!("`{}` answered: {}", self.name, failure.message());
                Complaint::relayed(failure, told)
            }
            CallError::TimedOut { .. } => Complaint::of("timeout", error),
            _ => Complaint::of("unavailable", error),
        };
        complaint.with("name", self.name.as_str())
    }
}

impl Console {
    /// A client that waits as long as `--timeout` says.
    fn patient(&self, client: Client) -> Client {
        match self.timeout {
            Some(timeout) => client.with_deadline(timeout),
            None => client,
        }
    }
}

/// Whether `name` is the manager's own.
pub(super) fn is_manager(name: &str) -> bool {
    name.eq_ignore_ascii_case("Dae")
}
