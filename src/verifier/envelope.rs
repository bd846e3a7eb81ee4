//! `evidence.json`. Comes in: its bytes. Goes out: the report, and the certificate that the host handed over. Never: the
//! roots that it carries; they are for other tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::snp::report::Report;

use super::json::{self, JsonError, Text};
use super::rejection::Rejection;

/// The platform whose evidence this is.
const PLATFORM: &str = "snp";

/// What the attester sent.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The attestation report.
    pub report: Report,
    /// The VCEK or VLEK, DER, if the host handed it over.
    pub certificate: Option<Vec<u8>>,
}

/// Evidence about a TLS key, with what the appliance says beside it.
#[derive(Clone, Debug)]
pub struct SessionEvidence {
    /// The evidence.
    pub evidence: Evidence,
    /// `tls_public_key`: DER SubjectPublicKeyInfo, as the document says.
    pub public_key: Option<Vec<u8>>,
}

/// Only enough to know whose document it is.
#[derive(Deserialize)]
struct Platform<'a> {
    #[serde(borrow)]
    platform: Text<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(rename = "platform")]
    _platform: Text<'a>,
    #[serde(borrow)]
    evidence: Body<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionDocument<'a> {
    #[serde(rename = "platform")]
    _platform: Text<'a>,
    #[serde(borrow)]
    evidence: Body<'a>,
    #[serde(borrow)]
    tls_public_key: Option<Text<'a>>,
    #[serde(rename = "state")]
    _state: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    attestation_report: Text<'a>,
    #[serde(borrow)]
    cert_chain: Option<Chain<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain<'a> {
    #[serde(borrow)]
    vcek: Option<Text<'a>>,
    #[serde(rename = "ask")]
    _ask: Option<Text<'a>>,
    #[serde(rename = "ark")]
    _ark: Option<Text<'a>>,
}

impl Evidence {
    /// Reads `evidence.json`.
    ///
    /// # Errors
    /// It is no evidence of this platform.
    pub fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let document: Document<'_> = of_this_platform(bytes)?;
        document.evidence.decode()
    }
}

impl SessionEvidence {
    /// Reads the answer to `GET /attestation`.
    ///
    /// # Errors
    /// It is no evidence of this platform.
    pub fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let document: SessionDocument<'_> = of_this_platform(bytes)?;
        let public_key = document.tls_public_key.as_ref().map(|text| decode("tls_public_key", text)).transpose()?;
        Ok(Self { evidence: document.evidence.decode()?, public_key })
    }
}

fn of_this_platform<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Rejection> {
    let malformed = |error: JsonError| Rejection::EvidenceMalformed(error);
    let Platform { platform } = json::read(bytes).map_err(malformed)?;
    if *platform != *PLATFORM {
        return Err(Rejection::PlatformUnknown { actual: platform.0.into_owned() });
    }
    json::read(bytes).map_err(malformed)
}

impl Body<'_> {
    fn decode(&self) -> Result<Evidence, Rejection> {
        let report = decode("attestation_report", &self.attestation_report)?;
        let report = Report::try_from(&report[..]).map_err(|error| Rejection::ReportLength { actual: error.actual })?;
        let vcek = self.cert_chain.as_ref().and_then(|chain| chain.vcek.as_ref());
        Ok(Evidence { report, certificate: vcek.map(|text| decode("vcek", text)).transpose()? })
    }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, Rejection> {
    STANDARD.decode(text).map_err(|_| Rejection::EvidenceEncoding { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(platform: &str, report: &[u8], chain: &str) -> String {
        let report = STANDARD.encode(report);
        format!(r#"{{"platform":"{platform}","evidence":{{"attestation_report":"{report}","cert_chain":{chain}}}}}"#)
    }

    fn code(text: &str) -> &'static str {
        Evidence::read(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn reads_evidence_with_and_without_certificates() {
        let read = |chain| Evidence::read(document("snp", &[7; 1184], chain).as_bytes()).unwrap().certificate;
        assert_eq!(read("null"), None);
        assert_eq!(read(r#"{"vcek":"AAE="}"#), Some(vec![0, 1]));
        assert_eq!(read(r#"{"ark":"nothing reads this","vcek":null}"#), None);
    }

    #[test]
    fn names_what_is_wrong() {
        let good = document("snp", &[7; 1184], "null");
        assert_eq!(code(&document("az-snp", &[7; 1184], "null")), "platform-unknown");
        assert_eq!(code(&document("snp", &[7; 1183], "null")), "report-length");
        assert_eq!(code(&document("snp", &[7; 1184], r#"{"vcek":"AAF="}"#)), "evidence-encoding");
        assert_eq!(code(&document("snp", &[7; 1184], r#"{"crl":"AAE="}"#)), "evidence-malformed");
        assert_eq!(code(&good.replace("{\"platform", "{\"platform\":\"snp\",\"platform")), "evidence-malformed");
        assert_eq!(code(&good[1..]), "evidence-malformed");
        assert_eq!(code(r#"{"platform":"az-snp","anything":[]}"#), "platform-unknown");
    }

    #[test]
    fn a_session_says_its_key() {
        let text = document("snp", &[7; 1184], "null").replacen('{', r#"{"tls_public_key":"AAE=","state":"idle","#, 1);
        assert_eq!(SessionEvidence::read(text.as_bytes()).unwrap().public_key, Some(vec![0, 1]));
        assert_eq!(code(&text), "evidence-malformed");
    }
}
