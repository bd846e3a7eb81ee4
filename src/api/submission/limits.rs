//! Limits what a submission may cost. Every refusal names the limit that was exceeded.

use std::time::Duration;

use crate::api::limits::limits;

limits! {
    /// The size of the largest archive, in bytes, after any base64 was decoded.
    MAX_ARCHIVE_BYTES: u64 = 2 << 30, bytes, "largest archive";

    /// The size of the largest `multipart/form-data` body: the largest archive, and room for fields
    /// and framing.
    MAX_FORM_BODY_BYTES: u64 = MAX_ARCHIVE_BYTES + (1 << 20), bytes, "largest form";

    /// The size of the largest JSON body: base64 has four bytes for three, and `\/` for each slash
    /// adds a sixty-fourth; the rest is room for fields.
    MAX_JSON_BODY_BYTES: u64 = MAX_ARCHIVE_BYTES / 2 * 3, bytes, "largest JSON body";

    /// The size of the largest JSON document, in bytes, without the value of `source_data`.
    MAX_JSON_FIELDS_BYTES: usize = 64 << 10, bytes, "JSON without the archive";

    /// The length of the longest value of a field other than the archive, in bytes.
    MAX_FIELD_BYTES: usize = 4 << 10, bytes, "one field";

    /// The length of the longest file name, in bytes: that of file systems.
    MAX_SOURCE_NAME_BYTES: usize = 255, bytes, "file name of an archive";

    /// The largest number of parts of a form.
    MAX_PARTS: usize = 16, count, "parts of a form";

    /// The largest number of header lines of a part.
    MAX_PART_HEADERS: usize = 16, count, "header fields of a part";

    /// The length of the longest header block of a part, in bytes with the empty line that ends it;
    /// also of the longest padding after a boundary.
    MAX_PART_HEADER_BYTES: usize = 8 << 10, bytes, "header of a part";

    /// The largest number of bytes of a form before its first and after its last boundary together.
    MAX_OUTSIDE_PARTS_BYTES: usize = 64 << 10, bytes, "of a form outside its parts";

    /// The length of the longest boundary of a form, in bytes (RFC 2046, section 5.1.1).
    MAX_BOUNDARY_BYTES: usize = 70, bytes, "boundary of a form";

    /// The longest wait for the next bytes of a body.
    BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(30), time, "until more of a body comes";

    /// The longest wait for a whole body: the largest archive at 5 Mbit/s takes 57 minutes.
    MAX_UPLOAD_TIME: Duration = Duration::from_secs(60 * 60), time, "for a whole body";

    /// The largest number of uploads that are on disk at once, until the first is accepted.
    MAX_CONCURRENT_UPLOADS: usize = 8, count, "archives received at once; further ones wait";
}
