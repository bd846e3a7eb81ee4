//! Whether the key of a certificate signed a report.
//!
//! * In: the report and the certificate.
//! * Out: the receipt that the signature is valid.
//! * Never: a statement about the owner of the key, which `endorsements` verifies.

use std::ops::Deref;

use crate::crypto::PublicKey;
use crate::snp::report::{ECDSA_P384_SHA384, MAX_VERSION, MIN_VERSION, Report};

use super::certificate::Certificate;
use super::rejection::Rejection;

/// The order of P-384's group, big-endian (SEC 2 version 2, section 2.5.1).
const ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// A report that the key of a certificate signed: the receipt of [`verify`]. That the key is AMD's
/// follows from the certificate's endorsement only.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedReport<'e>(&'e Report);

impl Deref for VerifiedReport<'_> {
    type Target = Report;

    fn deref(&self) -> &Report {
        self.0
    }
}

/// Verifies version, algorithm, reserved bytes and the signature. Beside a signature (R, S), its
/// twin (R, n − S) is valid too.
///
/// # Errors
/// The first of them that does not hold.
pub fn verify<'e>(
    report: &'e Report,
    certificate: &Certificate,
) -> Result<VerifiedReport<'e>, Rejection> {
    if !(MIN_VERSION..=MAX_VERSION).contains(&report.version()) {
        return Err(Rejection::ReportVersion {
            actual: report.version(),
        });
    }
    if report.signature_algorithm() != ECDSA_P384_SHA384 {
        return Err(Rejection::ReportAlgorithm {
            actual: report.signature_algorithm(),
        });
    }
    if let Some(offset) = report.reserved_not_zero() {
        return Err(Rejection::ReportReserved { offset });
    }
    let in_range = |scalar: &[u8; 48]| *scalar != [0; 48] && *scalar < ORDER;
    let r = report
        .signature_r()
        .filter(in_range)
        .ok_or(Rejection::SignatureRange)?;
    let s = report
        .signature_s()
        .filter(in_range)
        .ok_or(Rejection::SignatureRange)?;
    let key = PublicKey::P384(certificate.p384_point()?);
    if !key.has_signed(report.signed_bytes(), &[r, s].concat()) {
        return Err(Rejection::SignatureInvalid);
    }
    Ok(VerifiedReport(report))
}
