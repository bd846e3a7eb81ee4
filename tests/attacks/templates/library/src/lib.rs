//! What an honest build makes of every attack.

/// Says what it is.
pub fn what() -> &'static str {
    "honest"
}
