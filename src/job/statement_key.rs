//! The key that signs one statement, for tools that cannot read the report of a secure processor.
//!
//! * In: random bytes of the kernel, when the build is over; then the statement about it.
//! * Out: the public half for the statement, then the signed statement.
//! * Never: a key while a command of the build runs, a second signature, a key that outlives the
//!   first, or a copy of the key anywhere else.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use crate::dsse::{self, PublicKey};
use crate::provenance::{SignerRecord, Statement};

/// The reason why a statement is not signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementKeyError {
    #[error("the statement key cannot be made")]
    Make,
    #[error("the statement key cannot sign")]
    Sign,
}

/// A key on P-256 for one statement. It cannot be copied, and signing consumes it.
pub(super) struct StatementKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl StatementKey {
    /// Generates a new key.
    pub fn new() -> Result<Self, StatementKeyError> {
        Self::draw().ok_or(StatementKeyError::Make)
    }

    fn draw() -> Option<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).ok()?;
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Some(Self { pair, public })
    }

    /// Returns the record of the key for the statement.
    pub fn signer(&self) -> SignerRecord {
        SignerRecord::new(&self.public.to_spki())
    }

    /// Signs the statement, and returns it in its container.
    pub fn sign(self, statement: &Statement) -> Result<Vec<u8>, StatementKeyError> {
        let payload = statement.as_bytes();
        let message = dsse::pre_authentication(payload);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), &message)
            .map_err(|_| StatementKeyError::Sign)?;
        Ok(dsse::container(payload, &self.public, signature.as_ref()))
    }
}
