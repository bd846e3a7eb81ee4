//! What AMD's secure processor measures. Comes in: bytes that anybody may have made. Goes out: values of AMD's
//! documents. Never: a verdict.

pub mod measurement;
