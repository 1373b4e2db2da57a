//! Sample: a memory that other daemons share. The daemon to copy from.
//!
//! ```console
//! $ dae install Sample ./target/release/sample
//! $ dae call Sample set key 5
//! $ dae call Sample get key
//! 5
//! ```

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use daemon::Daemon;
use serde_json::Value;

/// What the daemons that share this memory have put into it.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Value>>);

impl Memory {
    /// Everything in memory.
    fn all(&self) -> BTreeMap<String, Value> {
        self.lock().clone()
    }

    /// Puts `value` at `key`, over what was there.
    fn set(&self, key: String, value: Value) {
        self.lock().insert(key, value);
    }

    /// The value at `key`, or null.
    fn get(&self, key: String) -> Option<Value> {
        self.lock().get(&key).cloned()
    }

    /// Forgets everything.
    fn reset(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[rustfmt::skip] // A table: one row a command.
#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    Daemon::with_state("Sample", Memory::default())
        .command("all", Memory::all).reply("memory").help("Everything in memory")
        .command("set", Memory::set).args(["key", "value"]).help("Puts a value at a key")
        .command("get", Memory::get).args(["key"]).help("The value at a key, or null")
        .command("reset", Memory::reset).help("Forgets everything")
        .run()
        .await
}
