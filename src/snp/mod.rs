//! What AMD's secure processor measures and signs. Comes in: bytes that anybody may have made. Goes out: values of AMD's
//! documents. Never: a verdict.

#[cfg(feature = "cli")]
pub mod igvm;
pub mod measurement;
pub mod report;
#[cfg(feature = "cli")]
pub mod roots;
#[cfg(feature = "appraisal")]
pub mod tcb;
