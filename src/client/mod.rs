//! Asks other machines over HTTP: an appliance, which is verified before it is told anything, and
//! AMD's key service.
//!
//! - Comes in: an address, what to build, and the key that a verifier accepted.
//! - Goes out: the events of a build and its bundle, as unverified bytes.
//! - Never: a byte of source to a key that was not pinned, a redirect followed, the resolver of the
//!   C library, or a verdict.
//!
//! | file | what |
//! |---|---|
//! | `address` | what `--to` takes |
//! | `names` | names to addresses, by `/etc/hosts` and `/etc/resolv.conf` |
//! | `proxy` | proxies of the environment |
//! | `trust` | which TLS keys are taken: any, one, or those that the web's authorities signed |
//! | `target` | which of several machines at one address is meant |
//! | `connect`, `request` | one connection for one request |
//! | `stranger`, `appliance` | what may be asked before the key is verified, and after it |
//! | `form`, `events`, `download` | the body of a submission, progress, the bundle |
//! | `patience` | how often something that was cut is tried again, and after which pauses |
//! | `random` | random bytes |
//! | `listing`, `pack` | which files of a folder are sent, and the archive of them |
//!
//! A [`Stranger`] can be asked for evidence and for nothing else. Only [`Stranger::pinned`] makes an
//! [`Appliance`] of it, and every connection of that one is compared with the key it was given.

mod address;
mod appliance;
mod connect;
mod download;
mod error;
mod events;
mod form;
mod listing;
mod names;
mod pack;
mod patience;
mod proxy;
mod random;
mod request;
mod stranger;
mod target;
mod trust;

pub use address::{Address, AddressError};
pub use appliance::{Accepted, Appliance, Refusal, Submission, SubmissionSource, SubmitError};
pub use download::{Download, MAX_DOWNLOAD_BYTES};
pub use error::ClientError;
pub use events::Event;
pub use listing::{ChosenBy, Listing, ListingError};
pub use pack::{PackError, Packed, pack};
pub use patience::{Backoff, Patience, Watch};
pub use request::Client;
pub use stranger::{Introduction, Stranger};
pub use trust::web_roots;
