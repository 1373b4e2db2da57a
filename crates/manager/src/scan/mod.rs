//! Which process listens on which port, and who answers there.
//!
//! Three things ask. A child that starts: [`listening_of`] its tree, then [`probe()`]. A child that
//! tells its port: [`belongs_to`]. The rare look for daemons that are not ours, here in full; all
//! of this but [`probe_all`] blocks for a moment, so it belongs on a thread for that.
//!
//! ```no_run
//! # use manager::scan::*;
//! # use std::{collections::HashSet, io};
//! # async fn look(cache: &mut Cache, ours: &HashSet<u32>) -> io::Result<()> {
//! let new = cache.fresh(&listeners()?);
//! let owners = owners(&new.iter().map(|it| it.inode).collect())?;
//! let targets = cache.ask(new, &owners, ours);
//! for (socket, answer) in probe_all(targets, Limits::FOREIGN).await {
//!     if let Some(found) = cache.answered(socket.inode, answer) {
//!         // Watch `found.process`, and say `cache.gone` at its end.
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The kernel's tables and nothing else say who owns a port: an answer is a claim. No policy here,
//! no state but the [`Cache`], and nobody is ever signalled.

mod cache;
mod credential;
mod diag;
mod owner;
mod probe;
mod table;

pub use cache::{Cache, Foreign};
pub use credential::Credential;
pub use owner::{Belonging, Listening, belongs_to, listening_of, owner_of_port, owners};
pub use probe::{Limits, Probe, probe, probe_all};
pub use table::{Inode, Listener, listeners, listeners_on};
#[cfg(fuzzing)]
pub(crate) use {credential::Reply, diag::read as read_diag, table::parse as parse_table};

/// Waits for what the kernel does a moment later: a socket closed here may live on for an instant
/// in a child that another test has forked and that has not called `exec` yet.
#[cfg(test)]
fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("not within ten seconds");
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, process};

    use rustix::process::geteuid;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_daemon_is_found_by_the_kernels_word_and_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            loop {
                let (mut guest, _) = listener.accept().await.unwrap();
                let credential = format!(r#"credential ["Sample",{},{port},null]"#, process::id());
                guest.write_all(credential.as_bytes()).await.unwrap();
            }
        };
        let look = async {
            let mut cache = Cache::new(geteuid().as_raw(), HashSet::new());
            // Sockets of other programs on this machine are none of a test's business.
            let table = listeners_on(port).unwrap();
            let new = cache.fresh(&table);
            let owners = owners(&new.iter().map(|it| it.inode).collect()).unwrap();
            let targets = cache.ask(new, &owners, &HashSet::new());
            for (socket, answer) in probe_all(targets, Limits::OWN).await {
                cache.answered(socket.inode, answer);
            }
            cache.find("sample").cloned()
        };
        let found: Option<Foreign> = tokio::select! {
            found = look => found,
            never = serve => never,
        };
        let found = found.unwrap();
        assert_eq!((found.process.pid, found.socket.address.port()), (process::id(), port));
    }
}
