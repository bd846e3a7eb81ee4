//! A stand-in for the secure processor, for people without the hardware and for tests. Comes in: report data. Goes out:
//! reports and certificates in AMD's shapes, under a root made for the occasion. Never: in the image. This room is compiled
//! under the feature `simulator` only, and what it signs is worth nothing to a verifier that was not told to trust its root.
//!
//! | part | file |
//! |---|---|
//! | whom a processor passes for | `identity` |
//! | the root and the certificates below it | `hierarchy` |
//! | the signing core, an attester within the process, and its folder | `processor` |
//! | the certificate table as a host hands it over | `table` |
//! | the guest device's requests, over a caller's memory | `guest_device` |
//! | the kernel's protocol for devices that a program offers | `cuse` |
//! | what a test machine gets beside its image | `segment` |

pub mod cuse;
mod guest_device;
mod hierarchy;
mod identity;
mod processor;
pub mod segment;
mod table;

use std::io;
use std::path::PathBuf;

pub use guest_device::GuestDevice;
pub use hierarchy::{Hierarchy, RSA_BITS};
pub use identity::{HandedOver, Identity, Key};
pub use processor::{Faults, Processor};

/// What every binary with this room says of itself, and no other does.
pub const MARKER: &str = "kettle simulated secure processor, trusted by nobody";

/// Why there is no simulated secure processor.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A key could not be made.
    #[error("no RSA key")]
    Rsa(#[from] rsa::Error),
    /// A certificate could not be signed.
    #[error("no signature")]
    Signature(#[from] rsa::signature::Error),
    /// A certificate could not be encoded.
    #[error("no certificate")]
    Certificate(#[from] der::Error),
    /// A public key could not be encoded.
    #[error("no public key")]
    PublicKey(#[from] rsa::pkcs8::spki::Error),
    /// The kernel gives no random bytes.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The description of the processor cannot be read.
    #[error("{}", path.display())]
    Description {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A member of the description is malformed.
    #[error("{name} is not {expected}")]
    Member {
        /// The member.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// For `map_err`.
fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SimulatorError {
    let path = path.into();
    move |source| SimulatorError::File { path, source }
}
