use std::{
    error::Error,
    fmt,
    process::{ExitCode, Termination},
};

use common_tcp::causes;

/// How a daemon's `main` ends: quietly, or with one line on stderr and exit code 1.
///
/// Any error becomes one by `?`.
#[must_use]
pub struct Outcome(Option<Box<dyn Error + Send + Sync>>);

impl Outcome {
    pub(crate) fn of<E: Error + Send + Sync + 'static>(result: Result<(), E>) -> Self {
        Self(result.err().map(Into::into))
    }

    /// Whether all went well.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.0.is_none()
    }
}

impl<E: Error + Send + Sync + 'static> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        Self::of(result)
    }
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        if self.is_ok() {
            return ExitCode::SUCCESS;
        }
        eprintln!("{self:?}");
        ExitCode::FAILURE
    }
}

/// The chain of causes on one line.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = &self.0 else { return f.write_str("ok") };
        f.write_str(&causes(&**error))
    }
}
