//! The receiving side of `POST /build`. Comes in: a request's headers and its body. Goes out: a [`job::Request`](Request),
//! complete and valid, its archive unpacked. Never: an upload in memory, a file that outlives a refused request, or a
//! field that was ignored.

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
pub(super) mod parameters;
mod spool;

use std::error::Error;

use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;

pub use decoder::Decoder;
pub use error::{FormError, SubmissionError};
pub use field::Field;
pub use fields::{Submitted, SubmittedSource};
pub use spool::Intake;

use crate::job::{Request, SourceRequest};
use body::{Announced, Incoming};
use spool::{BATCH_BYTES, Spool};

/// Bytes that are decoded at once, so that other connections have their turn and buffers stay small.
const SLICE_BYTES: usize = 64 << 10;

/// Reads one submission. Dropping the future removes what it has written.
///
/// # Errors
/// The submission is refused, or a fault of ours: [`SubmissionError::status`] tells.
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
    } = decoder.finish()?;
    let source = match source {
        SubmittedSource::Repository { url, reference } => {
            SourceRequest::Repository { url, reference }
        }
        SubmittedSource::Archive { name } => {
            let spool = write(spool, &mut batch, intake).await?;
            SourceRequest::Archive(spool.unpack(name).await?)
        }
    };
    Ok(Request::new(nonce, nonce_source, source))
}

/// Writes to the spool, which is made when there is none.
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
