//! How much a submission may cost. Every refusal says the limit it met.

use std::time::Duration;

/// Largest archive, in bytes, as it is after any base64 was decoded.
pub const MAX_ARCHIVE_BYTES: u64 = 2 << 30;

/// Largest `multipart/form-data` body: the largest archive and room for fields and framing.
pub const MAX_FORM_BODY_BYTES: u64 = MAX_ARCHIVE_BYTES + (1 << 20);

/// Largest JSON body: base64 makes four of three, and `\/` for each slash adds a sixty-fourth; the rest is room.
pub const MAX_JSON_BODY_BYTES: u64 = MAX_ARCHIVE_BYTES / 2 * 3;

/// Largest JSON document, in bytes, when the value of `source_data` is not counted.
pub const MAX_JSON_FIELDS_BYTES: usize = 64 << 10;

/// Longest value of a field other than the archive, in bytes.
pub const MAX_FIELD_BYTES: usize = 4 << 10;

/// Longest file name, in bytes: what file systems take.
pub const MAX_SOURCE_NAME_BYTES: usize = 255;

/// Most parts of a form.
pub const MAX_PARTS: usize = 16;

/// Most header lines of a part.
pub const MAX_PART_HEADERS: usize = 16;

/// Longest header block of a part, in bytes with the empty line that ends it; also the longest padding after a
/// boundary.
pub const MAX_PART_HEADER_BYTES: usize = 8 << 10;

/// Most bytes of a form before its first and after its last boundary together.
pub const MAX_OUTSIDE_PARTS_BYTES: usize = 64 << 10;

/// Longest boundary of a form, in bytes (RFC 2046, section 5.1.1).
pub const MAX_BOUNDARY_BYTES: usize = 70;

/// Longest wait for the next bytes of a body.
pub const BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the bytes of a body in all: the largest archive at 5 Mbit/s takes 57 minutes.
pub const MAX_UPLOAD_TIME: Duration = Duration::from_secs(60 * 60);

/// Most uploads that are on disk at once, until the first is accepted.
pub const MAX_CONCURRENT_UPLOADS: usize = 8;
