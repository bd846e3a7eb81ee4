//! Recognises a refusal of the appliance that was saved in place of a bundle, as `curl -o` does it
//! without `--fail-with-body`.
//!
//! * In: a file that is no bundle.
//! * Out: a sentence for people about it; nothing in a verdict depends on it.
//! * Never: text of the file that is not escaped.

use std::path::Path;

use kettle::inspect::shown;
use serde::Deserialize;

use super::small_file;

/// The largest file that may be a refusal, in bytes; the appliance's have less than a thousand.
const MAX_PROBLEM_BYTES: u64 = 64 << 10;
/// How the types of the appliance's problems begin.
const TYPE: &str = "/problems/";

/// A problem document (RFC 9457), as far as it is shown.
#[derive(Deserialize)]
struct Problem {
    r#type: String,
    status: u16,
    detail: String,
}

/// Returns what a file is, if it is a refusal of the appliance.
pub fn in_place_of_bundle(path: &Path) -> Option<String> {
    let bytes = small_file(path, MAX_PROBLEM_BYTES)?;
    let problem: Problem = serde_json::from_slice(&bytes).ok()?;
    let name = problem.r#type.strip_prefix(TYPE)?;
    Some(format!(
        "{} is no bundle but a refusal of the appliance, status {}, {}: {}",
        shown(&path.display().to_string()),
        problem.status,
        shown(name),
        shown(&problem.detail)
    ))
}
