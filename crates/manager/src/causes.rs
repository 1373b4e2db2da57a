//! An error with its causes, for those who are told as text.

use std::{error::Error, iter};

/// All of them on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
