//! The two sides of a comparison, as text.

/// What was expected, and what was there.
pub type Sides = (Option<String>, Option<String>);

/// Where nothing was compared.
pub(super) const NO_SIDES: Sides = (None, None);

/// Returns both sides of a comparison.
pub(super) fn sides(expected: impl ToString, actual: impl ToString) -> Sides {
    (Some(expected.to_string()), Some(actual.to_string()))
}

/// Returns what was there and should not be.
pub(super) fn found(actual: impl ToString) -> Sides {
    (None, Some(actual.to_string()))
}

/// Returns one side that may be missing.
pub(super) fn text(side: &Option<impl ToString>) -> Option<String> {
    side.as_ref().map(ToString::to_string)
}
