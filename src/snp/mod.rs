//! What AMD's secure processor measures and signs. Comes in: bytes that anybody may have made. Goes out: values of AMD's
//! documents. Never: a verdict.

pub mod measurement;

#[cfg(any(feature = "cli", feature = "simulator"))]
pub mod report;
#[cfg(feature = "cli")]
pub mod roots;
#[cfg(any(feature = "cli", feature = "simulator"))]
pub mod tcb;
