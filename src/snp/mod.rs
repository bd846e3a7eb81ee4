//! The structures that AMD's secure processor measures and signs.
//!
//! * In: bytes from anybody.
//! * Out: the values in them, by the names of AMD's documents.
//! * Never: a verdict.
//!
//! # From a firmware image to a report
//!
//! `report` is a view of the 1184 bytes that the secure processor signs. It returns fields, and
//! judges none: the verifier does that after it has verified the signature. `tcb` reads the packed
//! versions in a report, whose layout depends on the product, so each reading needs one.
//!
//! `measurement` calculates the launch measurement that such a report should have, without a
//! machine. `firmware` reads the sections that an OVMF image wants the host to add, `boot` builds
//! the page of kernel hashes, `vmsa` the page with a vCPU's first registers. `launch` adds these
//! pages to a running digest (`digest`) in the order in which a host adds them. The result is one
//! `Chain` for each vCPU type: three digests, from which the measurement for every number of vCPUs
//! follows. Published reference values are such chains, so the verifier recomputes measurements and
//! needs no firmware.
//!
//! `igvm` writes the same pages as one file for hosts that take such files, and measures files.
//! `roots` has AMD's certificates. The image itself contains only the part of `report` and
//! `measurement` that the attester needs.

#[cfg(feature = "cli")]
pub mod igvm;
pub mod measurement;
pub mod report;
#[cfg(feature = "verifier")]
pub mod roots;
#[cfg(feature = "appraisal")]
pub mod tcb;
