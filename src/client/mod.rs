//! Sends HTTP requests to other machines: to an appliance, which is verified before it learns
//! anything, and to AMD's key service.
//!
//! * In: an address, a source to build, and the key that a verifier accepted.
//! * Out: the events of a build and its bundle, as unverified bytes.
//! * Never: a byte of source to a key that was not pinned, a redirect that is followed, the
//!   resolver of the C library, or a verdict.
//!
//! # From an address to a bundle
//!
//! A build of `kettle` goes through these steps. The client does the networking; all verification
//! is done by its caller, between the steps.
//!
//! 1. An [`Address`] becomes an [`UnverifiedMachine`]. Its evidence can be requested, and nothing
//!    else. TLS accepts any key here, and remembers which one it was.
//! 2. The caller verifies the evidence for that key.
//! 3. [`UnverifiedMachine::pinned`] turns the machine into an [`Appliance`]. From now on each
//!    handshake compares the server's key with the pinned one *before* the request is written, so
//!    that a machine which takes over the address later gets nothing.
//! 4. [`Appliance::submit`] sends the [`Submission`]. The archive of a directory was made before by
//!    [`Listing::of`] and [`pack()`].
//! 5. [`Appliance::follow`] reports events until the last one; [`Appliance::download`] writes the
//!    bundle to a file and compares it with the announced digest. Whether the bundle is worth
//!    anything is for the caller to verify.
//!
//! Each request has its own connection: nothing is reused, and TLS sessions are not resumed, since
//! a resumed session shows no key. Behind an address there may be a pool of machines. A `Target`
//! leads the connections of one build to the same one; if that fails, the handshake does, because
//! the key is another one. A request that was cut is repeated as long as its [`Retries`] allow: a
//! submission under the same nonce, events after the last one that arrived, a download from the
//! next byte.
//!
//! | file | purpose |
//! |---|---|
//! | `address` | parses the argument of `--to` |
//! | `names` | resolves names by `/etc/hosts` and `/etc/resolv.conf` |
//! | `proxy` | proxies of the environment |
//! | `trust` | which TLS keys are accepted: any, one, or those that the web's authorities signed |
//! | `target` | which of several machines at one address is meant |
//! | `connect`, `request` | one connection for one request |
//! | `unverified`, `appliance` | requests before the key is verified, and after |
//! | `form`, `events`, `download` | the body of a submission, progress, the bundle |
//! | `retry` | how long failed requests are repeated, and after which pauses |
//! | `random` | random bytes |
//! | `listing`, `pack` | which files of a directory are sent, and the archive of them |

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
mod proxy;
mod random;
mod request;
mod retry;
mod target;
mod trust;
mod unverified;

pub use address::{Address, AddressError};
pub use appliance::{Accepted, Appliance, Refusal, Submission, SubmissionSource, SubmitError};
pub use download::{Download, MAX_DOWNLOAD_BYTES};
pub use error::ClientError;
pub use events::Event;
pub use listing::{ChosenBy, Listing, ListingError};
pub use pack::{PackError, Packed, pack};
pub use request::Client;
pub use retry::{Backoff, Observer, Retries};
pub use trust::web_roots;
pub use unverified::{KeyEvidence, UnverifiedMachine};
