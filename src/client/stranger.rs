//! A machine that nobody has verified: it can be asked who it is, and nothing else.
//!
//! - Comes in: an address and a nonce.
//! - Goes out: what it says of itself, with the key that it proved to have while it said so.
//! - Never: anything of a submission.

use hyper::StatusCode;

use super::address::Address;
use super::appliance::{Appliance, Refusal, SubmitError};
use super::error::ClientError;
use super::patience::{Patience, Watch};
use super::request::{Client, Reply};
use super::target::Target;
use super::trust;
use crate::provenance::Nonce;

/// Longest evidence about a TLS key, in bytes.
pub const MAX_INTRODUCTION_BYTES: usize = 256 << 10;

/// A machine that was not verified.
#[derive(Debug)]
pub struct Stranger(Client);

/// What a machine says of itself.
#[derive(Debug)]
pub struct Introduction {
    /// The response to `GET /attestation`.
    pub document: Vec<u8>,
    /// DER SubjectPublicKeyInfo of the key that the machine proved to have on this connection.
    pub public_key: Vec<u8>,
}

impl Stranger {
    /// Returns a machine at `address`: perhaps another one each time, where several share it.
    ///
    /// # Errors
    /// TLS cannot be set up, or there are no random numbers.
    pub fn new(address: Address) -> Result<Self, ClientError> {
        let target = Target::one_machine(address)?;
        Ok(Self(Client::of_target(target, trust::of_any_key()?)))
    }

    /// Asks for evidence about its TLS key.
    ///
    /// # Errors
    /// It gives none, or shows no key.
    pub async fn introduce(
        &self,
        nonce: &Nonce,
        patience: &mut Patience,
        watch: &mut dyn Watch,
    ) -> Result<Introduction, SubmitError> {
        let path = format!("/attestation?nonce={nonce}");
        loop {
            match self.whole(&path).await {
                Ok((reply, document)) if reply.status == StatusCode::OK => {
                    let public_key = self.key_of(&reply)?;
                    return Ok(Introduction {
                        document,
                        public_key,
                    });
                }
                Ok((reply, document)) => return Err(Refusal::read(&reply, &document).into()),
                Err(error) if error.is_unreachable() => return Err(error.into()),
                Err(error) => patience.after(error, watch).await?,
            }
        }
    }

    /// Returns the key that it proves to have, without any evidence for it.
    ///
    /// # Errors
    /// It shows none.
    pub async fn key_without_evidence(
        &self,
        patience: &mut Patience,
        watch: &mut dyn Watch,
    ) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.whole("/health").await {
                Ok((reply, _)) => return self.key_of(&reply),
                Err(error) if error.is_unreachable() => return Err(error),
                Err(error) => patience.after(error, watch).await?,
            }
        }
    }

    async fn whole(&self, path: &str) -> Result<(Reply, Vec<u8>), ClientError> {
        let mut reply = self.0.get(path, &[]).await?;
        let body = reply
            .whole(MAX_INTRODUCTION_BYTES, "MAX_INTRODUCTION_BYTES")
            .await?;
        Ok((reply, body))
    }

    fn key_of(&self, reply: &Reply) -> Result<Vec<u8>, ClientError> {
        let missing = || ClientError::NoKey {
            place: self.0.address().to_string(),
        };
        reply.public_key.clone().ok_or_else(missing)
    }

    /// Returns the machine as one that may be told something, as long as it has this key.
    ///
    /// # Errors
    /// TLS cannot be set up, or the address has none.
    pub fn pinned(&self, public_key: &[u8]) -> Result<Appliance, ClientError> {
        if !self.0.address().is_tls() {
            return Err(ClientError::NoKey {
                place: self.0.address().to_string(),
            });
        }
        Ok(Appliance::new(self.0.with_tls(trust::of_key(public_key)?)))
    }

    /// Returns a machine that is spoken to in plaintext, for somebody who wants that.
    pub fn in_plaintext(&self) -> Option<Appliance> {
        (!self.0.address().is_tls()).then(|| Appliance::new(self.0.clone()))
    }
}
