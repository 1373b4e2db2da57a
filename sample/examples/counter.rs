//! Counter: a daemon that uses another one. It keeps its count in `Sample`, which it finds by name.
//!
//! ```console
//! $ cargo build --release --examples
//! $ dae install Counter ./target/release/examples/counter
//! $ dae call Counter count
//! 1
//! ```
//!
//! `Sample` may be killed, and so may the manager: the next `count` finds it again. Only a request
//! that was under way is reported as lost, since nobody can know whether it was carried out.

use daemon::{ByName, Daemon, Failure, Manager, Remote};
use serde_json::Value;

/// The key of the count in `Sample`.
const KEY: &str = "count";

/// Whom the counter talks to.
struct Counter {
    manager: Manager,
    sample: Remote<ByName>,
}

impl Counter {
    /// One more; the new count. Two that count at once may count the same, since `Sample` has no
    /// `add`.
    async fn count(&self) -> Result<u64, Failure> {
        let count = self.sample.call::<Option<u64>>("get", &(KEY,)).await?.unwrap_or_default() + 1;
        self.sample.call::<()>("set", &(KEY, count)).await?;
        Ok(count)
    }

    /// The names of the daemons that run.
    async fn neighbours(&self) -> Result<Vec<Value>, Failure> {
        let mut listed: Vec<Value> = self.manager.remote().call("list", &()).await?;
        Ok(listed.iter_mut().map(|entry| entry["name"].take()).collect())
    }

    /// Finds `Sample` so many times over one connection; the median and the 99th percentile in
    /// microseconds.
    async fn measure(&self, times: usize) -> Result<[u64; 2], Failure> {
        let mut took = Vec::with_capacity(times);
        for _ in 0..times.clamp(1, 100_000) {
            let before = tokio::time::Instant::now();
            self.manager.find("Sample").await?;
            took.push(u64::try_from(before.elapsed().as_micros())?);
        }
        took.sort_unstable();
        Ok([took[took.len() / 2], took[took.len() * 99 / 100]])
    }
}

#[rustfmt::skip] // A table: one row a command.
#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    let manager = match Manager::from_environment() {
        Ok(manager) => manager,
        Err(error) => return Err(error).into(),
    };
    let sample = manager.daemon("Sample");
    Daemon::with_state("Counter", Counter { manager, sample })
        .command("count", Counter::count).help("One more; tells the new count")
        .command("neighbours", Counter::neighbours).help("The names of the daemons that run")
        .command("measure", Counter::measure).args(["times"]).help("How long `find` takes: median and 99th percentile in µs")
        .run()
        .await
}
