//! Evidence of the platform `az-snp` in `evidence.json`.
//!
//! * In: the member `evidence` of a document whose platform is `az-snp`.
//! * Out: the HCL report, the quote, and the VCEK if the document has one.
//! * Never: two spellings of one value; hex is lower case, base64url has no bits left over.

use base64::Engine as _;
use serde::Deserialize;

use super::super::json::Text;
use super::super::rejection::Rejection;
use super::claims::BASE64URL;
use super::hcl::HclReport;
use super::registers::REGISTER_BYTES;
use super::rejection::AzureRejection;
use super::signed_quote::SignedQuote;
use super::{TpmEvidence, VERSION};

/// The member `evidence` of this platform.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureBody<'a> {
    version: u64,
    #[serde(borrow)]
    tpm_quote: TpmQuote<'a>,
    #[serde(borrow)]
    hcl_report: Text<'a>,
    #[serde(borrow)]
    vcek: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TpmQuote<'a> {
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    pcrs: Vec<Text<'a>>,
}

impl AzureBody<'_> {
    /// Decodes the evidence of the TPM, and the VCEK.
    ///
    /// # Errors
    /// The evidence has another version, a member is not in its encoding, or the HCL report is
    /// malformed.
    pub fn parts(&self) -> Result<(TpmEvidence, Option<Vec<u8>>), Rejection> {
        if self.version != VERSION {
            return Err(AzureRejection::EvidenceVersion {
                expected: VERSION,
                actual: self.version,
            }
            .into());
        }
        let hcl = base64url("hcl_report", &self.hcl_report)?;
        let hcl = HclReport::read(&hcl).map_err(AzureRejection::Hcl)?;
        let quote = self.tpm_quote.decode()?;
        let certificate = match &self.vcek {
            Some(text) => Some(base64url("vcek", text)?),
            None => None,
        };
        Ok((TpmEvidence { hcl, quote }, certificate))
    }
}

impl TpmQuote<'_> {
    fn decode(&self) -> Result<SignedQuote, Rejection> {
        let message = lower_hex("message", &self.message)?;
        let signature = lower_hex("signature", &self.signature)?;
        let registers = self.pcrs.iter().map(|text| register(text));
        Ok(SignedQuote {
            message,
            signature,
            registers: registers.collect::<Result<_, _>>()?,
        })
    }
}

fn base64url(field: &'static str, text: &str) -> Result<Vec<u8>, Rejection> {
    let wrong = |_| Rejection::EvidenceEncoding {
        field,
        encoding: "base64url",
    };
    BASE64URL.decode(text).map_err(wrong)
}

fn lower_hex(field: &'static str, text: &str) -> Result<Vec<u8>, Rejection> {
    let is_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    let decoded = hex::decode(text).ok().filter(|_| !is_upper);
    decoded.ok_or(Rejection::EvidenceEncoding {
        field,
        encoding: "lower-case hex",
    })
}

fn register(text: &str) -> Result<[u8; REGISTER_BYTES], Rejection> {
    let wrong = |_| Rejection::EvidenceEncoding {
        field: "pcrs",
        encoding: "lower-case hex of 32 bytes",
    };
    lower_hex("pcrs", text)?.try_into().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::super::envelope::Evidence;
    use super::*;

    const REAL: &str = include_str!("../../../tests/data/snp/azure/live-milan-v3/evidence.json");
    const HCL: &[u8] = include_bytes!("../../../tests/data/snp/azure/live-milan-v3/hcl_report.bin");
    const VCEK: &[u8] = include_bytes!("../../../tests/data/snp/azure/live-milan-v3/vcek.der");

    fn code(from: &str, to: &str) -> &'static str {
        assert!(REAL.contains(from), "{from}");
        match Evidence::read(REAL.replacen(from, to, 1).as_bytes()) {
            Err(refusal) => refusal.code(),
            Ok(_) => "",
        }
    }

    fn base64(bytes: &[u8]) -> String {
        BASE64URL.encode(bytes).trim_end_matches('=').to_owned()
    }

    #[test]
    fn padding_may_be_there_or_not() {
        let (padded, plain) = (BASE64URL.encode(HCL), base64(HCL));
        assert_ne!(padded, plain);
        for text in [&padded, &plain] {
            let document = REAL
                .replacen(plain.as_str(), "HCL", 1)
                .replacen("HCL=", "HCL", 1);
            let read = Evidence::read(document.replacen("HCL", text, 1).as_bytes()).unwrap();
            assert_eq!(
                (&read.report.as_bytes()[..], read.certificate.as_deref()),
                (&HCL[0x20..0x4c0], Some(VCEK))
            );
        }
    }

    #[test]
    fn the_certificate_may_be_missing() {
        let vcek = REAL
            .split("\"vcek\"")
            .nth(1)
            .unwrap()
            .split('"')
            .nth(1)
            .unwrap();
        let document = REAL.replacen(&format!("\"{vcek}\""), "null", 1);
        assert_eq!(
            Evidence::read(document.as_bytes()).unwrap().certificate,
            None
        );
    }

    #[test]
    fn names_what_is_wrong() {
        for (from, to, expected) in [
            ("\"version\": 1", "\"version\": 2", "evidence-version"),
            ("\"version\": 1", "\"version\": \"1\"", "evidence-malformed"),
            ("\"version\": 1,", "", "evidence-malformed"),
            (
                "\"version\": 1",
                "\"version\": 1, \"more\": 1",
                "evidence-malformed",
            ),
            ("\"pcrs\"", "\"more\": [], \"pcrs\"", "evidence-malformed"),
            ("\"pcrs\"", "\"pcrs\": [], \"pcrs\"", "evidence-malformed"),
            ("\"ff5443", "\"FF5443", "evidence-encoding"),
            ("\"ff5443", "\"f5443", "evidence-encoding"),
            ("\"e15c44", "\"5c44", "evidence-encoding"),
            ("\"e15c44", "\"00e15c44", "evidence-encoding"),
            ("\"SENM", "\"+/NM", "evidence-encoding"),
            ("\"SENM", "\"SENN", "hcl-malformed"),
            ("\"az-snp\"", "\"az-tdx\"", "platform-unknown"),
            ("\"az-snp\"", "\"snp\"", "evidence-malformed"),
        ] {
            assert_eq!(code(from, to), expected, "{from} as {to}");
        }
    }
}
