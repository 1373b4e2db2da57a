use std::{error::Error, iter};

/// An error and all that caused it on one line, each behind a colon: for a log, or for who is told
/// as text.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
