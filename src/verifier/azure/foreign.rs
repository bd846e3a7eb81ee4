//! Evidence about such machines in the form in which other programs write it.
//!
//! * In: a JSON document whose values are lists of bytes (`quote` with `signature`, `message` and
//!   `pcrs`, `report`, `vcek` as PEM), as an earlier generation of servers wrote it.
//! * Out: the same parts as from our own form.
//! * Never: used by `kettle verify`, because no appliance writes this form. It is for `kettle
//!   inspect`, and for tests with real evidence.

use serde::Deserialize;

use super::super::json::{self, Text};
use super::super::rejection::Rejection;
use super::TpmEvidence;
use super::hcl::HclReport;
use super::registers::REGISTER_BYTES;
use super::rejection::AzureRejection;
use super::signed_quote::SignedQuote;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForeignDocument<'a> {
    quote: ForeignQuote,
    report: Vec<u8>,
    #[serde(borrow)]
    vcek: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForeignQuote {
    signature: Vec<u8>,
    message: Vec<u8>,
    pcrs: Vec<[u8; REGISTER_BYTES]>,
}

/// Reads evidence with lists of bytes, and returns the evidence of the TPM, and the VCEK.
///
/// # Errors
/// The evidence has another form.
pub fn read(bytes: &[u8]) -> Result<(TpmEvidence, Option<Vec<u8>>), Rejection> {
    let document: ForeignDocument<'_> = json::read(bytes).map_err(Rejection::EvidenceMalformed)?;
    let hcl = HclReport::read(&document.report).map_err(AzureRejection::Hcl)?;
    let ForeignQuote {
        signature,
        message,
        pcrs: registers,
    } = document.quote;
    let quote = SignedQuote {
        message,
        signature,
        registers,
    };
    let certificate = document.vcek.map(|pem| pem.0.into_owned().into_bytes());
    Ok((TpmEvidence { hcl, quote }, certificate))
}
