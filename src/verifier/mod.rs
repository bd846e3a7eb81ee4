//! The verifier: decides offline whether a bundle is what its reader expects.
//!
//! * In: a bundle from anybody, and the reader's expectations.
//! * Out: the outcome of each check, and a verdict.
//! * Never: a socket, a root that came with the evidence, or a verdict on less than all checks.
//!
//! | check | file |
//! |---|---|
//! | bundle | `envelope`, and the time of the entries in `subjects` |
//! | endorsements | `endorsements`, `certificate` |
//! | certificate-binding | `binding` |
//! | report-signature | `signature` |
//! | guest-policy, tcb | `guest`, `floor` |
//! | launch-measurement | `reference`, `published`, `revocation` |
//! | runtime-data, paravisor, quote, boot-measurement | `azure` |
//! | report-data, nonce, expectations | `appraisal` |
//! | statement | `statement`, `chosen` |
//! | envelope | `signed_statement`, `signer` |
//! | subjects | `subjects` |
//!
//! # From bytes to a verdict
//!
//! Three entries share the checks: [`verify`] for a bundle, [`verify_session`] for a TLS key,
//! [`verify_evidence_alone`] for evidence without either. Each starts an [`AttestationResult`] in
//! which every check is `not-reached`, and overwrites the outcomes one by one. So a check that is
//! forgotten, or left out after a rejection, cannot be accepted: [`AttestationResult::is_accepted`]
//! asks every check of the platform.
//!
//! Reading comes first. `envelope` turns `evidence.json` into [`Evidence`], `statement` turns
//! `provenance.json` into a [`Statement`] over the same bytes that are hashed later. Nothing is
//! trusted yet.
//!
//! `evidence` verifies before it appraises. `verify_evidence` checks the certificate
//! (`endorsements`), that it is the report's (`binding`) and the report's signature (`signature`).
//! Only if all three hold, or the second is waived, does it return the receipt
//! [`VerifiedEvidence`], which has no other constructor. Each appraisal of the report needs it:
//! guest policy and firmware (`guest`), then the image, by the launch measurement (`reference`) or
//! by a TPM's quote (`azure`). That step returns the data that the evidence signs, and only that
//! data is compared with statement, key and nonce (`appraisal`).
//!
//! Once a bundle can be read, its statement and its files are appraised in any case, so that a
//! reader sees all that is wrong. Claims are set last, and [`AttestationResult`] drops them unless
//! everything was accepted.
//!
//! The reader's side is `expectations`, `policy`, `chosen` and the data that is compiled in
//! (`published`, `revocation`, `floor`). `outcome` is the only place where a rejection becomes a
//! waived one. `fetched` decides which responses of the key service are worth caching, `verdict`
//! writes the document of a result, and `summary` a verdict that somebody signs for others.

mod appraisal;
pub mod azure;
mod binding;
mod certificate;
mod chosen;
mod compiled_in;
mod endorsements;
mod envelope;
mod evidence;
mod expectations;
mod fetched;
mod floor;
mod guest;
mod json;
mod outcome;
pub mod policy;
mod published;
mod reference;
mod rejection;
mod requested;
mod result;
mod revocation;
mod session;
mod sides;
mod signature;
mod signed_statement;
mod signer;
mod statement;
mod subjects;
pub mod summary;
mod table;
pub mod verdict;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::bundle::read::{Bundle, ReadError};
use crate::digest::Sha256Digest;

pub use certificate::{MAX_CERTIFICATE_BYTES, certificate_der, der_of};
pub use chosen::{Chosen, ExpectedOption, ExpectedOptionError};
pub use endorsements::{TrustRootError, TrustRoots};
pub use envelope::{Evidence, SessionEvidence};
pub use evidence::{NOT_ESTABLISHED, VerifiedEvidence, verify_evidence_alone};
pub use expectations::{
    Expectations, ExpectedArtifact, MinimumTcb, MinimumTcbError, NotWaivable, RepositoryName,
    Waivable,
};
pub use floor::{Advisory, Floor, FloorError, ProductFloor, TcbFloor};
pub use json::JsonError;
pub use published::{KeyDigests, MAX_REFERENCE_BYTES, MAX_REFERENCE_MEASUREMENTS, ReferenceError};
pub use reference::{Anchor, PublishedShape, ReferenceValues};
pub use rejection::{Rejection, Role};
pub use requested::{OptionError, OptionFile, RequestedOptions};
pub use result::{AttestationResult, Check, Outcome, Platform};
pub use revocation::{Revocation, Revocations};
pub use session::{SessionError, pin, public_key_of, verify_session};
pub use sides::Sides;
pub use signed_statement::statement_key;
pub use statement::{ImageClaim, NamedFile, Statement};

use appraisal::SignedData;
use evidence::{Subject, verify_evidence};
use outcome::outcome;

/// The open question about a directory on a file system that does not list extended attributes.
const UNLISTED_ATTRIBUTES: &str = "bundle: the file system of this folder does not list extended \
    attributes, so none was looked for";

/// Verifies a bundle. One that could not be read is rejected by the check `bundle`.
pub fn verify(bundle: Result<Bundle, ReadError>, expectations: &Expectations) -> AttestationResult {
    let named = bundle
        .as_ref()
        .ok()
        .and_then(|bundle| envelope::platform_of(bundle.evidence.as_deref()?));
    let mut result = AttestationResult::new(named.unwrap_or_default());
    let opened = bundle.map_err(Rejection::Bundle).and_then(|bundle| {
        let evidence = Evidence::read(appraisal::evidence(&bundle)?)?;
        Ok((bundle, evidence))
    });
    match opened {
        Ok((bundle, evidence)) => verify_opened(&mut result, &bundle, &evidence, expectations),
        Err(rejection) => result.set(Check::Bundle, Outcome::Reject(rejection)),
    }
    result
}

/// Appraises a bundle without evidence: whether it can be read, is about this nonce, this source
/// and these options, and has the files that its statement names. Anybody can make such a bundle,
/// so this is for a reader who trusts the machine that it came from.
///
/// # Errors
/// The first of them that does not hold.
pub fn appraise_without_evidence(
    bundle: Result<Bundle, ReadError>,
    expectations: &Expectations,
) -> Result<(), Rejection> {
    let bundle = bundle.map_err(Rejection::Bundle)?;
    let statement = Statement::read(&bundle.provenance)?;
    subjects::appraise_time(&bundle, &statement)?;
    subjects::appraise_project(&bundle, &statement)?;
    if let Some(nonce) = &expectations.nonce {
        appraisal::appraise_stated_nonce(Some(&statement), nonce)?;
    }
    appraisal::appraise_expectations(&statement, expectations)?;
    if let Some(envelope) = &bundle.envelope {
        signed_statement::appraise(envelope, &bundle.provenance, &statement)?;
    }
    subjects::appraise(&bundle, &statement)
}

fn verify_opened(
    result: &mut AttestationResult,
    bundle: &Bundle,
    evidence: &Evidence,
    expectations: &Expectations,
) {
    let read = Statement::read(&bundle.provenance);
    let statement = read.as_ref().ok();
    // A statement that cannot be read has neither time nor project, and is rejected by its own
    // check.
    let is_of_statement = statement.map_or(Ok(()), |statement| {
        subjects::appraise_time(bundle, statement)?;
        subjects::appraise_project(bundle, statement)
    });
    if let Err(rejection) = is_of_statement {
        return result.set(Check::Bundle, Outcome::Reject(rejection));
    }
    result.set(Check::Bundle, Outcome::Pass);
    // A statement without an image claims nothing, unlike that of any published image.
    let image = statement.map(|statement| statement.image().unwrap_or_default());
    let verified = verify_evidence(result, evidence, expectations);
    let subject = verified
        .as_ref()
        .and_then(|verified| verified.appraise(result, expectations, image.as_ref()));
    if let Some(subject) = subject {
        appraise_subject(result, subject, &bundle.provenance, statement, expectations);
    }
    match read {
        Ok(statement) => {
            verify_statement(result, bundle, &statement, expectations);
            if let Some(verified) = &verified {
                result.set_claims(claims(bundle, verified, &statement, expectations));
            }
        }
        Err(rejection) => result.set(Check::Statement, Outcome::Reject(rejection)),
    }
}

/// Compares the data that the evidence signs with statement and nonce. A quote about another number
/// of bytes has no nonce to compare.
fn appraise_subject(
    result: &mut AttestationResult,
    subject: Subject<'_>,
    provenance: &[u8],
    statement: Option<&Statement<'_>>,
    expectations: &Expectations,
) {
    let data = match subject {
        Subject::Report(report) => Ok(SignedData::of_report(report)),
        Subject::Quote(quote) => SignedData::of_quoted_build(&quote, provenance),
    };
    match data {
        Ok(data) => {
            let nonce = statement.and_then(Statement::nonce);
            let found = appraisal::appraise_report_data(&data, provenance, nonce.as_ref());
            result.set(Check::ReportData, outcome(found));
            result.set(Check::Nonce, nonce_outcome(&data, statement, expectations));
        }
        Err(rejection) => {
            result.set(Check::ReportData, Outcome::Reject(rejection));
            if expectations.nonce.is_none() {
                result.set(Check::Nonce, Outcome::NotChecked);
            }
        }
    }
}

fn nonce_outcome(
    data: &SignedData,
    statement: Option<&Statement<'_>>,
    expectations: &Expectations,
) -> Outcome {
    let Some(nonce) = &expectations.nonce else {
        return Outcome::NotChecked;
    };
    let in_report = appraisal::appraise_nonce(data, nonce);
    outcome(in_report.and_then(|()| appraisal::appraise_stated_nonce(statement, nonce)))
}

fn verify_statement(
    result: &mut AttestationResult,
    bundle: &Bundle,
    statement: &Statement<'_>,
    expectations: &Expectations,
) {
    let found = statement.appraise(result.platform(), expectations.roots.is_amd());
    result.set(Check::Statement, outcome(found));
    let expected = if appraisal::asks(expectations) {
        outcome(appraisal::appraise_expectations(statement, expectations))
    } else {
        Outcome::NotChecked
    };
    result.set(Check::Expectations, expected);
    let signed = bundle
        .envelope
        .as_ref()
        .map(|envelope| signed_statement::appraise(envelope, &bundle.provenance, statement));
    result.set(Check::Envelope, signed.map_or(Outcome::NotChecked, outcome));
    result.set(
        Check::Subjects,
        outcome(subjects::appraise(bundle, statement)),
    );
}

fn claims(
    bundle: &Bundle,
    verified: &VerifiedEvidence<'_>,
    statement: &Statement<'_>,
    expectations: &Expectations,
) -> Map<String, Value> {
    let mut claims = evidence::claims(verified, expectations);
    if let Some(Value::Array(open)) = claims.get_mut(NOT_ESTABLISHED) {
        if bundle.has_unlisted_attributes {
            open.push(json!(UNLISTED_ATTRIBUTES));
        }
        for (name, value) in appraisal::unexpected_options(statement, expectations) {
            let sentence = format!("expectations: nobody asked for the option {name}={value}");
            open.push(json!(sentence));
        }
    }
    let provenance_sha256 = Sha256Digest::of(&bundle.provenance).to_string();
    let nonce = statement.nonce().map(|nonce| nonce.to_string());
    let options: BTreeMap<_, _> = statement.options().options().collect();
    let link_arguments = statement.displacing_link_arguments();
    claims.extend(result::owned([
        ("build_type", json!(statement.build_type())),
        ("builder", json!(statement.builder())),
        ("repository", json!(statement.repository())),
        ("ref", json!(statement.reference())),
        ("commit", json!(statement.commit())),
        ("archive_sha256", json!(statement.archive())),
        ("options", json!(options)),
        ("nonce", json!(nonce)),
        ("provenance_sha256", json!(provenance_sha256)),
        ("artifacts", json!(bundle.artifacts.len())),
        ("built_here", json!(statement.built_here())),
        ("displacing_link_arguments", json!(link_arguments)),
    ]));
    claims
}
