//! A daemon, reached directly where the manager tells, as its owner.

use std::{fs, path::PathBuf};

use common_tcp::{Address, CallError, Client, Reply};
use manager::token::is_token;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Console,
    manager::{Manager, read},
};
use crate::error::{Complaint, Error};

/// A connected daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    client: Client,
    key: Option<Key>,
}

/// What opens a daemon to its owner where no Unix socket does.
#[derive(Debug)]
struct Key {
    token: PathBuf,
    manager: Manager,
    /// Where it was when the connection was made.
    found: Found,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Found {
    name: String,
    pid: Option<u32>,
    port: Option<u16>,
    #[serde(default)]
    foreign: bool,
    unix: Option<PathBuf>,
}

/// What a daemon says of itself.
#[derive(Deserialize)]
struct Hello {
    auth: String,
}

impl Daemon {
    /// Finds and connects to the daemon `name`; `Dae` is the manager itself.
    pub(super) async fn find(name: &str, console: &Console) -> Result<Self, Error> {
        let manager = console.look().await?;
        if is_manager(name) {
            let client = manager.into_client();
            return Ok(Self { name: "Dae".to_owned(), client, key: None });
        }
        let found = Found::ask(&manager, name).await?;
        let (name, token) = (found.name.clone(), console.paths()?.token());
        let client = console.patient(found.connect().await?);
        let key = (!found.foreign).then_some(Key { token, manager, found });
        Ok(Self { name, client, key })
    }

    /// Sends one packet and takes the reply. A daemon of ours that asks for the token is given it.
    pub(super) async fn exchange(&self, command: &str, args: &[Value]) -> Result<Reply, Error> {
        let mut told = self.client.exchange(command, args).await;
        if is_locked(&told) && self.unlock().await {
            told = self.client.exchange(command, args).await;
        }
        told.map_err(|error| self.complaint(&error).into())
    }

    /// Says the token, if that is what the daemon wants; whether it was the right one.
    async fn unlock(&self) -> bool {
        let Some(key) = &self.key else { return false };
        let hello: Result<Hello, CallError> = self.client.call("hello", &json!([])).await;
        if !hello.is_ok_and(|it| it.auth == "token") || !key.is_still_there(&self.name).await {
            return false;
        }
        let Ok(token) = fs::read_to_string(&key.token) else { return false };
        let token = token.trim_ascii();
        is_token(token) && self.client.exchange("auth", &[token]).await.is_ok()
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

impl Key {
    /// Whether the daemon still is who it was before we connected: only then it is it, and not
    /// somebody who took the port of a dead one, that hears the token.
    async fn is_still_there(&self, name: &str) -> bool {
        Found::ask(&self.manager, name).await.is_ok_and(|it| it == self.found)
    }
}

impl Found {
    async fn ask(manager: &Manager, name: &str) -> Result<Self, Complaint> {
        let answer = manager.ask("find", &(name,)).await.map_err(|it| it.when("find it"))?;
        read(&answer)
    }

    /// Connects to the Unix socket, by which the owner needs no token, or to the port.
    async fn connect(&self) -> Result<Client, Complaint> {
        if let Some(path) = &self.unix
            && let Ok(client) = Client::connect(&Address::Unix(path.clone())).await
        {
            return Ok(client);
        }
        let name = self.name.as_str();
        let silent = || {
            Complaint::new("unavailable", format!("`{name}` listens on no port")).with("name", name)
        };
        let port = self.port.ok_or_else(silent)?;
        Client::connect(&Address::local(port)).await.map_err(|error| {
            let attempt = format!("reach `{name}`");
            Complaint::of("unavailable", &error).when(&attempt).with("name", name)
        })
    }
}

/// Whether a daemon wants to know first who we are.
fn is_locked(told: &Result<Reply, CallError>) -> bool {
    matches!(told, Err(CallError::Failed(failure)) if failure.code() == "auth-required")
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
