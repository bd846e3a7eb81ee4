//! Verifies signatures, by one of two libraries.
//!
//! * In: a public key, a message and a signature, from anybody.
//! * Out: whether the key signed the message.
//! * Never: a signature in another encoding, by a key of another size, or with another salt than
//!   [`PublicKey`] names.
//!
//! `kettle` has the back end of ring (`native`); with the feature `web`, a program has one that is
//! Rust alone (`portable`). It contains only one of them: a choice at run time would be one more
//! thing to get wrong. Unit tests compare both, and `scripts/test` runs the verifier's own tests
//! with each: a `kettle` with both features, which is never shipped, has `portable`.

#[cfg(any(not(feature = "web"), test))]
mod native;
#[cfg(feature = "web")]
mod portable;

/// A public key with the one algorithm that its signatures are verified by.
#[derive(Clone, Copy, Debug)]
pub enum PublicKey<'a> {
    /// A point on P-256, not compressed (65 bytes): ECDSA with SHA-256, signatures in DER.
    P256(&'a [u8]),
    /// A point on P-384, not compressed (97 bytes): ECDSA with SHA-384, signatures as R and S,
    /// big-endian, 48 bytes each.
    P384(&'a [u8]),
    /// A DER RSAPublicKey of 2048 to 8192 bits: RSASSA-PSS with SHA-384 and 48 bytes of salt.
    RsaPss(&'a [u8]),
    /// Modulus and exponent, big-endian, of a key of 2048 to 8192 bits: RSASSA-PKCS1-v1_5 with
    /// SHA-256.
    RsaPkcs1 {
        /// The modulus, without leading zeros.
        modulus: &'a [u8],
        /// The exponent, without leading zeros.
        exponent: &'a [u8],
    },
}

/// A library that verifies signatures.
pub trait BackEnd {
    /// Returns whether `signature` is by `key`, over `message`. Keys and signatures that are not in
    /// the form that [`PublicKey`] describes have signed nothing.
    fn has_signed(&self, key: PublicKey<'_>, message: &[u8], signature: &[u8]) -> bool;
}

/// The back end of this program.
#[cfg(not(feature = "web"))]
const BACK_END: native::Native = native::Native;
#[cfg(feature = "web")]
const BACK_END: portable::Portable = portable::Portable;

#[cfg(not(any(feature = "cli", feature = "web")))]
compile_error!("the feature `verifier` needs `cli` or `web`, which bring the cryptography");

impl PublicKey<'_> {
    /// Returns whether `signature` is by this key, over `message`.
    pub fn has_signed(self, message: &[u8], signature: &[u8]) -> bool {
        BACK_END.has_signed(self, message, signature)
    }
}

#[cfg(all(test, feature = "web"))]
mod tests;
