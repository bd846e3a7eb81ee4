//! Certificates in AMD's format (AMD 57230 revision 0.53): ARK, ASK or ASVK, VCEK or VLEK.
//!
//! * In: the key that is to be certified, and its identity.
//! * Out: three certificates.
//! * Never: a private key of the upper two, which are dropped once they have signed.

use std::str::FromStr;

use der::asn1::{BitString, Ia5String, ObjectIdentifier, OctetString, UtcTime};
use der::pem::{self, LineEnding};
use der::{DateTime, Decode as _, Encode as _};
use p384::ecdsa::SigningKey;
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::pkcs8::spki::DynSignatureAlgorithmIdentifier as _;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use sha2::Sha384;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

use super::SimulatorError;
use super::identity::{Identity, Key};
use crate::snp::tcb::{Component, Product};

/// The length of the keys of ARK and ASK, as AMD's.
pub const RSA_BITS: usize = 4096;
/// AMD's arc for the extensions of VCEK and VLEK.
const AMD_ARC: &str = "1.3.6.1.4.1.3704.1";
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// The part of every name by which nobody takes these certificates for AMD's.
const ORGANIZATION: &str = "OU=Kettle simulator,O=not Advanced Micro Devices";
/// The first year in which the certificates are valid, and the year in which they expire.
const YEARS: (u16, u16) = (2020, 2045);

/// A root and the certificates below it, DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The root certificate, which signs itself.
    pub ark: Vec<u8>,
    /// The ASK, or the ASVK for a VLEK.
    pub ask: Vec<u8>,
    /// The certificate of the signing key, a VCEK or a VLEK.
    pub vek: Vec<u8>,
}

impl Hierarchy {
    /// Certifies `key` for `identity`, under two new RSA keys of `bits` bits.
    ///
    /// # Errors
    /// There are no random bytes, or an internal error occurs.
    pub fn generate(
        identity: &Identity,
        key: &SigningKey,
        bits: usize,
    ) -> Result<Self, SimulatorError> {
        let ark = Authority::new(format!("ARK-{}", identity.product), bits)?;
        let ask = Authority::new(intermediate(identity), bits)?;
        let (kind, serial) = (identity.key.name(), 0);
        let public_key = p384::PublicKey::from(key.verifying_key()).to_public_key_der()?;
        let vek = ask.sign(
            &format!("SEV-{kind}"),
            serial,
            public_key.as_bytes(),
            extensions(identity)?,
        )?;
        Ok(Self {
            vek,
            ask: ark.sign(&ask.name, 2, &ask.public_key()?, authority(Some(0))?)?,
            ark: ark.sign(&ark.name, 1, &ark.public_key()?, authority(None)?)?,
        })
    }

    /// Returns the file that `kettle verify --trust-root` takes: ARK, then ASK, PEM.
    ///
    /// # Errors
    /// An internal error occurs.
    pub fn trust_root(&self) -> Result<String, SimulatorError> {
        let encoded = |bytes| {
            pem::encode_string("CERTIFICATE", LineEnding::LF, bytes).map_err(der::Error::from)
        };
        Ok(encoded(&self.ark)? + &encoded(&self.ask)?)
    }
}

fn intermediate(identity: &Identity) -> String {
    match identity.key {
        Key::Vcek => format!("SEV-{}", identity.product),
        Key::Vlek => format!("SEV-VLEK-{}", identity.product),
    }
}

struct Authority {
    name: String,
    key: RsaPrivateKey,
}

impl Authority {
    fn new(name: String, bits: usize) -> Result<Self, SimulatorError> {
        Ok(Self {
            name,
            key: RsaPrivateKey::new(&mut OsRng, bits)?,
        })
    }

    fn public_key(&self) -> Result<Vec<u8>, SimulatorError> {
        Ok(self.key.to_public_key().to_public_key_der()?.into_vec())
    }

    fn sign(
        &self,
        subject: &str,
        serial: u8,
        public_key: &[u8],
        extensions: Vec<Extension>,
    ) -> Result<Vec<u8>, SimulatorError> {
        let signer = rsa::pss::SigningKey::<Sha384>::new(self.key.clone());
        let algorithm = signer.signature_algorithm_identifier()?;
        let tbs_certificate = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&[serial])?,
            signature: algorithm.clone(),
            issuer: name(&self.name)?,
            validity: Validity {
                not_before: new_year(YEARS.0)?,
                not_after: new_year(YEARS.1)?,
            },
            subject: name(subject)?,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(public_key)?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        let signature = signer.try_sign_with_rng(&mut OsRng, &tbs_certificate.to_der()?)?;
        let signature = BitString::from_bytes(&signature.to_vec())?;
        Ok(Certificate {
            tbs_certificate,
            signature_algorithm: algorithm,
            signature,
        }
        .to_der()?)
    }
}

fn name(common: &str) -> Result<Name, der::Error> {
    Name::from_str(&format!("CN={common},{ORGANIZATION}"))
}

fn new_year(year: u16) -> Result<Time, der::Error> {
    let midnight = DateTime::new(year, 1, 1, 0, 0, 0)?;
    Ok(Time::UtcTime(UtcTime::from_date_time(midnight)?))
}

fn extension(
    extn_id: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> Result<Extension, der::Error> {
    Ok(Extension {
        extn_id,
        critical,
        extn_value: OctetString::new(value)?,
    })
}

fn authority(path_len_constraint: Option<u8>) -> Result<Vec<Extension>, der::Error> {
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint,
    };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    Ok(vec![
        extension(BASIC_CONSTRAINTS, true, constraints.to_der()?)?,
        extension(KEY_USAGE, true, usage.to_der()?)?,
    ])
}

/// Returns AMD's extension with this id.
fn amd(id: &str, value: Vec<u8>) -> Result<Extension, der::Error> {
    let id = ObjectIdentifier::new(&format!("{AMD_ARC}.{id}"))?;
    extension(id, false, value)
}

/// Returns AMD's extensions of a VCEK or VLEK.
fn extensions(identity: &Identity) -> Result<Vec<Extension>, der::Error> {
    let structure_version = u8::from(identity.product == Product::Turin);
    let product_name = Ia5String::new(&identity.product_name())?;
    let mut found = vec![
        amd("1", structure_version.to_der()?)?,
        amd("2", product_name.to_der()?)?,
    ];
    for (component, version) in identity.tcb().components() {
        let id = match component {
            Component::Bootloader => "3.1",
            Component::Tee => "3.2",
            Component::Snp => "3.3",
            Component::Microcode => "3.8",
            Component::Fmc => "3.9",
        };
        found.push(amd(id, version.to_der()?)?);
    }
    // Turin has one component without a meaning less.
    let reserved: &[&str] = if identity.product == Product::Turin {
        &["3.5", "3.6", "3.7"]
    } else {
        &["3.4", "3.5", "3.6", "3.7"]
    };
    for id in reserved {
        found.push(amd(id, 0_u8.to_der()?)?);
    }
    found.push(match identity.key {
        Key::Vcek => amd("4", identity.chip_id.clone())?,
        Key::Vlek => amd("5", Ia5String::new("CN=simulator.invalid")?.to_der()?)?,
    });
    Ok(found)
}
