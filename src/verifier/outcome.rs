//! The outcome of one check.
//!
//! * In: what a check found, and which checks the reader waives.
//! * Out: pass, rejection, or a rejection that does not count.
//! * Never: a waived rejection that nothing may waive.

use super::expectations::{Expectations, Waivable};
use super::rejection::Rejection;
use super::result::Outcome;

/// Returns the outcome of a check that cannot be waived: pass or rejection.
pub fn outcome(found: Result<(), Rejection>) -> Outcome {
    found.map_or_else(Outcome::Reject, |()| Outcome::Pass)
}

/// Returns the outcome of a check that can be waived: pass, rejection, or a waived one.
pub fn waivable(
    check: Waivable,
    found: Result<(), Rejection>,
    expectations: &Expectations,
) -> Outcome {
    let may_be_waived = found.as_ref().err().is_none_or(Rejection::is_waivable);
    if may_be_waived && expectations.waived.contains(&check) {
        Outcome::Waived(found.err())
    } else {
        outcome(found)
    }
}
