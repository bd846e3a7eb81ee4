//! The back end that machines have: ring.
//!
//! * In: a key, a message and a signature.
//! * Out: whether the key signed the message.
//! * Never: an algorithm that the kind of key does not name.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::{BackEnd, PublicKey};

/// Verifies by ring.
pub struct Native;

impl BackEnd for Native {
    fn has_signed(&self, key: PublicKey<'_>, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, bytes): (&dyn VerificationAlgorithm, _) = match key {
            PublicKey::P256(point) => (&ECDSA_P256_SHA256_ASN1, point),
            PublicKey::P384(point) => (&ECDSA_P384_SHA384_FIXED, point),
            PublicKey::RsaPss(der) => (&RSA_PSS_2048_8192_SHA384, der),
            PublicKey::RsaPkcs1 { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature);
                return verified.is_ok();
            }
        };
        let key = UnparsedPublicKey::new(algorithm, bytes);
        key.verify(message, signature).is_ok()
    }
}
