//! What a child says of itself: that it listens, and where.

use std::time::Duration;

use common_tcp::Failure;
use serde_json::Value;
use tokio::time::Instant;

use super::{Manager, entry::Entry, listing, request::Answer};
use crate::{
    child::{Event, State},
    name::Name,
    proc,
    scan::{self, Belonging},
};

/// How soon the kernel is asked again about a daemon that said that it listens, and did not: that
/// takes a look at all its processes, and it could say so without end.
const AGAIN: Duration = Duration::from_millis(100);

impl Manager {
    /// A child says that it listens: believed if the kernel says so too.
    pub(super) fn heard_ready(&mut self, secret: &str, port: u16, answer: Answer) {
        let is_it = |entry: &Entry| entry.secret.as_deref() == Some(secret);
        let found = self.entries.iter_mut().find(|(_, entry)| is_it(entry));
        let Some((name, entry)) = found else {
            let failure = Failure::new("denied", "no spawn of this manager has this secret");
            return answer.send(Err(failure));
        };
        let (name, state) = (name.clone(), entry.child.state());
        // One that is up without a port, since its readiness is no port's matter, may tell it now.
        if let State::Up { port: Some(known), .. } | State::Sick { port: Some(known), .. } = state {
            return answer.send(heard_again(&name, known, port));
        }
        match state.pid() {
            Some(pid) => answer.send(self.check_ready(&name, pid, port)),
            // It was faster than the keeper's report about it.
            None if matches!(state, State::Starting { .. }) => {
                entry.announced = Some((port, answer));
            }
            None => {
                let message = format!("`{name}` is {state}");
                answer.send(Err(listing::about("unavailable", &name, message)));
            }
        }
    }

    pub(super) fn check_ready(
        &mut self,
        name: &Name,
        pid: u32,
        port: u16,
    ) -> Result<Value, Failure> {
        let name = name.clone();
        if self.entries.get(&name).and_then(|it| it.denied).is_some_and(|at| at.elapsed() < AGAIN) {
            let message = format!("`{name}` was just looked at and did not listen where it said");
            return Err(listing::about("busy", &name, message).with("hint", "say it again soon"));
        }
        let ready = self.look_whether_ready(&name, pid, port);
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.denied = ready.is_err().then(Instant::now);
        }
        ready
    }

    fn look_whether_ready(&mut self, name: &Name, pid: u32, port: u16) -> Result<Value, Failure> {
        let name = name.clone();
        let tree = proc::tree(pid)?;
        match scan::belongs_to(port, &tree)? {
            Belonging::Tree(_) => {
                self.step(&name, Event::Ready { pid, port: Some(port), note: None });
                Ok(Value::Null)
            }
            Belonging::Stranger(_) => {
                let owner = scan::owner_of_port(port)?.unwrap_or_default();
                let what = format!("port {port} belongs to pid {owner}, not to `{name}`");
                self.step(&name, Event::Found { pid, what: what.clone() });
                Err(Failure::new("denied", what).with("owner", owner))
            }
            Belonging::Nobody => {
                let what = format!("nobody listens on port {port}");
                self.step(&name, Event::Found { pid, what: what.clone() });
                Err(Failure::new("denied", what))
            }
        }
    }
}

/// What a child is told that is ready already. The kernel is not asked again: nothing would come of
/// it, and whoever can connect to the child knows its secret and could keep the manager busy.
fn heard_again(name: &Name, known: u16, port: u16) -> Result<Value, Failure> {
    if known == port {
        return Ok(Value::Null);
    }
    let message = format!("`{name}` is ready already, on port {known}");
    Err(listing::about("conflict", name, message))
}
