//! Why something was not done.

use std::fmt;

use crate::{level::Level, node::Revision, path::PathError, tree::Misfit};

/// Why an operation was refused. Told in the order of the checks, so that who has no permission
/// can't tell what exists from what does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An argument has the wrong form.
    #[error("{0}")]
    BadArgument(&'static str),
    /// A path is none.
    #[error(transparent)]
    BadPath(#[from] PathError),
    /// The value is larger than one value may be.
    #[error("the value is larger than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// Nobody is logged in.
    #[error("log in first")]
    AuthRequired,
    /// A level is missing at the path, or at something below it.
    #[error("needs {}", .0.name())]
    NeedsLevel(Level),
    /// Only ROOT may.
    #[error("needs ROOT")]
    NeedsRoot,
    /// What was shown is not, or no longer, what it was shown for.
    #[error("no such user, password or token")]
    BadCredentials,
    /// A token that is limited to a path or a level can't do that.
    #[error("not with a limited token")]
    Limited,
    /// The service does not extend to that user.
    #[error("not for that user")]
    NotForThatUser,
    /// There is nothing.
    #[error("there is nothing")]
    NotFound,
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// It does not fit in there.
    #[error("the path leads through something that cannot hold it")]
    NotContainer,
    /// What had to be so is not so.
    #[error("it is not as expected")]
    Conflict {
        /// The revision that it has; 0 if there is nothing. Whoever is told may read it.
        rev: Revision,
    },
    /// The last account that may do everything.
    #[error("it is the last ROOT")]
    LastRoot,
    /// There is no such account.
    #[error("no such user")]
    NoSuchUser,
    /// More than there may be.
    #[error("more than there may be {0}")]
    Quota(&'static str),
}

impl Refusal {
    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadArgument(_) | Self::BadPath(_) => "bad-argument",
            Self::TooLarge { .. } => "too-large",
            Self::AuthRequired => "auth-required",
            Self::BadCredentials => "bad-credentials",
            Self::NeedsLevel(_) | Self::NeedsRoot | Self::Limited | Self::NotForThatUser => {
                "denied"
            }
            Self::NotFound => "not-found",
            Self::Exists => "exists",
            Self::NotContainer => "not-container",
            Self::Conflict { .. } | Self::LastRoot => "conflict",
            Self::NoSuchUser => "no-such-user",
            Self::Quota(_) => "quota",
        }
    }
}

impl From<Misfit> for Refusal {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Absent => Self::NotFound,
            Misfit::NotContainer | Misfit::InArray => Self::NotContainer,
        }
    }
}

/// A refusal, and of a batch the operation that it was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub refusal: Refusal,
    /// From 0; only of a batch.
    pub index: Option<usize>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.refusal)
    }
}
