//! Names the phases of a job.
//!
//! * In: the events of the job, each of which may begin a phase.
//! * Out: a [`Phase`].
//! * Never: a word of any client's view.

/// The phase that a job is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The job has been accepted.
    Queued,
    /// The source is fetched, or its inputs are checked.
    Init,
    /// The toolchain has been detected.
    Detect,
    /// The build command is running.
    Build,
    /// The provenance is being written.
    Provenance,
    /// The evidence is being requested.
    Attest,
    /// The job has ended.
    Complete,
}
