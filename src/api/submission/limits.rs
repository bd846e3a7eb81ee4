//! How much a submission may cost. Every refusal says the limit it met.

use std::time::Duration;

use crate::api::limits::limits;

limits! {
    /// Largest archive, in bytes, as it is after any base64 was decoded.
    MAX_ARCHIVE_BYTES: u64 = 2 << 30, bytes, "largest archive";

    /// Largest `multipart/form-data` body: the largest archive and room for fields and framing.
    MAX_FORM_BODY_BYTES: u64 = MAX_ARCHIVE_BYTES + (1 << 20), bytes, "largest form";

    /// Largest JSON body: base64 makes four of three, and `\/` for each slash adds a sixty-fourth; the rest is room.
    MAX_JSON_BODY_BYTES: u64 = MAX_ARCHIVE_BYTES / 2 * 3, bytes, "largest JSON body";

    /// Largest JSON document, in bytes, when the value of `source_data` is not counted.
    MAX_JSON_FIELDS_BYTES: usize = 64 << 10, bytes, "JSON without the archive";

    /// Longest value of a field other than the archive, in bytes.
    MAX_FIELD_BYTES: usize = 4 << 10, bytes, "one field";

    /// Longest file name, in bytes: what file systems take.
    MAX_SOURCE_NAME_BYTES: usize = 255, bytes, "file name of an archive";

    /// Most parts of a form.
    MAX_PARTS: usize = 16, count, "parts of a form";

    /// Most header lines of a part.
    MAX_PART_HEADERS: usize = 16, count, "header fields of a part";

    /// Longest header block of a part, in bytes with the empty line that ends it; also the longest padding after a
    /// boundary.
    MAX_PART_HEADER_BYTES: usize = 8 << 10, bytes, "header of a part";

    /// Most bytes of a form before its first and after its last boundary together.
    MAX_OUTSIDE_PARTS_BYTES: usize = 64 << 10, bytes, "of a form outside its parts";

    /// Longest boundary of a form, in bytes (RFC 2046, section 5.1.1).
    MAX_BOUNDARY_BYTES: usize = 70, bytes, "boundary of a form";

    /// Longest wait for the next bytes of a body.
    BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(30), time, "until more of a body comes";

    /// Longest wait for the bytes of a body in all: the largest archive at 5 Mbit/s takes 57 minutes.
    MAX_UPLOAD_TIME: Duration = Duration::from_secs(60 * 60), time, "for a whole body";

    /// Most uploads that are on disk at once, until the first is accepted.
    MAX_CONCURRENT_UPLOADS: usize = 8, count, "archives received at once; further ones wait";
}
