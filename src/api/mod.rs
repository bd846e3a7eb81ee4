//! (being written)

pub mod submission;
