//! An appliance that proves which source a binary was built from, and the verifier for its bundles.
//!
//! Two pipelines, each flowing one way. Every stage of the build takes the receipt of the stage
//! before it and returns its own. A receipt has private fields and cannot be copied, so that no
//! stage can be skipped, repeated or run out of order.
//!
//! | stage | receipt | room |
//! |---|---|---|
//! | receive | [`job::Request`] | [`api`] |
//! | take the source in | [`source::SourceTree`] | [`source`] |
//! | detect the toolchain | [`toolchain::Detected`] | [`toolchain`] |
//! | fetch dependencies (network, last time) | [`toolchain::Fetched`] | [`toolchain`] |
//! | build (no network) | [`toolchain::Built`] | [`toolchain`] |
//! | state what happened | [`provenance::Statement`] | [`provenance`] |
//! | attest | [`attester::Evidence`] | [`attester`] |
//! | pack | the bundle | [`bundle`] |
//!
//! The constructor of a receipt is in the room of its type, and private to that room. There are
//! three exceptions, which the whole crate can see: `Request::new`, `Statement::new` and
//! `Evidence::about`. `tests/imports.rs` lists their callers, and the examples beside the types
//! show that no code outside the crate can call them. Constructors for tests are called
//! `test_only_…`; `kettle-init` contains none of them.
//!
//! The verifier has a receipt too: it appraises only `verifier::VerifiedEvidence`, whose report an
//! endorsed key has signed. In [`boot`] each phase takes the receipt of the one before it.
//!
//! # Features
//!
//! Each binary is built with its own feature only, so that it contains the code that it runs and
//! nothing else.
//!
//! | feature | what it adds | binary |
//! |---|---|---|
//! | `appliance` | boot, the service, the pipeline and the sandbox | `kettle-init`, PID 1 of the image |
//! | `modules` | `appliance`, with the modules of another kernel (`image/debian`) | `kettle-init` |
//! | `host` | the search for a toolchain, a sandbox that may lack something, the list of limits | `kettle-host` |
//! | `cli` | the verifier, the client, and the display of bundles for people | `kettle` |
//! | `simulator` | a stand-in for the secure processor | `kettle-simulator` |
//! | `web` | the verifier for browsers, with its own cryptography | `kettle.wasm` |
//!
//! `appraisal` is the part that all readers of reports and bundles share, and `verifier` the part
//! that `cli` and `web` share.
//!
//! # Terminology
//!
//! Words are those of RATS (RFC 9334), SLSA v1, in-toto v1 and AMD's documents 56860 and 57230.
//!
//! | word | meaning here |
//! |---|---|
//! | attester | the role that makes evidence: the guest, through the AMD secure processor |
//! | evidence | the attestation report, with the certificates that the host passed |
//! | paravisor | Microsoft's program at the guest's highest privilege on Azure, which keeps the machine's TPM |
//! | quote | the structure that this TPM signs: its registers, and up to 50 bytes that the caller chooses |
//! | nonce | 1 to 16 bytes chosen by the client, for freshness |
//! | statement | the in-toto Statement in `provenance.json`, whose bytes are signed |
//! | subject | one artifact with its digest |
//! | statement key | signs one statement for other tools; the statement names its public half |
//! | bundle | the gzip tar that a client downloads |
//! | job | the one build of this machine |
//! | phase | a part of a job that ran under one set of permissions |

pub mod causes;
pub mod digest;
pub mod dsse;
pub mod json;
pub mod name;
pub mod provenance;
pub mod snp;
pub mod tar_header;
pub mod text;

#[cfg(feature = "appliance")]
pub mod api;
#[cfg(feature = "appliance")]
pub mod attester;
#[cfg(feature = "appliance")]
mod blocking;
#[cfg(feature = "appliance")]
pub mod boot;
#[cfg(feature = "appliance")]
pub mod clock;
#[cfg(feature = "appliance")]
pub mod error_type;
#[cfg(feature = "appliance")]
pub mod job;
#[cfg(feature = "appliance")]
pub mod memory;
#[cfg(feature = "appliance")]
mod netlink;
#[cfg(feature = "appliance")]
mod presence;
#[cfg(feature = "appliance")]
pub mod sandbox;
#[cfg(feature = "appliance")]
pub mod sbom;
#[cfg(feature = "appliance")]
pub mod service;
#[cfg(feature = "appliance")]
pub mod source;
/// The one file of this room that a client needs too.
#[cfg(all(feature = "client", not(feature = "appliance")))]
pub mod source {
    pub mod tree;
}
#[cfg(feature = "appliance")]
pub mod toolchain;

#[cfg(feature = "simulator")]
pub mod simulator;

pub mod bundle;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "verifier")]
pub mod crypto;
#[cfg(feature = "cli")]
pub mod inspect;
#[cfg(feature = "cli")]
pub mod kds;
#[cfg(feature = "cli")]
pub mod uki;
#[cfg(feature = "verifier")]
pub mod verifier;
#[cfg(feature = "web")]
pub mod web;
