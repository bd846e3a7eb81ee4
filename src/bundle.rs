//! (being written)

/// Written bundle.
#[derive(Debug)]
pub struct Packed;
