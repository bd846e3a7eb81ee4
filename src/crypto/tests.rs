//! Do both back ends give the same verdict about the same bytes?
#![allow(clippy::unwrap_used)] // A helper of tests, which clippy does not see as one.

use p256::ecdsa::signature::Signer as _;
use rsa::pkcs1::EncodeRsaPublicKey as _;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey, pkcs1v15, pss};
use sha2::{Sha256, Sha384};

use super::native::Native;
use super::portable::Portable;
use super::{BackEnd as _, PublicKey};

const MESSAGE: &[u8] = b"a message";

/// A kind of key, without its bytes.
type Kind = fn(&[u8]) -> PublicKey<'_>;

/// Returns the verdict of both back ends.
fn verdict(key: PublicKey<'_>, message: &[u8], signature: &[u8]) -> bool {
    let native = Native.has_signed(key, message, signature);
    let portable = Portable.has_signed(key, message, signature);
    assert_eq!(native, portable, "{key:?} {message:?} {signature:?}");
    native
}

/// Returns the copies of `bytes` with one flipped bit, every `step` bits.
fn flips(bytes: &[u8], step: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).step_by(step).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

/// Asserts that a signature is valid, and that no copy with a flipped bit, and none of another
/// length, is. A flipped bit of a key may be a key too, so both have to agree only.
fn appraise(kind: Kind, key: &[u8], signature: &[u8], step: usize) {
    assert!(verdict(kind(key), MESSAGE, signature));
    for changed in flips(MESSAGE, step) {
        assert!(!verdict(kind(key), &changed, signature));
    }
    for changed in flips(signature, step) {
        assert!(!verdict(kind(key), MESSAGE, &changed));
    }
    for changed in flips(key, step) {
        assert!(!verdict(kind(&changed), MESSAGE, signature));
    }
    for bytes in [
        &[][..],
        &[0],
        &signature[1..],
        &signature[..signature.len() - 1],
    ] {
        assert!(!verdict(kind(key), MESSAGE, bytes));
    }
    for longer in [[signature, &[0]].concat(), [&[0], signature].concat()] {
        assert!(!verdict(kind(key), MESSAGE, &longer));
    }
    for bytes in [&[][..], &key[1..], &key[..key.len() - 1]] {
        assert!(!verdict(kind(bytes), MESSAGE, signature));
    }
    assert!(!verdict(kind(&[key, &[0]].concat()), MESSAGE, signature));
}

#[test]
fn ecdsa_on_p256_has_one_verdict() {
    let key = p256::ecdsa::SigningKey::random(&mut OsRng);
    let signature: p256::ecdsa::Signature = key.sign(MESSAGE);
    let point = key.verifying_key().to_encoded_point(false);
    let der = signature.to_der();
    appraise(
        |key| PublicKey::P256(key),
        point.as_bytes(),
        der.as_bytes(),
        1,
    );
    let compressed = key.verifying_key().to_encoded_point(true);
    assert!(!verdict(
        PublicKey::P256(compressed.as_bytes()),
        MESSAGE,
        der.as_bytes()
    ));
    let (r, s) = signature.split_scalars();
    let twin = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    assert!(verdict(
        PublicKey::P256(point.as_bytes()),
        MESSAGE,
        twin.to_der().as_bytes()
    ));
}

#[test]
fn ecdsa_on_p384_has_one_verdict() {
    let key = p384::ecdsa::SigningKey::random(&mut OsRng);
    let signature: p384::ecdsa::Signature = key.sign(MESSAGE);
    let point = key.verifying_key().to_encoded_point(false);
    appraise(
        |key| PublicKey::P384(key),
        point.as_bytes(),
        &signature.to_bytes(),
        1,
    );
    let compressed = key.verifying_key().to_encoded_point(true);
    assert!(!verdict(
        PublicKey::P384(compressed.as_bytes()),
        MESSAGE,
        &signature.to_bytes()
    ));
    assert!(!verdict(
        PublicKey::P384(point.as_bytes()),
        MESSAGE,
        signature.to_der().as_bytes()
    ));
}

#[test]
fn scalars_out_of_range_are_refused() {
    let key = p384::ecdsa::SigningKey::random(&mut OsRng);
    let point = key.verifying_key().to_encoded_point(false);
    let signature: p384::ecdsa::Signature = key.sign(MESSAGE);
    let bytes = signature.to_bytes();
    for scalar in [[0; 48], [0xff; 48]] {
        let first = [&scalar[..], &bytes[48..]].concat();
        let second = [&bytes[..48], &scalar[..]].concat();
        for changed in [first, second] {
            assert!(!verdict(
                PublicKey::P384(point.as_bytes()),
                MESSAGE,
                &changed
            ));
        }
    }
}

fn der_of(key: &RsaPublicKey) -> Vec<u8> {
    key.to_pkcs1_der().unwrap().into_vec()
}

#[test]
fn rsa_pss_has_one_verdict_and_one_length_of_salt() {
    for bits in [2048, 2049, 3072] {
        let key = RsaPrivateKey::new(&mut OsRng, bits).unwrap();
        let der = der_of(&key.to_public_key());
        let signer = pss::SigningKey::<Sha384>::new(key.clone());
        let signature = signer.sign_with_rng(&mut OsRng, MESSAGE).to_vec();
        let step = if bits == 2048 { 1 } else { 97 };
        appraise(|key| PublicKey::RsaPss(key), &der, &signature, step);
        for length in [0, 32, 47, 49] {
            let signer = pss::SigningKey::<Sha384>::new_with_salt_len(key.clone(), length);
            let other = signer.sign_with_rng(&mut OsRng, MESSAGE).to_vec();
            assert!(
                !verdict(PublicKey::RsaPss(&der), MESSAGE, &other),
                "{length}"
            );
        }
        let other = pss::SigningKey::<Sha256>::new_with_salt_len(key.clone(), 48);
        let other = other.sign_with_rng(&mut OsRng, MESSAGE).to_vec();
        assert!(!verdict(PublicKey::RsaPss(&der), MESSAGE, &other));
        let number = BigUint::from_bytes_be(&signature) + key.n();
        assert!(!verdict(
            PublicKey::RsaPss(&der),
            MESSAGE,
            &number.to_bytes_be()
        ));
    }
}

#[test]
fn rsa_pkcs1_has_one_verdict() {
    let key = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
    let (modulus, exponent) = (key.n().to_bytes_be(), key.e().to_bytes_be());
    let signature = pkcs1v15::SigningKey::<Sha256>::new(key.clone()).sign(MESSAGE);
    let signature = signature.to_vec();
    let with = |modulus: &[u8], exponent: &[u8], signature: &[u8]| {
        let key = PublicKey::RsaPkcs1 { modulus, exponent };
        verdict(key, MESSAGE, signature)
    };
    assert!(with(&modulus, &exponent, &signature));
    for changed in flips(&signature, 1) {
        assert!(!with(&modulus, &exponent, &changed));
    }
    for changed in flips(&modulus, 1) {
        assert!(!with(&changed, &exponent, &signature));
    }
    for changed in [
        &[][..],
        &[0],
        &[1],
        &[2],
        &[3],
        &[0, 1, 0, 1],
        &[1, 0, 0],
        &[0xff; 5],
    ] {
        assert!(!with(&modulus, changed, &signature), "{changed:?}");
    }
    assert!(!with(&[&[0], &modulus[..]].concat(), &exponent, &signature));
    let other = pkcs1v15::SigningKey::<Sha384>::new(key)
        .sign(MESSAGE)
        .to_vec();
    assert!(!with(&modulus, &exponent, &other));
}

#[test]
fn rsa_keys_of_other_sizes_are_refused() {
    let small = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
    let signer = pss::SigningKey::<Sha384>::new(small.clone());
    let signature = signer.sign_with_rng(&mut OsRng, MESSAGE).to_vec();
    let der = der_of(&small.to_public_key());
    assert!(!verdict(PublicKey::RsaPss(&der), MESSAGE, &signature));
    // Above the limit: nobody waits for such a private key, and any number will do.
    let huge = (BigUint::from(1u8) << 8192_usize) + BigUint::from(1u8);
    let huge = RsaPublicKey::new_with_max_size(huge, BigUint::from(65_537u32), 1 << 14).unwrap();
    let der = der_of(&huge);
    assert!(!verdict(PublicKey::RsaPss(&der), MESSAGE, &[1; 1025]));
}

/// AMD's own keys and signatures, of 4096 bits.
#[test]
fn amds_certificates_have_one_verdict() {
    use der::{Decode as _, Encode as _};
    for roots in crate::snp::roots::AMD {
        let ark = x509_cert::Certificate::from_der(roots.ark).unwrap();
        let info = &ark.tbs_certificate.subject_public_key_info;
        let key = info.subject_public_key.as_bytes().unwrap();
        for der in [roots.ark, roots.ask, roots.asvk] {
            let issued = x509_cert::Certificate::from_der(der).unwrap();
            let message = issued.tbs_certificate.to_der().unwrap();
            let signature = issued.signature.as_bytes().unwrap();
            assert!(verdict(PublicKey::RsaPss(key), &message, signature));
            for changed in flips(signature, 31) {
                assert!(!verdict(PublicKey::RsaPss(key), &message, &changed));
            }
            for changed in flips(&message, 61) {
                assert!(!verdict(PublicKey::RsaPss(key), &changed, signature));
            }
        }
    }
}
