//! `evidence.json`. Comes in: a report and certificates. Goes out: the envelope that other tools of this field read, and the
//! answer of `GET /attestation`, which says more. Never: a second serialisation of what was handed out.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::table::Certificates;
use super::{AttestError, ReportData};
use crate::snp::report::{Report, SigningKey};

/// What the platform is called in the envelope.
const PLATFORM: &str = "snp";

/// A signed report about what was asked, with the certificates that the host handed over: the receipt of an
/// [`Attester`](super::Attester).
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

/// The envelope as it is serialised; a larger document may flatten it in.
#[derive(Serialize)]
pub struct Envelope<'a> {
    platform: &'static str,
    evidence: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    attestation_report: Base64<'a>,
    cert_chain: Option<Chain<'a>>,
}

#[derive(Serialize)]
struct Chain<'a> {
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
    /// Only for attesters: what the secure processor and the host answered, if it is about `report_data` and somebody
    /// signed it.
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

    /// For tests: a report about anything, whether somebody signed it or not.
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

    /// The envelope. `cert_chain` is null where the host handed nothing over.
    pub fn envelope(&self) -> Envelope<'_> {
        let Certificates { vcek, ask, ark } = &self.certificates;
        let [vcek, ask, ark] =
            [vcek, ask, ark].map(|certificate| certificate.as_deref().map(Base64));
        let chain = Chain { vcek, ask, ark };
        Envelope {
            platform: PLATFORM,
            evidence: Body {
                attestation_report: Base64(self.report.as_bytes()),
                cert_chain: (!self.certificates.is_empty()).then_some(chain),
            },
        }
    }

    /// `evidence.json`: compact, with a final newline.
    ///
    /// # Errors
    /// A fault of ours.
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
