//! Downloads the bundle, in as many pieces as it takes.
//!
//! * In: the id of a job that succeeded.
//! * Out: the bytes in a file, compared with the digest that the appliance announced.
//! * Never: bytes of two responses that do not belong together, or more than a bundle may have.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{self, HeaderName};

use super::appliance::{Accepted, Appliance, MAX_DOCUMENT_BYTES, Refusal, SubmitError};
use super::error::ClientError;
use super::request::Reply;
use super::retry::{Observer, Retries};
use crate::bundle::read::MAX_BUNDLE_BYTES;
use crate::digest::Sha256Digest;

/// Largest bundle that is downloaded, in bytes.
pub const MAX_DOWNLOAD_BYTES: u64 = MAX_BUNDLE_BYTES;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A bundle that was downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// The number of bytes.
    pub size: u64,
    /// The digest of the bytes.
    pub sha256: Sha256Digest,
}

/// How much of which bundle has arrived.
#[derive(Debug, Default)]
struct Have {
    bytes: u64,
    etag: Option<String>,
    total: Option<u64>,
    announced: Option<String>,
}

impl Appliance {
    /// Downloads the bundle into `file`, which is empty. A download that was cut is continued.
    ///
    /// # Errors
    /// There is no bundle, the appliance can no longer be reached, or the bytes do not have the
    /// announced digest.
    pub async fn download(
        &self,
        job: &Accepted,
        file: &mut File,
        retries: &mut Retries,
        observer: &mut dyn Observer,
    ) -> Result<Download, SubmitError> {
        let mut have = Have::default();
        loop {
            let before = have.bytes;
            match self.part(job, file, &mut have, observer).await {
                Ok(()) => break,
                Err(SubmitError::Client(error)) => {
                    if have.bytes > before {
                        retries.progressed();
                    }
                    retries.after(error, observer).await?;
                }
                Err(refused) => return Err(refused),
            }
        }
        file.rewind().map_err(ClientError::File)?;
        let (sha256, size) = Sha256Digest::of_reader(&mut *file).map_err(ClientError::File)?;
        let actual = format!("sha-256=:{}:", STANDARD.encode(sha256.as_bytes()));
        if let Some(announced) = have.announced
            && announced != actual
        {
            let place = self.client.address().to_string();
            return Err(SubmitError::Client(ClientError::Digest {
                place,
                announced,
                actual,
            }));
        }
        Ok(Download { size, sha256 })
    }

    /// Downloads what is missing, in one response.
    async fn part(
        &self,
        job: &Accepted,
        file: &mut File,
        have: &mut Have,
        observer: &mut dyn Observer,
    ) -> Result<(), SubmitError> {
        let range = format!("bytes={}-", have.bytes);
        let etag = have.etag.clone().filter(|_| have.bytes > 0);
        let mut headers = Vec::new();
        if let Some(tag) = &etag {
            headers.push((header::RANGE, range.as_str()));
            headers.push((header::IF_RANGE, tag.as_str()));
        }
        let path = format!("/build/{}/result", job.id);
        let mut reply = self.client.get(&path, &headers).await?;
        match reply.status {
            StatusCode::OK => have.start(&reply)?,
            StatusCode::PARTIAL_CONTENT if starts_at(&reply, have.bytes) => {}
            StatusCode::PARTIAL_CONTENT => return Err(reply.unexpected("another range").into()),
            _ => {
                let body = reply
                    .whole(MAX_DOCUMENT_BYTES, "MAX_DOCUMENT_BYTES")
                    .await?;
                return Err(Refusal::read(&reply, &body).into());
            }
        }
        self.receive(&mut reply, file, have, observer).await?;
        Ok(())
    }

    /// Appends the rest of the bundle to `file`.
    async fn receive(
        &self,
        reply: &mut Reply,
        file: &mut File,
        have: &mut Have,
        observer: &mut dyn Observer,
    ) -> Result<(), ClientError> {
        let place = || self.client.address().to_string();
        file.set_len(have.bytes).map_err(ClientError::File)?;
        file.seek(SeekFrom::Start(have.bytes))
            .map_err(ClientError::File)?;
        let announced = have.total.unwrap_or(MAX_DOWNLOAD_BYTES);
        let limit = announced.min(MAX_DOWNLOAD_BYTES);
        while let Some(piece) = reply.piece().await? {
            let size = have.bytes + piece.len() as u64;
            if size > limit {
                return Err(ClientError::TooLong {
                    place: place(),
                    limit,
                    name: "MAX_DOWNLOAD_BYTES",
                });
            }
            file.write_all(&piece).map_err(ClientError::File)?;
            have.bytes = size;
            observer.received(have.bytes, have.total.unwrap_or(have.bytes));
        }
        let missing = have.total.map_or(0, |total| total - have.bytes);
        if missing > 0 {
            return Err(ClientError::Short {
                place: place(),
                missing,
            });
        }
        file.flush().map_err(ClientError::File)
    }
}

impl Have {
    /// Starts again with a response that has the whole bundle.
    fn start(&mut self, reply: &Reply) -> Result<(), ClientError> {
        let total = reply
            .header(&header::CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        let Some(total) = total else {
            return Err(reply.unexpected("no length of the bundle"));
        };
        *self = Self {
            bytes: 0,
            etag: reply.header(&header::ETAG).map(str::to_owned),
            total: Some(total),
            announced: reply.header(&REPR_DIGEST).map(str::to_owned),
        };
        Ok(())
    }
}

fn starts_at(reply: &Reply, start: u64) -> bool {
    let range = reply.header(&header::CONTENT_RANGE).unwrap_or_default();
    range.starts_with(&format!("bytes {start}-"))
}
