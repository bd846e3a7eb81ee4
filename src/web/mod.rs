//! The verifier as a module for programs that are not Rust: browsers, node, and others that run
//! WebAssembly.
//!
//! * In: options as JSON, and the bytes of a bundle or of a session's evidence, in pieces.
//! * Out: the document that `kettle verify --json` prints, byte for byte, its status, and the files
//!   of the bundle.
//! * Never: a clock, a network, a file, or a decision of its own: all of it is `verifier`'s.
//!
//! `exports` is the module's interface to its host, and exists in WebAssembly only; the functions
//! here can be called and tested everywhere. `scripts/web` builds the module, and
//! `src/web/npm/index.mjs` calls it.

#[cfg(target_family = "wasm")]
mod exports;
mod options;

use std::io::{self, BufReader, Read};

use serde_json::{Value, json};

use crate::bundle::read::{self, Bundle, HashedFile};
use crate::causes::Chain;
use crate::digest::Sha256Digest;
use crate::verifier::verdict::{self, Status};
use crate::verifier::{AttestationResult, verify, verify_session};

use options::{Options, Subject, UsageError};

/// The size in bytes of the pieces in which a bundle is read.
const PIECE_BYTES: usize = 256 << 10;
/// Largest session document, in bytes, as for `kettle verify --session`.
const MAX_SESSION_BYTES: u64 = 1 << 20;

/// Verifies what `input` returns, and returns the outcome as JSON:
///
/// | member | value |
/// |---|---|
/// | `status` | 0 accepted, 1 rejected, 2 nothing was verified |
/// | `document` | the document of `kettle verify --json`, as text |
/// | `files` | the artifacts that the bundle has, each with `name`, `sha256`, `size`, `executable`; empty if it cannot be read |
///
/// The files are those that were read: their digests are compared with the statement by the check
/// `subjects`, and mean nothing if the bundle is not accepted.
pub fn verified(options: &[u8], input: impl Read) -> Value {
    match outcome(options, input) {
        Ok(outcome) => outcome,
        Err(error) => json!({
            "status": Status::Error.code(),
            "document": verdict::error_document(&Chain(&error).to_string()),
            "files": [],
        }),
    }
}

/// Returns the SHA-256 digest of everything that `input` returns, and its size, as JSON:
/// `sha256` and `size`; or `error`.
pub fn digested(input: impl Read) -> Value {
    match Sha256Digest::of_reader(input) {
        Ok((sha256, size)) => json!({"sha256": sha256.to_string(), "size": size}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn outcome(options: &[u8], input: impl Read) -> Result<Value, UsageError> {
    let options = Options::read(options)?;
    let expectations = options.expectations()?;
    match options.subject(&expectations)? {
        Subject::Bundle { size } => {
            let input = BufReader::with_capacity(PIECE_BYTES, input);
            let bundle = read::stream_of_size(input, size);
            let files = bundle.as_ref().map(files).unwrap_or_default();
            Ok(report(&verify(bundle, &expectations), files))
        }
        Subject::Session { nonce, public_key } => {
            let document = session(input).map_err(UsageError::Input)?;
            let key = public_key.as_deref();
            let result = verify_session(&document, &nonce, key, &expectations);
            Ok(report(&result, Vec::new()))
        }
    }
}

fn session(input: impl Read) -> io::Result<Vec<u8>> {
    let mut document = Vec::new();
    input
        .take(MAX_SESSION_BYTES + 1)
        .read_to_end(&mut document)?;
    if document.len() as u64 > MAX_SESSION_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(document)
}

fn report(result: &AttestationResult, files: Vec<Value>) -> Value {
    json!({
        "status": Status::of(result).code(),
        "document": verdict::document(result),
        "files": files,
    })
}

fn files(bundle: &Bundle) -> Vec<Value> {
    bundle.artifacts.iter().map(file).collect()
}

fn file(file: &HashedFile) -> Value {
    json!({
        "name": file.name,
        "sha256": file.sha256.to_string(),
        "size": file.size,
        "executable": file.executable,
    })
}
