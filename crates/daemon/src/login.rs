//! What a wrong password costs, whichever command takes it: a second, and the third time the
//! connection.

use std::time::Duration;

use common_tcp::Failure;
use tokio::time::sleep;

use crate::{
    Guest,
    handler::{Later, Ran},
};

/// After a refused attempt, so that trying many costs time.
const PAUSE: Duration = Duration::from_secs(1);

/// At this many refused attempts the connection closes.
const REFUSALS: u32 = 3;

/// Begins an attempt, or says why none may begin.
///
/// Counted before it is decided, so that attempts side by side are no more than those in a row.
pub(crate) fn begin(guest: &Guest) -> Result<(), Failure> {
    if guest.attempt() <= REFUSALS {
        return Ok(());
    }
    guest.forget_attempt();
    Err(Failure::new("denied", "too many attempts at once"))
}

/// Has what came of an attempt wait if it was refused.
pub(crate) fn guarded<'a>(guest: &Guest, ran: Ran<'a>) -> Ran<'a> {
    match ran {
        Ran::Done(Err(failure)) if is_refusal(&failure) => {
            let guest = guest.clone();
            Ran::Later(Box::pin(async move { refused(&guest, failure).await }))
        }
        Ran::Later(future) => Ran::Later(decided(guest.clone(), future)),
        Ran::Done(_) | Ran::Misfit(_) => {
            guest.forget_attempt();
            ran
        }
    }
}

fn decided(guest: Guest, attempt: Later<'_>) -> Later<'_> {
    Box::pin(async move {
        match attempt.await {
            Err(failure) if is_refusal(&failure) => refused(&guest, failure).await,
            result => {
                guest.forget_attempt();
                result
            }
        }
    })
}

async fn refused(guest: &Guest, failure: Failure) -> Result<Vec<u8>, Failure> {
    if guest.refuse() >= REFUSALS {
        guest.leave();
    }
    sleep(PAUSE).await;
    Err(failure)
}

fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.code(), "denied" | "bad-credentials")
}
