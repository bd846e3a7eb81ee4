//! The two sides of a comparison, as text for a rejection.

/// The expected side of a comparison, and the actual one.
pub type Sides = (Option<String>, Option<String>);

/// The sides of a rejection in which nothing was compared.
pub(super) const NO_SIDES: Sides = (None, None);

/// Returns both sides of a comparison.
pub(super) fn sides(expected: impl ToString, actual: impl ToString) -> Sides {
    (Some(expected.to_string()), Some(actual.to_string()))
}

/// Returns the actual side alone, for something that should not be there.
pub(super) fn found(actual: impl ToString) -> Sides {
    (None, Some(actual.to_string()))
}

/// Returns one side of a comparison that may be missing.
pub(super) fn text(side: &Option<impl ToString>) -> Option<String> {
    side.as_ref().map(ToString::to_string)
}
