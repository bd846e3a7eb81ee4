//! A simulated secure processor, for people without the hardware and for tests.
//!
//! * In: the 64 bytes of report data.
//! * Out: reports and certificates in AMD's formats, under a root that was generated for them.
//! * Never: in the image. This room is compiled under the feature `simulator` only, and a verifier
//!   accepts its signatures only if its user trusts this root explicitly.
//!
//! | part | file |
//! |---|---|
//! | the product, key and chip that a processor imitates | `identity` |
//! | the root and the certificates below it | `hierarchy` |
//! | the signing core, an attester within the process, and its directory | `processor` |
//! | the certificate table as a host provides it | `table` |
//! | the guest device's requests, over a caller's memory | `guest_device` |
//! | the kernel's protocol for devices that a program offers | `cuse` |
//! | the report that Azure's paravisor leaves in a TPM | `paravisor` |
//! | the files that a test machine gets beside its image | `segment` |
//!
//! # Two ways to a report
//!
//! [`Processor`] has the key and the certificates. It signs a report for any report data, and its
//! directory keeps all of it, so that several programs can be one processor. A service on a host
//! calls it directly, as an `Attester`: no device is involved.
//!
//! In a test machine, the image's unchanged PID 1 opens the guest device and sends it requests.
//! There `cuse` offers a device of that name to the kernel, and passes each request to
//! [`GuestDevice`]. The kernel copies only the parts of the caller's memory that the device names,
//! so each request takes several rounds, and `GuestDevice` keeps no state between them: every round
//! starts from the bytes that the kernel copied. The last round asks the processor.
//!
//! The table of certificates (`table`) and the requests are written here a second time, apart from
//! the attester's readers, so that each side shows the mistakes of the other.

pub mod cuse;
mod guest_device;
mod hierarchy;
mod identity;
mod paravisor;
mod processor;
pub mod segment;
mod table;

use std::io;
use std::path::PathBuf;

pub use guest_device::GuestDevice;
pub use hierarchy::{Hierarchy, RSA_BITS};
pub use identity::{HandedOver, Identity, Key};
pub use paravisor::hcl_report;
pub use processor::{Faults, Processor, SignedLaunch};

/// The text that every binary with this room contains, and no other does.
pub const MARKER: &str = "kettle simulated secure processor, trusted by nobody";

/// Why no simulated secure processor can be generated, opened or saved.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum SimulatorError {
    #[error("an RSA key cannot be generated")]
    Rsa(#[from] rsa::Error),
    #[error("a certificate cannot be signed")]
    Signature(#[from] rsa::signature::Error),
    #[error("a certificate cannot be encoded")]
    Certificate(#[from] der::Error),
    #[error("a public key cannot be encoded")]
    PublicKey(#[from] rsa::pkcs8::spki::Error),
    #[error("the kernel gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The description of the processor cannot be read.
    #[error("{}", path.display())]
    Description {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{name} is not {expected}")]
    Member {
        name: &'static str,
        expected: &'static str,
    },
}

/// Returns a function for `map_err` that names the file.
fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SimulatorError {
    let path = path.into();
    move |source| SimulatorError::File { path, source }
}
