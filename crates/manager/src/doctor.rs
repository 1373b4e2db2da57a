//! Whether everything is sound that the manager stands on: its files, its lock, its limits, and
//! whether what it says is what the kernel says.
//!
//! Looks and changes nothing; each failure comes with the command that mends it. Works with a
//! manager and without.

mod daemons;
mod files;
mod keeper;
mod lock;
mod registry;
mod sockets;
mod system;

use std::time::Duration;

use common_tcp::{Address, Client, Credential};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::lock::holder as lock_holder;
use crate::{paths::Paths, proc::Pid};

/// How long a manager may take that is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found about one thing, as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is sound.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// Something is as it should be.
    fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into(), fix: None }
    }

    /// Something is not, and `fix` mends it.
    fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into(), fix: Some(fix.into()) }
    }

    /// All that is wrong about one thing, or that it is sound.
    fn all(name: &'static str, wrong: Vec<Self>, sound: impl Into<String>) -> Vec<Self> {
        if wrong.is_empty() { vec![Self::pass(name, sound)] } else { wrong }
    }
}

/// Checks everything. The manager may call it about itself: it is asked like by anybody else.
pub async fn run(paths: &Paths) -> Vec<Check> {
    let manager = Manager::ask(paths).await;
    let pid = manager.as_ref().map(|it| it.pid);
    [
        files::directories(paths),
        files::secrets(paths),
        vec![lock::check(paths, pid)],
        registry::check(paths, manager.as_ref()),
        registry::programs(paths),
        files::stale(paths, pid.is_some()),
        vec![system::descriptors(pid), system::cgroup(pid), system::clock(paths)],
        manager.as_ref().map(|it| keeper::check(paths, &it.keeper)).unwrap_or_default(),
        manager.as_ref().map(|it| sockets::check(&it.daemons)).unwrap_or_default(),
        manager.map(|it| daemons::check(&it.daemons)).unwrap_or_default(),
    ]
    .concat()
}

/// What a running manager says.
struct Manager {
    pid: Pid,
    /// `ok`, or what it had to do to load the registry.
    registry: Option<String>,
    /// What it says of its keeper.
    keeper: Value,
    /// All daemons, as it lists them.
    daemons: Vec<Value>,
}

impl Manager {
    /// The manager's own words; nothing if none answers in time.
    async fn ask(paths: &Paths) -> Option<Self> {
        let client = Client::connect(&Address::Unix(paths.socket())).await.ok()?;
        let client = client.with_deadline(PATIENCE);
        let who: Credential = client.exchange("dae", &json!([])).await.ok()?.parse().ok()?;
        let daemons = client.call("list", &json!([{ "all": true, "own": true }])).await;
        let status: Option<Value> = client.call("status", &json!([])).await.ok();
        let own = status.map(|mut it| it["manager"].take()).unwrap_or_default();
        let registry = own["registry"].as_str().map(str::to_owned);
        let keeper = own["keeper"].clone();
        Some(Self { pid: who.pid, registry, keeper, daemons: daemons.unwrap_or_default() })
    }
}
