//! Receives the submissions of `POST /build`.
//!
//! * In: a request's headers and its body.
//! * Out: a [`job::Request`](Request), complete and valid, its archive unpacked.
//! * Never: an upload in memory, a file that outlives a refused request, or a field that was
//!   ignored.
//!
//! # How a body becomes a request
//!
//! 1. `body` reads the framing and the type from the headers, and then delivers the body in pieces,
//!    within its limits.
//! 2. `decoder` chooses the format by the type: `json`, or `form` over `multipart`. Both cut the
//!    archive out while it comes and give everything else to `fields`, which checks each field as
//!    soon as it has come: a body with a bad nonce is refused before its archive has come.
//! 3. `spool` writes the archive into its own directory, in batches, and hashes it. At the end
//!    it unpacks it and asks the toolchain room whether there is a project in it for the `options`
//!    that were chosen.
//! 4. `error` states each refusal to the caller. Dropping the future at any point removes the
//!    directory.

mod base64;
mod body;
mod decoder;
mod error;
mod field;
mod fields;
mod form;
mod json;
pub mod limits;
mod multipart;
mod options;
pub(super) mod parameters;
mod spool;
mod value;

use std::error::Error;

use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;

pub use decoder::Decoder;
pub use error::{FormError, SubmissionError};
pub use field::Field;
pub use fields::{Submitted, SubmittedSource};
pub use spool::Intake;

use super::caller::Scheme;
use crate::job::{Request, SourceRequest};
use body::{Announced, Incoming};
use spool::{BATCH_BYTES, Spool};

/// The number of bytes that are decoded at once, so that other connections have their turn and
/// buffers stay small.
const SLICE_BYTES: usize = 64 << 10;

/// Reads one submission. Dropping the future removes the files that it has written.
///
/// # Errors
/// The submission is refused, or there is an internal error: [`SubmissionError::status`] tells
/// which.
pub async fn receive<B>(parts: &Parts, body: B, intake: &Intake) -> Result<Request, SubmissionError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let announced = Announced::read(&parts.headers)?;
    let mut decoder = Decoder::new(announced.content_type)?;
    let mut body = Incoming::new(body, &announced, decoder.max_body_bytes())?;
    let mut batch = Vec::new();
    let mut spool = None;
    while let Some(bytes) = body.next().await? {
        for slice in bytes.chunks(SLICE_BYTES) {
            decoder.feed(slice, &mut batch)?;
            if decoder.has_archive() && (spool.is_none() || batch.len() >= BATCH_BYTES) {
                spool = Some(write(spool, &mut batch, intake).await?);
            }
        }
    }
    let Submitted {
        nonce,
        nonce_source,
        source,
        options,
    } = decoder.finish()?;
    let source = match source {
        SubmittedSource::Repository { token, .. } if token.is_some() && !is_encrypted(parts) => {
            return Err(SubmissionError::TokenInPlaintext);
        }
        SubmittedSource::Repository {
            url,
            reference,
            token,
        } => SourceRequest::Repository {
            url,
            reference,
            token,
        },
        SubmittedSource::Archive { name } => {
            let spool = write(spool, &mut batch, intake).await?;
            SourceRequest::Archive(spool.unpack(name, options.clone()).await?)
        }
    };
    Ok(Request::new(nonce, nonce_source, source, options))
}

/// Returns whether the request came in by the port with TLS; one of which that is not known did
/// not.
fn is_encrypted(parts: &Parts) -> bool {
    parts.extensions.get() == Some(&Scheme::Https)
}

/// Writes to the spool, which is created when there is none.
async fn write(
    spool: Option<Spool>,
    batch: &mut Vec<u8>,
    intake: &Intake,
) -> Result<Spool, SubmissionError> {
    let spool = match spool {
        Some(spool) => spool,
        None => Spool::create(intake).await?,
    };
    spool.write(batch).await
}
