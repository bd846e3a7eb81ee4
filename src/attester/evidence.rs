//! Writes `evidence.json`.
//!
//! * In: a report and certificates, or what a paravisor's TPM returned.
//! * Out: the envelope that other tools of this field read. The response to `GET /attestation`
//!   contains it too, with more members.
//! * Never: a second serialisation of evidence that was published.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};

use super::table::Certificates;
use super::{AttestError, ReportData};
use crate::snp::report::{Report, SigningKey};

/// The names of the platforms in the envelope.
const SNP: &str = "snp";
const AZ_SNP: &str = "az-snp";
/// The version of the evidence of a paravisor's TPM.
const QUOTED_VERSION: u32 = 1;

/// A signed report with the requested report data, and the certificates that the host passed; or a
/// quote over that data, and a report that names the key of the quote: the receipt of an
/// [`Attester`](super::Attester).
///
/// ```compile_fail,E0451
/// use kettle::attester::Evidence;
///
/// let evidence = Evidence { report: todo!(), vouched: todo!() };
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
    vouched: Vouched,
}

/// What a paravisor's TPM returned.
pub struct QuotedEvidence {
    /// The HCL report, as long as its NV index.
    pub hcl: Vec<u8>,
    /// The quote's signed bytes.
    pub message: Vec<u8>,
    /// The quote's signature.
    pub signature: Vec<u8>,
    /// The registers of SHA-256 that the quote is over, from 0 on.
    pub registers: [[u8; 32]; 24],
    /// The chip's certificate in DER, which nobody has checked.
    pub vcek: Option<Vec<u8>>,
}

/// What vouches for the requested data.
enum Vouched {
    /// The report itself.
    ByReport(Certificates),
    /// A quote.
    ByQuote(Box<QuotedEvidence>),
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
#[serde(untagged)]
enum EvidenceMembers<'a> {
    Snp {
        attestation_report: Base64<'a>,
        cert_chain: Option<CertificateChain<'a>>,
    },
    AzSnp {
        version: u32,
        tpm_quote: TpmQuote<'a>,
        hcl_report: Base64Url<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        vcek: Option<Base64Url<'a>>,
    },
}

#[derive(Serialize)]
struct TpmQuote<'a> {
    signature: Hex<'a>,
    message: Hex<'a>,
    pcrs: Vec<Hex<'a>>,
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

/// Encoded without padding.
struct Base64Url<'a>(&'a [u8]);

impl Serialize for Base64Url<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
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
            vouched: Vouched::ByReport(certificates),
        })
    }

    /// Takes what a paravisor's TPM returned, with the report in it. Only for its attester, which has
    /// compared the quote with what was requested.
    pub(super) fn quoted(report: Report, quoted: QuotedEvidence) -> Self {
        Self {
            report,
            vouched: Vouched::ByQuote(Box::new(quoted)),
        }
    }

    /// Takes a report with any report data, signed or not. For tests only.
    #[cfg(any(test, feature = "appraisal"))]
    #[doc(hidden)]
    pub fn test_only_unchecked(report: Report, certificates: Certificates) -> Self {
        Self {
            report,
            vouched: Vouched::ByReport(certificates),
        }
    }

    /// Returns the report as the firmware wrote it.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the envelope. `cert_chain` is null if the host passed no certificates.
    pub fn envelope(&self) -> Envelope<'_> {
        match &self.vouched {
            Vouched::ByReport(certificates) => Envelope {
                platform: SNP,
                evidence: self.snp(certificates),
            },
            Vouched::ByQuote(quoted) => Envelope {
                platform: AZ_SNP,
                evidence: az_snp(quoted),
            },
        }
    }

    fn snp<'a>(&'a self, certificates: &'a Certificates) -> EvidenceMembers<'a> {
        let Certificates { vcek, ask, ark } = certificates;
        let chain = CertificateChain {
            vcek: vcek.as_deref().map(Base64),
            ask: ask.as_deref().map(Base64),
            ark: ark.as_deref().map(Base64),
        };
        EvidenceMembers::Snp {
            attestation_report: Base64(self.report.as_bytes()),
            cert_chain: (!certificates.is_empty()).then_some(chain),
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

fn az_snp(quoted: &QuotedEvidence) -> EvidenceMembers<'_> {
    EvidenceMembers::AzSnp {
        version: QUOTED_VERSION,
        tpm_quote: TpmQuote {
            signature: Hex(&quoted.signature),
            message: Hex(&quoted.message),
            pcrs: quoted.registers.iter().map(|it| Hex(it)).collect(),
        },
        hcl_report: Base64Url(&quoted.hcl),
        vcek: quoted.vcek.as_deref().map(Base64Url),
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
