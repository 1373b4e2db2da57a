//! Why a measurement of supervisors failed.

use std::{io, path::Path, time::Duration};

use crate::{step::StepError, tools::ToolError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error(transparent)]
    Step(#[from] StepError),

    #[error("cannot {act}")]
    Io { act: String, source: io::Error },

    #[error("{who}: {missing} of {count} did not come within {waited:?}")]
    Silent { who: &'static str, missing: usize, count: usize, waited: Duration },

    #[error("{who} answered {request} with {answer}")]
    Refused { who: &'static str, request: String, answer: String },

    #[error("{who} has {found} bytes of {wanted} in its log, right up to line {line}")]
    Lost { who: &'static str, found: u64, wanted: u64, line: u64 },
}

impl MeasureError {
    /// For `map_err`: what was to be done with a file.
    pub(crate) fn io(act: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let act = format!("{act} `{}`", path.display());
        |source| Self::Io { act, source }
    }
}
