//! Whether a quote is by the key that the claims name, and over the registers beside it.
//!
//! * In: the signed bytes, the signature, the registers, and the key from the claims.
//! * Out: the receipt with the caller's data in the quote, and the registers that were signed.
//! * Never: registers that were not signed.

use crate::crypto::PublicKey;

use super::claims::{AttestationKey, MODULUS_BYTES};
use super::quote::Quote;
use super::registers::{REGISTER_BYTES, REGISTERS, Registers};
use super::rejection::AzureRejection;

/// A quote as evidence carries it: signed bytes, signature, and the registers beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedQuote {
    /// The bytes that were signed.
    pub message: Vec<u8>,
    /// The signature: RSASSA-PKCS1-v1_5 with SHA-256.
    pub signature: Vec<u8>,
    /// The SHA-256 registers, from 0; the verification expects 24.
    pub registers: Vec<[u8; REGISTER_BYTES]>,
}

/// A quote whose signature and registers were verified: the receipt of [`SignedQuote::verify`].
#[derive(Debug)]
pub struct VerifiedQuote {
    extra_data: Vec<u8>,
    registers: Registers,
}

impl VerifiedQuote {
    /// Returns the data that the caller put into the quote, at most 50 bytes.
    pub fn extra_data(&self) -> &[u8] {
        &self.extra_data
    }

    /// Returns the registers that were signed.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }
}

impl SignedQuote {
    /// Verifies form, signature and registers.
    ///
    /// # Errors
    /// The first of them that does not hold.
    pub fn verify(&self, key: &AttestationKey) -> Result<VerifiedQuote, AzureRejection> {
        let quote = Quote::read(&self.message).map_err(AzureRejection::Quote)?;
        if self.signature.len() != MODULUS_BYTES {
            let (expected, actual) = (MODULUS_BYTES, self.signature.len());
            return Err(AzureRejection::QuoteSignatureLength { expected, actual });
        }
        let public = PublicKey::RsaPkcs1 {
            modulus: key.modulus(),
            exponent: key.exponent(),
        };
        if !public.has_signed(&self.message, &self.signature) {
            return Err(AzureRejection::QuoteSignature);
        }
        let Some(registers) = Registers::of(&self.registers) else {
            let (expected, actual) = (REGISTERS, self.registers.len());
            return Err(AzureRejection::RegisterCount { expected, actual });
        };
        let computed = registers.digest();
        if computed.as_bytes() != quote.register_digest() {
            let (expected, actual) = (hex::encode(quote.register_digest()), computed.to_string());
            return Err(AzureRejection::RegisterDigest { expected, actual });
        }
        Ok(VerifiedQuote {
            extra_data: quote.into_extra_data(),
            registers,
        })
    }
}
