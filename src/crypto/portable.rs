//! The back end that runs everywhere, also in a browser: RustCrypto's crates.
//!
//! * In: a key, a message and a signature.
//! * Out: whether the key signed the message.
//! * Never: a key or an encoding that the other back end refuses.
//!
//! These crates allow more than ring: smaller and even RSA keys, compressed points, and a signature
//! scheme with any length of salt. What [`PublicKey`] does not describe is refused here.

use rsa::pkcs1::der::Decode as _;
use rsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey, pkcs1, pkcs1v15, pss};
use sha2::{Sha256, Sha384};

use super::{BackEnd, PublicKey};

/// The sizes of RSA keys, in bits of the modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The smallest public exponent, which is odd as all are.
const MIN_EXPONENT: u8 = 3;
/// The first byte of a point that is not compressed (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;
/// The number of bytes of R and S on P-384.
const P384_SIGNATURE_BYTES: usize = 96;

/// Verifies by RustCrypto's crates.
pub struct Portable;

impl BackEnd for Portable {
    fn has_signed(&self, key: PublicKey<'_>, message: &[u8], signature: &[u8]) -> bool {
        let verified = match key {
            PublicKey::P256(point) => by_p256(point, message, signature),
            PublicKey::P384(point) => by_p384(point, message, signature),
            PublicKey::RsaPss(der) => by_rsa_pss(der, message, signature),
            PublicKey::RsaPkcs1 { modulus, exponent } => {
                by_rsa_pkcs1(modulus, exponent, message, signature)
            }
        };
        verified.is_some()
    }
}

/// The receipt of a signature that is valid.
struct Verified;

fn by_p256(point: &[u8], message: &[u8], signature: &[u8]) -> Option<Verified> {
    let point = uncompressed(point)?;
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
    key.verify(message, &signature).ok()?;
    Some(Verified)
}

fn by_p384(point: &[u8], message: &[u8], signature: &[u8]) -> Option<Verified> {
    let point = uncompressed(point)?;
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    if signature.len() != P384_SIGNATURE_BYTES {
        return None;
    }
    let signature = p384::ecdsa::Signature::from_slice(signature).ok()?;
    key.verify(message, &signature).ok()?;
    Some(Verified)
}

fn by_rsa_pss(der: &[u8], message: &[u8], signature: &[u8]) -> Option<Verified> {
    let parts = pkcs1::RsaPublicKey::from_der(der).ok()?;
    let key = rsa_key(
        parts.modulus.as_bytes(),
        parts.public_exponent.as_bytes(),
        signature,
    )?;
    let signature = pss::Signature::try_from(signature).ok()?;
    // The length of the salt is that of the digest.
    let key = pss::VerifyingKey::<Sha384>::new(key);
    key.verify(message, &signature).ok()?;
    Some(Verified)
}

fn by_rsa_pkcs1(
    modulus: &[u8],
    exponent: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Option<Verified> {
    let key = rsa_key(modulus, exponent, signature)?;
    let signature = pkcs1v15::Signature::try_from(signature).ok()?;
    let key = pkcs1v15::VerifyingKey::<Sha256>::new(key);
    key.verify(message, &signature).ok()?;
    Some(Verified)
}

/// Returns an RSA key that may have made a signature of this length.
fn rsa_key(modulus: &[u8], exponent: &[u8], signature: &[u8]) -> Option<RsaPublicKey> {
    if [modulus, exponent]
        .iter()
        .any(|number| number.first().is_none_or(|first| *first == 0))
    {
        return None;
    }
    let modulus = BigUint::from_bytes_be(modulus);
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let is_odd_key = is_odd(exponent) && is_odd(&modulus.to_bytes_be());
    if !RSA_BITS.contains(&modulus.bits()) || !is_odd_key {
        return None;
    }
    let exponent = BigUint::from_bytes_be(exponent);
    if exponent < BigUint::from(MIN_EXPONENT) {
        return None;
    }
    let key = RsaPublicKey::new_with_max_size(modulus, exponent, *RSA_BITS.end()).ok()?;
    (key.size() == signature.len()).then_some(key)
}

fn uncompressed(point: &[u8]) -> Option<&[u8]> {
    (point.first() == Some(&UNCOMPRESSED)).then_some(point)
}
