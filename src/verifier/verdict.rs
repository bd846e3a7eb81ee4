//! The verdict as a JSON document: the same bytes from every program that verifies.
//!
//! * In: an attestation result, or the reason why there is none.
//! * Out: one line of printable ASCII. `tests/conformance/verdict.schema.json` describes it.
//! * Never: a claim of a bundle that is not accepted.

use serde_json::{Map, Value, json};

use crate::text;

use super::result::{AttestationResult, Check, Outcome};

/// The exit status of a verification, and the value of the member `status` where there is no
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The bundle or key is accepted.
    Accepted = 0,
    /// The bundle or key is rejected.
    Rejected = 1,
    /// Nothing was verified.
    Error = 2,
}

impl Status {
    /// Returns the status of a result.
    pub fn of(result: &AttestationResult) -> Self {
        if result.is_accepted() {
            Self::Accepted
        } else {
            Self::Rejected
        }
    }

    /// Returns the number that a process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the word in the document's member `verdict`.
    const fn verdict(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Error => "error",
        }
    }
}

/// Returns the document of a result, with a final newline.
pub fn document(result: &AttestationResult) -> String {
    text::json_line(&value(result))
}

/// Returns the document of a run that verified nothing, with a final newline.
pub fn error_document(error: &str) -> String {
    let verdict = Status::Error.verdict();
    text::json_line(&json!({"verdict": verdict, "error": error, "checks": []}))
}

/// Returns the document of a result as a JSON value.
pub fn value(result: &AttestationResult) -> Value {
    let checks: Vec<_> = result
        .outcomes()
        .map(|(check, outcome)| entry(check, outcome))
        .collect();
    let verdict = Status::of(result).verdict();
    json!({"verdict": verdict, "checks": checks, "claims": result.claims()})
}

fn entry(check: Check, outcome: &Outcome) -> Value {
    let mut entry = Map::new();
    entry.insert("check".to_owned(), json!(check.name()));
    entry.insert("outcome".to_owned(), json!(outcome.name()));
    if let Some(rejection) = outcome.rejection() {
        let (expected, actual) = rejection.sides();
        entry.insert("code".to_owned(), json!(rejection.code()));
        entry.insert("expected".to_owned(), json!(expected));
        entry.insert("actual".to_owned(), json!(actual));
        entry.insert("detail".to_owned(), json!(rejection.to_string()));
    }
    Value::Object(entry)
}
