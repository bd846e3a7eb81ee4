//! Shows an error together with its causes.
//!
//! * In: an error.
//! * Out: the error and its causes, one by one or on one line.
//! * Never: a cause that is left out.

use std::error::Error;
use std::fmt;

/// Returns the error, its cause, the cause of its cause, and so on.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Displays an error with its causes on one line.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        causes(self.0)
            .skip(1)
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn every_cause_is_said_once_in_order() {
        let error = Link(
            "no bundle",
            Some(Link("no room", Some(Link("disk full", None).into())).into()),
        );
        assert_eq!(Chain(&error).to_string(), "no bundle: no room: disk full");
        assert_eq!(causes(&error).count(), 3);
        assert_eq!(Chain(&Link("alone", None)).to_string(), "alone");
    }
}
