//! A library and nothing else.

/// An answer.
pub fn answer() -> i32 {
    42
}
