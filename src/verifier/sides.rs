//! The two sides of a comparison, as text.

/// What was expected, and what was there.
pub type Sides = (Option<String>, Option<String>);

/// Returns both sides of a comparison.
pub(super) fn sides(expected: impl ToString, actual: impl ToString) -> Sides {
    (Some(expected.to_string()), Some(actual.to_string()))
}
