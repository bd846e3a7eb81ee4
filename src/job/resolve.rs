//! Defines the check of a ref before a job is accepted for it.
//!
//! * In: a URL and a ref, of a request that is valid otherwise.
//! * Out: nothing, or the reason why no job could fetch them.
//! * Never: an internal cause in the words for the caller.

use std::error::Error;
use std::pin::Pin;

use super::line::sanitise;
use crate::causes::Chain;
use crate::source::repository::RepositoryError;

/// A future that finds out whether a ref can be resolved.
pub type Resolving = Pin<Box<dyn Future<Output = Result<(), ResolveError>>>>;

/// The reason why a ref was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The repository or the ref cannot be used: the reason for the caller.
    #[error("{0}")]
    Refused(String),
    /// There was an internal error.
    #[error("a ref could not be resolved")]
    Internal(#[source] Box<dyn Error>),
}

impl From<RepositoryError> for ResolveError {
    fn from(error: RepositoryError) -> Self {
        if error.is_fault() {
            Self::Internal(error.into())
        } else {
            // Git repeats what it was given and told, so the message is made inert.
            Self::Refused(sanitise(&Chain(&error).to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Exit;

    #[test]
    fn a_reason_has_no_control_characters() {
        let error = RepositoryError::Git {
            action: "list the refs",
            exit: Exit::Status(128),
            said: Some("not found\u{1b}[31m".to_owned()),
        };
        assert_eq!(
            ResolveError::from(error).to_string(),
            "git could not list the refs: not found\\u{1b}[31m"
        );
    }
}
