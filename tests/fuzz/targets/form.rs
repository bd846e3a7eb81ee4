//! Any bytes as a submitted form.

use super::decoding;

/// The boundary of the rebuilt form.
const BOUNDARY: &str = "--other-boundary";

/// Every cut gives the same; an accepted archive is accepted again in a form that we build.
pub fn target(data: &[u8]) {
    let Some((submitted, archive)) = decoding::decode("multipart/form-data; boundary=b", data)
    else {
        return;
    };
    let Some(name) = decoding::archive_name(&submitted) else {
        return;
    };
    assert!(archive.is_empty() || data.windows(archive.len()).any(|bytes| bytes == archive));
    if archive
        .windows(BOUNDARY.len())
        .any(|bytes| bytes == BOUNDARY.as_bytes())
    {
        return;
    }
    let quoted = name
        .unwrap_or_default()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    let nonce = &submitted.nonce;
    let head = format!(
        "{BOUNDARY}\r\nContent-Disposition: form-data; name=nonce\r\n\r\n{nonce}\r\n{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=source; filename=\"{quoted}\"\r\n\r\n"
    );
    let again = [
        head.as_bytes(),
        &archive,
        format!("\r\n{BOUNDARY}--").as_bytes(),
    ]
    .concat();
    let (resubmitted, rearchived) =
        decoding::decode("multipart/form-data; boundary=other-boundary", &again)
            .expect("our own form was refused");
    assert_eq!(
        (decoding::archive_name(&resubmitted), rearchived),
        (Some(name), archive)
    );
    assert_eq!(resubmitted.nonce, submitted.nonce);
}
