//! Whether a certificate is the one for a report.
//!
//! * In: the report and the certificate.
//! * Out: that the certificate's extensions agree with the report's fields.
//! * Never: a component, or a byte of the chip id, that was not compared.
//!
//! Extensions of VCEK and VLEK below 1.3.6.1.4.1.3704.1 (AMD 57230 revision 0.53, section 3):
//!
//! | id | content |
//! |---|---|
//! | 1 | structure version |
//! | 2 | product name, IA5String |
//! | 3.1, 3.2, 3.3, 3.8, 3.9 | TCB version: bootloader, TEE, SNP, microcode, FMC (Turin), INTEGER each |
//! | 3.4 to 3.7 | reserved components, INTEGER each, not on Turin |
//! | 4 | chip id, raw bytes: 64, on Turin 8; VCEK only |
//! | 5 | cloud service provider, IA5String; VLEK only |

use der::Decode;
use der::asn1::{Ia5StringRef, ObjectIdentifier};

use crate::snp::report::{Report, SigningKey};
use crate::snp::tcb::{Product, TcbVersion};

use super::certificate::Certificate;
use super::endorsements::Endorsed;
use super::rejection::Rejection;

const fn id(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const PRODUCT_NAME: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.2");
const BOOTLOADER: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.3");
const SPL_4: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.4");
const SPL_5: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.5");
const SPL_6: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.6");
const SPL_7: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.7");
const MICROCODE: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.3.9");
const CHIP_ID: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.4");
const CLOUD: ObjectIdentifier = id("1.3.6.1.4.1.3704.1.5");

/// The bytes of a chip id before Turin.
const CHIP_ID_BYTES: usize = 64;
/// The bytes of a chip id since Turin.
const TURIN_CHIP_ID_BYTES: usize = 8;

/// Verifies that `certificate` is for the key that the report names as its signer: kind, role,
/// product, chip, TCB version.
///
/// # Errors
/// The first of them that differs.
pub fn verify(
    report: &Report,
    certificate: &Certificate,
    endorsed: Option<Endorsed>,
) -> Result<(), Rejection> {
    if report.mask_chip_key() {
        return Err(Rejection::ChipKeyMasked);
    }
    let kind = kind(certificate);
    if kind != Some(report.signing_key()) {
        return Err(Rejection::SigningKeyMismatch {
            certificate: kind,
            report: report.signing_key(),
        });
    }
    verify_role(report.signing_key(), certificate, endorsed)?;
    let expected = product(report, certificate)?;
    verify_product(certificate, endorsed, expected)?;
    verify_tcb(report, certificate, expected)?;
    if kind == Some(SigningKey::Vcek) {
        verify_chip(report, certificate, expected)
    } else {
        Ok(())
    }
}

/// Compares the report's product with the one that the certificate names, and with its issuer's if
/// that is known.
fn verify_product(
    certificate: &Certificate,
    endorsed: Option<Endorsed>,
    expected: Product,
) -> Result<(), Rejection> {
    let certified = named_product(certificate)?;
    let endorsed = endorsed.and_then(|endorsed| endorsed.product());
    for actual in [Some(certified), endorsed].into_iter().flatten() {
        if actual != expected {
            return Err(Rejection::ProductMismatch { expected, actual });
        }
    }
    Ok(())
}

/// Verifies subject and issuer: an ASK issues VCEKs, an ASVK issues VLEKs, and each has the subject
/// of its kind (AMD 57230 revision 0.53, section 3).
fn verify_role(
    kind: SigningKey,
    certificate: &Certificate,
    endorsed: Option<Endorsed>,
) -> Result<(), Rejection> {
    let (subject, issuer) = match kind {
        SigningKey::Vlek => ("SEV-VLEK", "an ASVK: SEV-VLEK- and the product"),
        _ => ("SEV-VCEK", "an ASK: SEV- and the product"),
    };
    if certificate.subject_common_name().as_deref() != Some(subject) {
        let actual = certificate.subject_text();
        return Err(Rejection::CertificateSubject {
            kind,
            expected: subject,
            actual,
        });
    }
    // Without a verified issuer there is no role to verify; `endorsements` rejects such a
    // certificate.
    let Some(endorsed) = endorsed else {
        return Ok(());
    };
    if endorsed.signs() != Some(kind) {
        let actual = certificate.issuer_text();
        return Err(Rejection::CertificateIssuerRole {
            kind,
            expected: issuer,
            actual,
        });
    }
    Ok(())
}

/// Returns the product whose layout the report has. The report names its processor since version 3;
/// for an older report the certificate's product name counts.
///
/// # Errors
/// The product is not known.
pub fn product(report: &Report, certificate: &Certificate) -> Result<Product, Rejection> {
    let Some((family, model)) = report.cpuid() else {
        return named_product(certificate);
    };
    Product::from_cpuid(family, model).ok_or_else(|| Rejection::ProductUnknown {
        actual: format!("CPUID family {family:#x} model {model:#x}"),
    })
}

fn named_product(certificate: &Certificate) -> Result<Product, Rejection> {
    const NAME: &str = "product name";
    let value = certificate
        .extension(PRODUCT_NAME)
        .ok_or(Rejection::ExtensionMissing { name: NAME })?;
    let name = Ia5StringRef::from_der(value).map_err(|_| encoding(NAME, value))?;
    Product::from_certificate(name.as_str()).ok_or_else(|| Rejection::ProductUnknown {
        actual: name.to_string(),
    })
}

/// Returns the kind of key: a VCEK's certificate has a chip id and no cloud provider, a VLEK's has
/// it the other way round.
fn kind(certificate: &Certificate) -> Option<SigningKey> {
    match (certificate.extension(CHIP_ID), certificate.extension(CLOUD)) {
        (Some(_), None) => Some(SigningKey::Vcek),
        (None, Some(_)) => Some(SigningKey::Vlek),
        _ => None,
    }
}

fn verify_tcb(
    report: &Report,
    certificate: &Certificate,
    product: Product,
) -> Result<(), Rejection> {
    let certified = certified_tcb(certificate, product)?;
    let reported = report.reported_tcb(product);
    if certified == reported {
        Ok(())
    } else {
        Err(Rejection::TcbMismatch {
            certificate: certified,
            report: reported,
        })
    }
}

/// Returns the certificate's numbers, packed as the report has them: reserved bytes are compared
/// too.
fn certified_tcb(certificate: &Certificate, product: Product) -> Result<TcbVersion, Rejection> {
    let number = |name, id| {
        let value = certificate
            .extension(id)
            .ok_or(Rejection::ExtensionMissing { name })?;
        u8::from_der(value).map_err(|_| encoding(name, value))
    };
    let (bootloader, tee) = (number("bootloader", BOOTLOADER)?, number("TEE", TEE)?);
    let (snp, microcode) = (number("SNP", SNP)?, number("microcode", MICROCODE)?);
    let bytes = match product {
        Product::Turin => [
            number("FMC", FMC)?,
            bootloader,
            tee,
            snp,
            0,
            0,
            0,
            microcode,
        ],
        Product::Milan | Product::Genoa => {
            let (four, five) = (number("SPL 4", SPL_4)?, number("SPL 5", SPL_5)?);
            let (six, seven) = (number("SPL 6", SPL_6)?, number("SPL 7", SPL_7)?);
            [bootloader, tee, four, five, six, seven, snp, microcode]
        }
    };
    Ok(TcbVersion::new(bytes, product))
}

fn verify_chip(
    report: &Report,
    certificate: &Certificate,
    product: Product,
) -> Result<(), Rejection> {
    let reported = report.chip_id();
    if reported == [0; CHIP_ID_BYTES] {
        return Err(Rejection::ChipIdZero);
    }
    let certified = certificate.extension(CHIP_ID).unwrap_or_default();
    let length = if product == Product::Turin {
        TURIN_CHIP_ID_BYTES
    } else {
        CHIP_ID_BYTES
    };
    let (chip, padding) = reported.split_at(length);
    if chip != certified || padding.iter().any(|byte| *byte != 0) {
        let (certificate, report) = (hex::encode(certified), hex::encode(reported));
        return Err(Rejection::ChipIdMismatch {
            certificate,
            report,
        });
    }
    Ok(())
}

fn encoding(name: &'static str, value: &[u8]) -> Rejection {
    Rejection::ExtensionEncoding {
        name,
        value: hex::encode(value),
    }
}
