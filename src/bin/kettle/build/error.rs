//! Names why `kettle build` built or verified nothing.
//!
//! * In: the errors of every step, and refusals by machines.
//! * Out: the message, the exit status, and whether another attempt can help.
//! * Never: a verdict: a rejection is a result.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kettle::client::{Address, AddressError, ClientError, Refusal, SubmitError};

use super::super::verify::UsageError;
use super::machine::MachineError;
use super::out_directory::OutDirectoryError;
use super::source::SourceError;
use super::{NO_FREE_MACHINE, USAGE};

/// The code of a machine's refusal if its platform has no evidence.
const NO_EVIDENCE: &str = "AttestationUnavailable";

/// Why nothing was built or verified.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum BuildError {
    #[error(transparent)]
    Usage(Box<UsageError>),
    #[error("no appliance: give --to https://HOST, set {variable}, or start one with --launch")]
    NoAddress { variable: &'static str },
    #[error("--to")]
    Address(#[from] AddressError),
    #[error(
        "{address} speaks plaintext: evidence binds a TLS key, so the address needs https://; \
         a process on a host takes --insecure-no-evidence"
    )]
    Plaintext { address: Address },
    #[error("a token for a repository is for TLS only: in plaintext everybody could read it")]
    Token,
    #[error("{} has no token", path.display())]
    EmptyToken { path: PathBuf },
    #[error("the source cannot be sent")]
    Source(#[from] SourceError),
    #[error("--out")]
    OutDirectory(#[from] OutDirectoryError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Refused(Refusal),
    #[error(
        "this machine has no evidence about itself, and got nothing of the source ({0}); a \
         process on a host takes --insecure-no-evidence"
    )]
    NoEvidence(Refusal),
    #[error(
        "the machine is taken, perhaps by this very build, whose confirmation was lost and which \
         the machine does not recognise ({0}); start another machine"
    )]
    Lost(Refusal),
    #[error("no machine responds")]
    Nobody(#[source] ClientError),
    #[error("no free machine at {address} within {seconds} s (--wait)")]
    NoFreeMachine {
        address: Address,
        seconds: u64,
        source: Box<BuildError>,
    },
    #[error("--launch")]
    Machine(#[from] MachineError),
    #[error("the address of the machine that was launched")]
    LaunchedAddress(#[source] AddressError),
    #[error("the machine does not serve within {seconds} s (--wait)")]
    Silent {
        seconds: u64,
        source: Box<BuildError>,
    },
    #[error("the kernel returned no random numbers")]
    Random(#[source] io::Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
}

impl From<UsageError> for BuildError {
    fn from(error: UsageError) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<SubmitError> for BuildError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Client(error) => Self::Client(error),
            SubmitError::Refused(refusal) if refusal.error_type == NO_EVIDENCE => {
                Self::NoEvidence(refusal)
            }
            SubmitError::Refused(refusal) if refusal.status == 409 && refusal.may_be_ours => {
                Self::Lost(refusal)
            }
            SubmitError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl BuildError {
    /// Converts an error of the first request, which only asks for evidence. A connection that
    /// fails means that no machine responds.
    pub fn of_first_request(error: impl Into<SubmitError>) -> Self {
        match error.into() {
            SubmitError::Client(error) if error.is_transient() => Self::Nobody(error),
            error => error.into(),
        }
    }

    /// Returns how long to wait at least before another attempt, if another machine or a later time
    /// can help: the machine is taken, busy or missing. A machine that refuses was verified before.
    pub fn shortest_pause(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) if matches!(refusal.status, 409 | 429 | 503) => {
                Some(refusal.retry_after.unwrap_or_default())
            }
            Self::Nobody(_) => Some(Duration::ZERO),
            _ => None,
        }
    }

    /// Returns the exit status of `kettle build` for this error.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::NoFreeMachine { .. } => NO_FREE_MACHINE,
            _ => USAGE,
        }
    }
}
