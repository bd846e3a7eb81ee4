//! Sends requests to a machine that nobody has verified.
//!
//! * In: an address and a nonce.
//! * Out: the machine's evidence, and the key whose possession it proved while it sent that.
//! * Never: any part of a submission.

use hyper::StatusCode;

use super::address::Address;
use super::appliance::{Appliance, Refusal, SubmitError};
use super::error::ClientError;
use super::request::{Client, Reply};
use super::retry::{Observer, Retries};
use super::target::Target;
use super::trust;
use crate::provenance::Nonce;

/// Longest evidence about a TLS key, in bytes.
pub const MAX_KEY_EVIDENCE_BYTES: usize = 256 << 10;

/// A machine that was not verified. Its evidence and key can be requested, and nothing else.
#[derive(Debug)]
pub struct UnverifiedMachine(Client);

/// The evidence of a machine that was not verified, and its key.
#[derive(Debug)]
pub struct KeyEvidence {
    /// The response to `GET /attestation`.
    pub document: Vec<u8>,
    /// DER SubjectPublicKeyInfo of the key whose possession the machine proved on this connection.
    pub public_key: Vec<u8>,
}

impl UnverifiedMachine {
    /// Returns a machine at `address`. If several machines share the address, each call may return
    /// another one.
    ///
    /// # Errors
    /// TLS cannot be set up, or the kernel returns no random numbers.
    pub fn new(address: Address) -> Result<Self, ClientError> {
        let target = Target::one_machine(address)?;
        Ok(Self(Client::of_target(target, trust::of_any_key()?)))
    }

    /// Requests evidence about the machine's TLS key.
    ///
    /// # Errors
    /// The machine returns no evidence, or shows no key.
    pub async fn request_evidence(
        &self,
        nonce: &Nonce,
        retries: &mut Retries,
        observer: &mut dyn Observer,
    ) -> Result<KeyEvidence, SubmitError> {
        let path = format!("/attestation?nonce={nonce}");
        loop {
            match self.whole(&path).await {
                Ok((reply, document)) if reply.status == StatusCode::OK => {
                    let public_key = self.key_of(&reply)?;
                    return Ok(KeyEvidence {
                        document,
                        public_key,
                    });
                }
                Ok((reply, document)) => return Err(Refusal::read(&reply, &document).into()),
                Err(error) if error.is_unreachable() => return Err(error.into()),
                Err(error) => retries.after(error, observer).await?,
            }
        }
    }

    /// Returns the key whose possession the machine proves, without any evidence for it.
    ///
    /// # Errors
    /// The machine shows no key.
    pub async fn key_without_evidence(
        &self,
        retries: &mut Retries,
        observer: &mut dyn Observer,
    ) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.whole("/health").await {
                Ok((reply, _)) => return self.key_of(&reply),
                Err(error) if error.is_unreachable() => return Err(error),
                Err(error) => retries.after(error, observer).await?,
            }
        }
    }

    async fn whole(&self, path: &str) -> Result<(Reply, Vec<u8>), ClientError> {
        let mut reply = self.0.get(path, &[]).await?;
        let body = reply
            .whole(MAX_KEY_EVIDENCE_BYTES, "MAX_KEY_EVIDENCE_BYTES")
            .await?;
        Ok((reply, body))
    }

    fn key_of(&self, reply: &Reply) -> Result<Vec<u8>, ClientError> {
        let missing = || ClientError::NoKey {
            place: self.0.address().to_string(),
        };
        reply.public_key.clone().ok_or_else(missing)
    }

    /// Returns the machine as one that may get a submission, as long as it has this key.
    ///
    /// # Errors
    /// TLS cannot be set up, or the address is without TLS.
    pub fn pinned(&self, public_key: &[u8]) -> Result<Appliance, ClientError> {
        if !self.0.address().is_tls() {
            return Err(ClientError::NoKey {
                place: self.0.address().to_string(),
            });
        }
        Ok(Appliance::new(self.0.with_tls(trust::of_key(public_key)?)))
    }

    /// Returns the machine for requests in plaintext, if its address is without TLS.
    pub fn in_plaintext(&self) -> Option<Appliance> {
        (!self.0.address().is_tls()).then(|| Appliance::new(self.0.clone()))
    }
}
