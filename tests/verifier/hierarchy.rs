//! A certificate hierarchy like AMD's, under keys of this test run.

use std::sync::OnceLock;

use der::Encode as _;
use der::asn1::ObjectIdentifier;
use p384::ecdsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::rand_core::OsRng;
use sha2::{Sha256, Sha384};

/// The moment of interest in all tests: 2026-06-01T00:00:00Z.
pub const NOW: u64 = 1_780_272_000;

/// The length of RSA keys: small, so that a test run makes its keys in a moment; AMD's have 4096.
const RSA_BITS: usize = 2048;

/// The keys of this run.
pub struct Keys {
    pub ark: RsaPrivateKey,
    pub ask: RsaPrivateKey,
    pub other: RsaPrivateKey,
    pub vcek: p384::ecdsa::SigningKey,
}

pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let rsa = || RsaPrivateKey::new(&mut OsRng, RSA_BITS).unwrap();
    KEYS.get_or_init(|| Keys {
        ark: rsa(),
        ask: rsa(),
        other: rsa(),
        vcek: p384::ecdsa::SigningKey::random(&mut OsRng),
    })
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ ..128 => vec![short as u8],
        long => {
            let bytes = long.to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap();
            [&[0x80 | (bytes.len() - start) as u8], &bytes[start..]].concat()
        }
    };
    [&[tag], &length[..], content].concat()
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

fn name(common: &str) -> Vec<u8> {
    sequence(&[&tlv(
        0x31,
        &sequence(&[&oid("2.5.4.3"), &tlv(0x0c, common.as_bytes())]),
    )])
}

fn moment(year: u32) -> Vec<u8> {
    tlv(0x18, format!("{year}0101000000Z").as_bytes())
}

/// Returns the algorithm RSASSA-PSS as AMD uses it, or with another digest.
fn algorithm(digest: &str, salt: u8) -> Vec<u8> {
    let hash = sequence(&[&oid(digest), &[5, 0]]);
    let mask = sequence(&[&oid("1.2.840.113549.1.1.8"), &hash]);
    let parameters = sequence(&[
        &tlv(0xa0, &hash),
        &tlv(0xa1, &mask),
        &tlv(0xa2, &[2, 1, salt]),
    ]);
    sequence(&[&oid("1.2.840.113549.1.1.10"), &parameters])
}

/// The digest that a structure is signed with.
#[derive(Clone, Copy)]
pub enum Digest {
    Sha256,
    Sha384,
}

impl Digest {
    fn algorithm(self) -> Vec<u8> {
        match self {
            Self::Sha256 => algorithm("2.16.840.1.101.3.4.2.1", 32),
            Self::Sha384 => algorithm("2.16.840.1.101.3.4.2.2", 48),
        }
    }

    fn sign(self, bytes: &[u8], key: &RsaPrivateKey) -> Vec<u8> {
        let signature =
            match self {
                Self::Sha256 => rsa::pss::SigningKey::<Sha256>::new(key.clone())
                    .sign_with_rng(&mut OsRng, bytes),
                Self::Sha384 => rsa::pss::SigningKey::<Sha384>::new(key.clone())
                    .sign_with_rng(&mut OsRng, bytes),
            };
        sequence(&[
            bytes,
            &self.algorithm(),
            &tlv(3, &[&[0], &signature.to_vec()[..]].concat()),
        ])
    }
}

/// A certificate before it is signed.
pub struct Template {
    pub issuer: &'static str,
    pub subject: &'static str,
    pub years: (u32, u32),
    pub serial: u8,
    pub public_key: Vec<u8>,
    pub extensions: Vec<Vec<u8>>,
    pub digest: Digest,
}

impl Template {
    fn authority(
        issuer: &'static str,
        subject: &'static str,
        serial: u8,
        key: &RsaPrivateKey,
    ) -> Self {
        let public_key = key.to_public_key().to_public_key_der().unwrap().into_vec();
        let is_ca = extension("2.5.29.19", true, &sequence(&[&[1, 1, 0xff]]));
        let years = (2020, 2045);
        Self {
            issuer,
            subject,
            years,
            serial,
            public_key,
            extensions: vec![is_ca],
            digest: Digest::Sha384,
        }
    }

    pub fn ark() -> Self {
        Self::authority("ARK-Test", "ARK-Test", 1, &keys().ark)
    }

    pub fn ask() -> Self {
        Self::authority("ARK-Test", "SEV-Test", 2, &keys().ask)
    }

    pub fn signed(&self, key: &RsaPrivateKey) -> Vec<u8> {
        let tbs = sequence(&[
            &tlv(0xa0, &[2, 1, 2]),
            &[2, 1, self.serial],
            &self.digest.algorithm(),
            &name(self.issuer),
            &sequence(&[&moment(self.years.0), &moment(self.years.1)]),
            &name(self.subject),
            &self.public_key,
            &tlv(0xa3, &sequence(&[&self.extensions.concat()])),
        ]);
        self.digest.sign(&tbs, key)
    }
}

pub fn extension(id: &str, is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if is_critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&oid(id), critical, &tlv(4, value)])
}

/// Returns a point on a curve of SEC 2 as SubjectPublicKeyInfo.
pub fn point(curve: &str, bytes: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[&oid("1.2.840.10045.2.1"), &oid(curve)]);
    sequence(&[&algorithm, &tlv(3, &[&[0], bytes].concat())])
}

pub fn vcek_point() -> Vec<u8> {
    point(
        "1.3.132.0.34",
        keys()
            .vcek
            .verifying_key()
            .to_encoded_point(false)
            .as_bytes(),
    )
}

/// Signs a report; returns R and S, each 48 bytes, big-endian.
pub fn sign_report(bytes: &[u8]) -> [u8; 96] {
    let signature: p384::ecdsa::Signature = keys().vcek.sign(bytes);
    signature.to_bytes().as_slice().try_into().unwrap()
}

/// A revocation list before it is signed.
pub struct Crl {
    pub issuer: &'static str,
    pub years: (u32, Option<u32>),
    pub revoked: Vec<u8>,
    pub extensions: Vec<u8>,
    pub digest: Digest,
}

impl Default for Crl {
    fn default() -> Self {
        Self {
            issuer: "ARK-Test",
            years: (2026, Some(2027)),
            revoked: vec![77],
            extensions: Vec::new(),
            digest: Digest::Sha384,
        }
    }
}

impl Crl {
    pub fn signed(&self, key: &RsaPrivateKey) -> Vec<u8> {
        let entries: Vec<_> = self
            .revoked
            .iter()
            .map(|serial| sequence(&[&[2, 1, *serial], &moment(2026)]))
            .collect();
        let extensions = match self.extensions.is_empty() {
            true => Vec::new(),
            false => tlv(0xa0, &sequence(&[&self.extensions])),
        };
        let tbs = sequence(&[
            &[2, 1, 1],
            &self.digest.algorithm(),
            &name(self.issuer),
            &moment(self.years.0),
            &self.years.1.map(moment).unwrap_or_default(),
            &sequence(&[&entries.concat()]),
            &extensions,
        ]);
        self.digest.sign(&tbs, key)
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}
