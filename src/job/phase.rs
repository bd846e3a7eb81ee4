//! Where a job is.

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Accepted.
    Queued,
    /// The source is taken in.
    Init,
    /// The toolchain is known.
    Detect,
    /// The build runs.
    Build,
    /// Provenance is written.
    Provenance,
    /// Evidence is requested.
    Attest,
    /// It is over.
    Complete,
}
