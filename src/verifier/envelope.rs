//! Reads `evidence.json`.
//!
//! * In: its bytes, from anybody.
//! * Out: the report, and the certificate that the host provided.
//! * Never: the roots in it, which are for other tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::snp::report::Report;

use super::azure::envelope::AzureBody;
use super::azure::{AzureRejection, TpmEvidence, foreign};
use super::json::{self, JsonError, Text};
use super::rejection::Rejection;
use super::result::Platform;

/// The evidence that an attester sent.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The attestation report.
    pub report: Report,
    /// The VCEK or VLEK, DER or PEM, if the host provided it.
    pub certificate: Option<Vec<u8>>,
    /// The evidence of the TPM on the platform `az-snp`; none on the platform `snp`.
    pub tpm: Option<Box<TpmEvidence>>,
}

/// Evidence about a TLS key, with the key that the appliance states.
#[derive(Clone, Debug)]
pub struct SessionEvidence {
    /// The evidence in the document.
    pub evidence: Evidence,
    /// The member `tls_public_key`: a DER SubjectPublicKeyInfo.
    pub public_key: Option<Vec<u8>>,
}

/// The member that decides how the rest of a document is read.
#[derive(Deserialize)]
struct PlatformOnly<'a> {
    #[serde(borrow)]
    platform: Text<'a>,
}

impl PlatformOnly<'_> {
    /// Returns the platform, if it is known.
    fn known(&self) -> Option<Platform> {
        Platform::ALL
            .into_iter()
            .find(|known| *self.platform == *known.name())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceDocument<'a, B> {
    #[serde(rename = "platform", borrow)]
    _platform: Text<'a>,
    evidence: B,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionDocument<'a, B> {
    #[serde(rename = "platform", borrow)]
    _platform: Text<'a>,
    evidence: B,
    #[serde(borrow)]
    tls_public_key: Option<Text<'a>>,
    #[serde(rename = "state")]
    _state: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnpBody<'a> {
    #[serde(borrow)]
    attestation_report: Text<'a>,
    #[serde(borrow)]
    cert_chain: Option<HostCertificates<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostCertificates<'a> {
    #[serde(borrow)]
    vcek: Option<Text<'a>>,
    #[serde(rename = "ask")]
    _ask: Option<Text<'a>>,
    #[serde(rename = "ark")]
    _ark: Option<Text<'a>>,
}

/// Returns the platform that a document names, if it is known.
pub(super) fn platform_of(bytes: &[u8]) -> Option<Platform> {
    json::read::<PlatformOnly<'_>>(bytes).ok()?.known()
}

/// The member `evidence` of one platform, from which evidence is decoded.
trait Decode {
    fn decode(&self) -> Result<Evidence, Rejection>;
}

impl Evidence {
    /// Returns evidence of the platform `snp`.
    pub fn new(report: Report, certificate: Option<Vec<u8>>) -> Self {
        Self {
            report,
            certificate,
            tpm: None,
        }
    }

    /// Returns evidence of the platform `az-snp`, whose report is the one in the HCL report.
    pub fn of_tpm(tpm: TpmEvidence, certificate: Option<Vec<u8>>) -> Self {
        Self {
            report: tpm.hcl.report().clone(),
            certificate,
            tpm: Some(Box::new(tpm)),
        }
    }

    /// Reads `evidence.json`.
    ///
    /// # Errors
    /// It is no evidence of a platform that is known.
    pub fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        match platform(bytes)? {
            Platform::Snp => json::read::<EvidenceDocument<'_, SnpBody<'_>>>(bytes)
                .map_err(malformed)?
                .evidence
                .decode(),
            Platform::AzSnp => json::read::<EvidenceDocument<'_, AzureBody<'_>>>(bytes)
                .map_err(malformed)?
                .evidence
                .decode(),
        }
    }

    /// Reads evidence in the form in which another program writes it. It can be verified like any
    /// other evidence; that it is about a build of this appliance cannot.
    ///
    /// # Errors
    /// The evidence has another form.
    pub fn read_foreign(bytes: &[u8]) -> Result<Self, Rejection> {
        let (tpm, certificate) = foreign::read(bytes)?;
        Ok(Self::of_tpm(tpm, certificate))
    }

    /// Returns the kind of machine that the evidence comes from.
    pub fn platform(&self) -> Platform {
        if self.tpm.is_some() {
            Platform::AzSnp
        } else {
            Platform::Snp
        }
    }
}

impl SessionEvidence {
    /// Reads the response to `GET /attestation`.
    ///
    /// # Errors
    /// It is no evidence of a platform that is known.
    pub fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        match platform(bytes)? {
            Platform::Snp => json::read::<SessionDocument<'_, SnpBody<'_>>>(bytes)
                .map_err(malformed)?
                .read(),
            Platform::AzSnp => json::read::<SessionDocument<'_, AzureBody<'_>>>(bytes)
                .map_err(malformed)?
                .read(),
        }
    }
}

impl<B: Decode> SessionDocument<'_, B> {
    fn read(&self) -> Result<SessionEvidence, Rejection> {
        let public_key = self
            .tls_public_key
            .as_ref()
            .map(|text| decode("tls_public_key", text))
            .transpose()?;
        Ok(SessionEvidence {
            evidence: self.evidence.decode()?,
            public_key,
        })
    }
}

fn malformed(error: JsonError) -> Rejection {
    Rejection::EvidenceMalformed(error)
}

fn platform(bytes: &[u8]) -> Result<Platform, Rejection> {
    let document = match json::read::<PlatformOnly<'_>>(bytes) {
        Ok(document) => document,
        Err(_) if foreign::read(bytes).is_ok() => return Err(AzureRejection::OtherForm.into()),
        Err(error) => return Err(malformed(error)),
    };
    document.known().ok_or_else(|| Rejection::PlatformUnknown {
        actual: document.platform.0.into_owned(),
    })
}

impl Decode for SnpBody<'_> {
    fn decode(&self) -> Result<Evidence, Rejection> {
        let report = decode("attestation_report", &self.attestation_report)?;
        let report = Report::try_from(&report[..]).map_err(|error| Rejection::ReportLength {
            actual: error.actual,
        })?;
        let vcek = self
            .cert_chain
            .as_ref()
            .and_then(|chain| chain.vcek.as_ref());
        Ok(Evidence::new(
            report,
            vcek.map(|text| decode("vcek", text)).transpose()?,
        ))
    }
}

impl Decode for AzureBody<'_> {
    fn decode(&self) -> Result<Evidence, Rejection> {
        let (tpm, certificate) = self.parts()?;
        Ok(Evidence::of_tpm(tpm, certificate))
    }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, Rejection> {
    STANDARD
        .decode(text)
        .map_err(|_| Rejection::EvidenceEncoding {
            field,
            encoding: "standard base64",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(platform: &str, report: &[u8], chain: &str) -> String {
        let report = STANDARD.encode(report);
        format!(
            r#"{{"platform":"{platform}","evidence":{{"attestation_report":"{report}","cert_chain":{chain}}}}}"#
        )
    }

    fn code(text: &str) -> &'static str {
        Evidence::read(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn reads_evidence_with_and_without_certificates() {
        let read = |chain| {
            Evidence::read(document("snp", &[7; 1184], chain).as_bytes())
                .unwrap()
                .certificate
        };
        assert_eq!(read("null"), None);
        assert_eq!(read(r#"{"vcek":"AAE="}"#), Some(vec![0, 1]));
        assert_eq!(read(r#"{"ark":"nothing reads this","vcek":null}"#), None);
    }

    #[test]
    fn names_what_is_wrong() {
        let good = document("snp", &[7; 1184], "null");
        assert_eq!(
            code(&document("az-snp", &[7; 1184], "null")),
            "evidence-malformed"
        );
        assert_eq!(
            code(&document("az-tdx", &[7; 1184], "null")),
            "platform-unknown"
        );
        assert_eq!(code(&document("snp", &[7; 1183], "null")), "report-length");
        assert_eq!(
            code(&document("snp", &[7; 1184], r#"{"vcek":"AAF="}"#)),
            "evidence-encoding"
        );
        assert_eq!(
            code(&document("snp", &[7; 1184], r#"{"crl":"AAE="}"#)),
            "evidence-malformed"
        );
        assert_eq!(
            code(&good.replace("{\"platform", "{\"platform\":\"snp\",\"platform")),
            "evidence-malformed"
        );
        assert_eq!(code(&good[1..]), "evidence-malformed");
        assert_eq!(
            code(r#"{"platform":"tdx","anything":[]}"#),
            "platform-unknown"
        );
    }

    #[test]
    fn a_session_names_its_key() {
        let text = document("snp", &[7; 1184], "null").replacen(
            '{',
            r#"{"tls_public_key":"AAE=","state":"idle","#,
            1,
        );
        assert_eq!(
            SessionEvidence::read(text.as_bytes()).unwrap().public_key,
            Some(vec![0, 1])
        );
        assert_eq!(code(&text), "evidence-malformed");
    }
}
