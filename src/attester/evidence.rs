//! Writes `evidence.json`.
//!
//! * In: a report and certificates.
//! * Out: the envelope that other tools of this field read. The response to `GET /attestation`
//!   contains it too, with more members.
//! * Never: a second serialisation of evidence that was published.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::table::Certificates;
use super::{AttestError, ReportData};
use crate::snp::report::{Report, SigningKey};

/// The name of the platform in the envelope.
const PLATFORM: &str = "snp";

/// A signed report with the requested report data, and the certificates that the host passed: the
/// receipt of an [`Attester`](super::Attester).
///
/// ```compile_fail,E0451
/// use kettle::attester::Evidence;
///
/// let evidence = Evidence { report: todo!(), certificates: todo!() };
/// ```
///
/// ```compile_fail,E0624
/// use kettle::attester::{Certificates, Evidence, ReportData};
/// use kettle::snp::report::Report;
///
/// fn claim(data: &ReportData, report: Report) {
///     let evidence = Evidence::about(data, report, Certificates::default());
/// }
/// ```
pub struct Evidence {
    report: Report,
    certificates: Certificates,
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({:?})", self.report)
    }
}

/// The envelope as it is serialised. A larger JSON object may contain its members.
#[derive(Serialize)]
pub struct Envelope<'a> {
    platform: &'static str,
    evidence: EvidenceMembers<'a>,
}

#[derive(Serialize)]
struct EvidenceMembers<'a> {
    attestation_report: Base64<'a>,
    cert_chain: Option<CertificateChain<'a>>,
}

#[derive(Serialize)]
struct CertificateChain<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    vcek: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ark: Option<Base64<'a>>,
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl Evidence {
    /// Takes the response of the secure processor and the host, if its report has `report_data` and
    /// is signed. Only for attesters.
    ///
    /// # Errors
    /// The report has other report data, or it is not signed.
    pub(crate) fn about(
        report_data: &ReportData,
        report: Report,
        certificates: Certificates,
    ) -> Result<Self, AttestError> {
        let actual = report.report_data();
        if actual != *report_data {
            return Err(AttestError::ReportData {
                expected: hex::encode(report_data),
                actual: hex::encode(actual),
            });
        }
        if report.mask_chip_key() || report.signing_key() == SigningKey::None {
            return Err(AttestError::NotSigned);
        }
        Ok(Self {
            report,
            certificates,
        })
    }

    /// Takes a report with any report data, signed or not. For tests only.
    #[cfg(any(test, feature = "appraisal"))]
    #[doc(hidden)]
    pub fn test_only_unchecked(report: Report, certificates: Certificates) -> Self {
        Self {
            report,
            certificates,
        }
    }

    /// Returns the report as the firmware wrote it.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the envelope. `cert_chain` is null if the host passed no certificates.
    pub fn envelope(&self) -> Envelope<'_> {
        let Certificates { vcek, ask, ark } = &self.certificates;
        let chain = CertificateChain {
            vcek: vcek.as_deref().map(Base64),
            ask: ask.as_deref().map(Base64),
            ark: ark.as_deref().map(Base64),
        };
        Envelope {
            platform: PLATFORM,
            evidence: EvidenceMembers {
                attestation_report: Base64(self.report.as_bytes()),
                cert_chain: (!self.certificates.is_empty()).then_some(chain),
            },
        }
    }

    /// Returns the bytes of `evidence.json`: compact, with a final newline.
    ///
    /// # Errors
    /// It cannot be serialised, which is an internal error.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(&self.envelope())?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snp::report::REPORT_BYTES;

    fn json(certificates: Certificates) -> String {
        let report = Report::try_from(&[7; REPORT_BYTES][..]).unwrap();
        let evidence = Evidence::test_only_unchecked(report, certificates);
        String::from_utf8(evidence.to_json().unwrap()).unwrap()
    }

    #[test]
    fn the_envelope_has_the_contracts_shape() {
        let report = STANDARD.encode([7; REPORT_BYTES]);
        let expected = |chain: &str| {
            format!(
                "{{\"platform\":\"snp\",\"evidence\":{{\"attestation_report\":\"{report}\",\"cert_chain\":{chain}}}}}\n"
            )
        };
        assert_eq!(json(Certificates::default()), expected("null"));
        let all = Certificates {
            vcek: Some(vec![0]),
            ask: Some(vec![1]),
            ark: Some(vec![2]),
        };
        assert_eq!(
            json(all),
            expected("{\"vcek\":\"AA==\",\"ask\":\"AQ==\",\"ark\":\"Ag==\"}")
        );
        let one = Certificates {
            vcek: Some(vec![0]),
            ..Certificates::default()
        };
        assert_eq!(json(one), expected("{\"vcek\":\"AA==\"}"));
    }
}
