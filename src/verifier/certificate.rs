//! One X.509 certificate.
//!
//! * In: DER or PEM.
//! * Out: the bytes that its signature is over, and the fields that the verifier needs.
//! * Never: a signature trusted because it parses, or an encoding other than DER.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::crypto::PublicKey;

use super::rejection::{Rejection, Role};

/// Largest certificate or revocation list, in bytes. AMD's certificates have under 2 KiB, its lists
/// under 1 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 64 << 10;

/// id-RSASSA-PSS (RFC 4055, section 3.1).
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// id-mgf1 (RFC 4055, section 2.2).
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
/// id-sha384 (RFC 4055, section 2.1).
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
/// rsaEncryption (RFC 3279, section 2.3.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480, section 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp384r1 (RFC 5480, section 2.1.1.1).
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// id-ce-basicConstraints (RFC 5280, section 4.2.1.9).
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
/// id-ce-keyUsage (RFC 5280, section 4.2.1.3).
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// id-at-commonName (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// AMD's arc for the extensions of VCEK and VLEK (AMD 57230, section 3).
const AMD_ARC: &str = "1.3.6.1.4.1.3704.1.";
/// The length of the signatures' salt, in bytes: that of the digest.
const SALT_BYTES: u32 = 48;
/// The length of an uncompressed point of P-384, in bytes (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 97;

/// The start of the first line of a PEM block (RFC 7468, section 2).
const BEGIN: &str = "-----BEGIN ";
/// The start of the last line of a PEM block.
const END: &str = "-----END ";

/// A certificate that was read. Nothing vouches for it yet.
#[derive(Clone, Debug)]
pub struct Certificate {
    role: Role,
    signed: Signed,
    parsed: x509_cert::Certificate,
}

/// The parts that all signed structures of X.509 have: the bytes, the algorithm, the signature.
#[derive(Clone, Debug)]
pub struct Signed {
    bytes: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
    signature: Vec<u8>,
}

impl Certificate {
    /// Reads DER, or PEM with one certificate.
    ///
    /// # Errors
    /// It is neither, is too large, names two algorithms, or repeats an extension.
    pub fn read(bytes: &[u8], role: Role) -> Result<Self, Rejection> {
        let malformed = |reason: String| Rejection::CertificateMalformed { role, reason };
        let der = der_of(bytes, "CERTIFICATE").map_err(malformed)?;
        let parsed =
            x509_cert::Certificate::from_der(&der).map_err(|error| malformed(error.to_string()))?;
        if parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(malformed("it names two signature algorithms".to_owned()));
        }
        let signed = Signed::new(
            &der,
            &parsed.signature_algorithm,
            parsed.signature.as_bytes(),
        );
        let signed = signed.map_err(|error| malformed(error.to_string()))?;
        let certificate = Self {
            role,
            signed,
            parsed,
        };
        certificate
            .verify_no_repeated_extension()
            .map_err(malformed)?;
        Ok(certificate)
    }

    fn verify_no_repeated_extension(&self) -> Result<(), String> {
        let mut ids: Vec<_> = self
            .extensions()
            .iter()
            .map(|extension| extension.extn_id)
            .collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("the extension {} is repeated", pair[0])),
            None => Ok(()),
        }
    }

    /// Returns the name of its issuer, as DER.
    pub fn issuer(&self) -> Vec<u8> {
        self.parsed
            .tbs_certificate
            .issuer
            .to_der()
            .unwrap_or_default()
    }

    /// Returns the name of its issuer, as text for people.
    pub fn issuer_text(&self) -> String {
        self.parsed.tbs_certificate.issuer.to_string()
    }

    /// Returns the name of its subject, as DER.
    pub fn subject(&self) -> Vec<u8> {
        self.parsed
            .tbs_certificate
            .subject
            .to_der()
            .unwrap_or_default()
    }

    /// Returns the name of its subject, as text for people.
    pub fn subject_text(&self) -> String {
        self.parsed.tbs_certificate.subject.to_string()
    }

    /// Returns the common name of its subject; none where there is not exactly one.
    pub fn subject_common_name(&self) -> Option<String> {
        let names = self
            .parsed
            .tbs_certificate
            .subject
            .0
            .iter()
            .flat_map(|names| names.0.iter());
        let mut common = names.filter(|name| name.oid == COMMON_NAME);
        let (name, None) = (common.next()?, common.next()) else {
            return None;
        };
        text(&name.value)
    }

    /// Returns its serial number, in hex.
    pub fn serial(&self) -> String {
        hex::encode(self.parsed.tbs_certificate.serial_number.as_bytes())
    }

    /// Returns its SubjectPublicKeyInfo, as DER.
    pub fn public_key_info(&self) -> Vec<u8> {
        self.parsed
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .unwrap_or_default()
    }

    /// Verifies that `issuer` is named as its issuer and signed it.
    ///
    /// # Errors
    /// It names another issuer, or the issuer's key did not sign it in the one accepted way.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), Rejection> {
        if self.issuer() != issuer.subject() {
            let (trusted, actual) = (vec![issuer.subject_text()], self.issuer_text());
            return Err(Rejection::IssuerUnknown {
                role: self.role,
                trusted,
                actual,
            });
        }
        self.signed.verify_by(issuer, self.role)
    }

    /// Verifies that the moment `at` (seconds since 1970) is within its validity.
    ///
    /// # Errors
    /// The moment is before or after it.
    pub fn verify_validity(&self, at: u64) -> Result<(), Rejection> {
        let validity = &self.parsed.tbs_certificate.validity;
        let not_before = validity.not_before.to_unix_duration().as_secs();
        let not_after = validity.not_after.to_unix_duration().as_secs();
        if at < not_before {
            return Err(Rejection::CertificateNotYetValid {
                role: self.role,
                not_before,
                at,
            });
        }
        if at > not_after {
            return Err(Rejection::CertificateExpired {
                role: self.role,
                not_after,
                at,
            });
        }
        Ok(())
    }

    /// Verifies that every critical extension is known, and that it is a CA exactly if its role
    /// requires one.
    ///
    /// # Errors
    /// One of the two does not hold.
    pub fn verify_extensions(&self) -> Result<(), Rejection> {
        let known = |id: &ObjectIdentifier| {
            [BASIC_CONSTRAINTS, KEY_USAGE].contains(id) || id.to_string().starts_with(AMD_ARC)
        };
        let critical = self
            .extensions()
            .iter()
            .find(|extension| extension.critical && !known(&extension.extn_id));
        if let Some(extension) = critical {
            return Err(Rejection::CriticalExtension {
                role: self.role,
                oid: extension.extn_id.to_string(),
            });
        }
        let expected = self.role != Role::Leaf;
        if self.is_ca()? != expected {
            return Err(Rejection::CertificateAuthority {
                role: self.role,
                expected,
            });
        }
        Ok(())
    }

    fn is_ca(&self) -> Result<bool, Rejection> {
        let Some(value) = self.extension(BASIC_CONSTRAINTS) else {
            return Ok(false);
        };
        let constraints =
            BasicConstraints::from_der(value).map_err(|error| Rejection::CertificateMalformed {
                role: self.role,
                reason: format!("its basic constraints cannot be read: {error}"),
            })?;
        Ok(constraints.ca)
    }

    /// Returns the uncompressed point of its P-384 key.
    ///
    /// # Errors
    /// The certificate has a key of another kind.
    pub fn p384_point(&self) -> Result<&[u8], Rejection> {
        let info = &self.parsed.tbs_certificate.subject_public_key_info;
        let curve = info
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let point = info.subject_public_key.as_bytes().unwrap_or_default();
        if info.algorithm.oid != EC
            || curve != Some(P384)
            || point.len() != POINT_BYTES
            || point[0] != 4
        {
            let curve = curve
                .map(|curve| format!(" on {curve}"))
                .unwrap_or_default();
            let actual = format!("{}{curve}", info.algorithm.oid);
            return Err(Rejection::CertificateKey {
                role: self.role,
                expected: "a point of P-384",
                actual,
            });
        }
        Ok(point)
    }

    fn rsa_key(&self) -> Result<&[u8], Rejection> {
        let info = &self.parsed.tbs_certificate.subject_public_key_info;
        match info.subject_public_key.as_bytes() {
            Some(key) if [RSA, RSASSA_PSS].contains(&info.algorithm.oid) => Ok(key),
            _ => {
                let actual = info.algorithm.oid.to_string();
                Err(Rejection::CertificateKey {
                    role: self.role,
                    expected: "RSA",
                    actual,
                })
            }
        }
    }

    fn extensions(&self) -> &[Extension] {
        self.parsed
            .tbs_certificate
            .extensions
            .as_deref()
            .unwrap_or_default()
    }

    /// Returns the value of an extension, as the certificate has it.
    pub fn extension(&self, id: ObjectIdentifier) -> Option<&[u8]> {
        self.extensions()
            .iter()
            .find(|extension| extension.extn_id == id)
            .map(|extension| extension.extn_value.as_bytes())
    }
}

impl Signed {
    /// Finds the signed bytes in a signed structure.
    ///
    /// # Errors
    /// The structure is no sequence of three elements.
    pub fn new(
        der: &[u8],
        algorithm: &AlgorithmIdentifierOwned,
        signature: Option<&[u8]>,
    ) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let bytes = reader.sequence(|parts| {
            let bytes = parts.tlv_bytes()?;
            parts.tlv_bytes()?;
            parts.tlv_bytes()?;
            Ok(bytes)
        })?;
        reader.finish(())?;
        let signature = signature.unwrap_or_default().to_vec();
        Ok(Self {
            bytes: bytes.to_vec(),
            algorithm: algorithm.clone(),
            signature,
        })
    }

    /// Verifies that `issuer`'s key signed it.
    ///
    /// # Errors
    /// The algorithm is another one, or the signature is not by that key.
    pub fn verify_by(&self, issuer: &Certificate, role: Role) -> Result<(), Rejection> {
        if !is_pss_with_sha384(&self.algorithm).unwrap_or(false) {
            return Err(Rejection::CertificateAlgorithm {
                role,
                actual: described(&self.algorithm),
            });
        }
        let key = PublicKey::RsaPss(issuer.rsa_key()?);
        if !key.has_signed(&self.bytes, &self.signature) {
            return Err(Rejection::CertificateSignature { role });
        }
        Ok(())
    }
}

/// Returns whether an algorithm is RSASSA-PSS with SHA-384 throughout. Its parameters
/// (RSASSA-PSS-params, RFC 4055, section 3.1) have each field with its context tag.
fn is_pss_with_sha384(algorithm: &AlgorithmIdentifierOwned) -> der::Result<bool> {
    if algorithm.oid != RSASSA_PSS {
        return Ok(false);
    }
    let Some(parameters) = &algorithm.parameters else {
        return Ok(false);
    };
    let der = parameters.to_der()?;
    let mut reader = SliceReader::new(&der)?;
    let found = reader.sequence(|fields| {
        let hash: Option<AlgorithmIdentifierOwned> =
            fields.context_specific(TagNumber::N0, TagMode::Explicit)?;
        let mask: Option<AlgorithmIdentifierOwned> =
            fields.context_specific(TagNumber::N1, TagMode::Explicit)?;
        let salt: Option<u32> = fields.context_specific(TagNumber::N2, TagMode::Explicit)?;
        let trailer: Option<u32> = fields.context_specific(TagNumber::N3, TagMode::Explicit)?;
        let mask_hash = mask_hash(mask)?;
        Ok(hash.is_some_and(|hash| hash.oid == SHA384)
            && mask_hash == Some(SHA384)
            && salt == Some(SALT_BYTES)
            && trailer.is_none_or(|trailer| trailer == 1))
    })?;
    reader.finish(found)
}

/// Returns the hash that the mask generation function MGF1 uses; none for another function.
fn mask_hash(mask: Option<AlgorithmIdentifierOwned>) -> der::Result<Option<ObjectIdentifier>> {
    let Some(mask) = mask.filter(|mask| mask.oid == MGF1) else {
        return Ok(None);
    };
    let Some(parameters) = mask.parameters else {
        return Ok(None);
    };
    let hash = AlgorithmIdentifierOwned::from_der(&parameters.to_der()?)?;
    Ok(Some(hash.oid))
}

/// Returns a name's text, in one of the two forms that AMD's certificates and new ones use (RFC
/// 5280, section 4.1.2.4).
fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::PrintableString | Tag::Utf8String => {
            Some(std::str::from_utf8(value.value()).ok()?.to_owned())
        }
        _ => None,
    }
}

fn described(algorithm: &AlgorithmIdentifierOwned) -> String {
    let parameters = algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.to_der().ok());
    let parameters = hex::encode(parameters.unwrap_or_default());
    let text = format!("{} {parameters}", algorithm.oid);
    text.trim_end().to_owned()
}

/// Returns the DER in `bytes`, which may be one PEM block with this label, and text around it.
///
/// # Errors
/// The bytes are too many, or are PEM that is damaged, has another label, or has several blocks.
pub fn der_of(bytes: &[u8], label: &str) -> Result<Vec<u8>, String> {
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(format!(
            "it has {} bytes, the limit is {MAX_CERTIFICATE_BYTES} (MAX_CERTIFICATE_BYTES)",
            bytes.len()
        ));
    }
    match pem_blocks(bytes)[..] {
        [] => Ok(bytes.to_vec()),
        [block] => decoded(block, label),
        ref blocks => Err(format!("there are {} PEM blocks in it", blocks.len())),
    }
}

/// Returns the DER of a VCEK or VLEK that the caller gives as DER or PEM.
///
/// # Errors
/// It is too large, or its PEM is not that of one certificate.
pub fn certificate_der(bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
    let malformed = |reason| Rejection::CertificateMalformed {
        role: Role::Leaf,
        reason,
    };
    der_of(bytes, "CERTIFICATE").map_err(malformed)
}

/// Returns every PEM block, from its first line to its last; DER has none. Text between blocks is
/// for people (RFC 7468, sections 2 and 5.2).
pub fn pem_blocks(bytes: &[u8]) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = std::str::from_utf8(bytes).unwrap_or_default().trim_start();
    while let Some(start) = line_start(rest, BEGIN) {
        let text = &rest[start..];
        let last_line = line_start(text, END).unwrap_or(text.len());
        let end = match text[last_line..].find('\n') {
            Some(length) => last_line + length,
            None => text.len(),
        };
        let (block, after) = text.split_at(end);
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// Returns the offset of the first line that begins with `start`.
fn line_start(text: &str, start: &str) -> Option<usize> {
    text.match_indices(start)
        .map(|(at, _)| at)
        .find(|at| *at == 0 || text[..*at].ends_with('\n'))
}

fn decoded(block: &str, label: &str) -> Result<Vec<u8>, String> {
    let damaged = || "its PEM is damaged".to_owned();
    let (first, rest) = block.split_once('\n').ok_or_else(damaged)?;
    let found = first
        .trim_end()
        .strip_prefix(BEGIN)
        .and_then(|label| label.strip_suffix("-----"))
        .ok_or_else(damaged)?;
    if found != label {
        return Err(format!("it is a PEM {found}, not a {label}"));
    }
    let base64 = rest
        .trim_end()
        .strip_suffix(&format!("{END}{label}-----"))
        .ok_or_else(damaged)?;
    STANDARD
        .decode(base64.split_ascii_whitespace().collect::<String>())
        .map_err(|_| damaged())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snp::roots::AMD;
    use der::pem::LineEnding;

    #[test]
    fn amds_certificates_sign_each_other() {
        for roots in AMD {
            let ark = Certificate::read(roots.ark, Role::Root).unwrap();
            ark.verify_issued_by(&ark).unwrap();
            for der in [roots.ask, roots.asvk] {
                let intermediate = Certificate::read(der, Role::Intermediate).unwrap();
                intermediate.verify_issued_by(&ark).unwrap();
                intermediate.verify_extensions().unwrap();
                assert!(ark.verify_issued_by(&intermediate).is_err());
            }
        }
    }

    #[test]
    fn pem_is_read_as_its_der_and_only_under_its_label() {
        let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, AMD[0].ask).unwrap();
        assert_eq!(der_of(pem.as_bytes(), "CERTIFICATE").unwrap(), AMD[0].ask);
        assert!(der_of(pem.as_bytes(), "X509 CRL").is_err());
        assert!(der_of(&pem.as_bytes()[..100], "CERTIFICATE").is_err());
    }

    #[test]
    fn pem_may_have_text_around_it_and_lines_of_any_length() {
        let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, AMD[0].ask).unwrap();
        let long = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
            STANDARD.encode(AMD[0].ask)
        );
        for text in [
            format!("Certificate:\n    Data: -----BEGIN nothing\n{pem}"),
            format!("\n  {pem}\n\nof a chip\n"),
            pem.replace('\n', "\r\n"),
            long,
        ] {
            assert_eq!(
                der_of(text.as_bytes(), "CERTIFICATE").as_deref(),
                Ok(AMD[0].ask),
                "{text}"
            );
        }
        for text in [
            format!("{pem}{pem}"),
            format!("{pem}-----BEGIN PUBLIC KEY-----\n"),
            pem.replace("END CERTIFICATE", "END PUBLIC KEY"),
            pem.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n", 1),
            pem.replacen("-----\n", " -----\n", 1),
            "-----BEGIN CERTIFICATE-----".to_owned(),
        ] {
            assert!(der_of(text.as_bytes(), "CERTIFICATE").is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_after_a_certificate_are_refused() {
        let longer = [AMD[0].ask, &[0][..]].concat();
        assert!(Certificate::read(&longer, Role::Leaf).is_err());
        assert!(Certificate::read(&vec![0; MAX_CERTIFICATE_BYTES + 1], Role::Leaf).is_err());
    }
}
