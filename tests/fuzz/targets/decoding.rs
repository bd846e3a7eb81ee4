//! Functions that the targets for submissions share.

use kettle::api::submission::{Decoder, SubmissionError, Submitted, SubmittedSource};

type Outcome = Result<(Submitted, Vec<u8>), SubmissionError>;

/// Decodes a body, `None` when it is refused; asserts that pieces of several sizes give the same.
pub fn decode(content_type: &str, body: &[u8]) -> Option<(Submitted, Vec<u8>)> {
    let whole = decode_pieces(content_type, body, body.len().max(1));
    for size in [1, 3, body.len() / 2 + 1] {
        assert_eq!(
            comparable(&decode_pieces(content_type, body, size)),
            comparable(&whole),
            "pieces of {size}"
        );
    }
    whole.ok()
}

/// Returns the archive's name, if there is an archive with a name.
pub fn archive_name(submitted: &Submitted) -> Option<Option<&str>> {
    match &submitted.source {
        SubmittedSource::Archive { name } => Some(name.as_deref()),
        SubmittedSource::Repository { .. } => None,
    }
}

fn decode_pieces(content_type: &str, body: &[u8], size: usize) -> Outcome {
    let (mut decoder, mut archive) = (Decoder::new(content_type)?, Vec::new());
    for piece in body.chunks(size) {
        decoder.feed(piece, &mut archive)?;
    }
    Ok((decoder.finish()?, archive))
}

/// Returns everything but a random nonce.
fn comparable(outcome: &Outcome) -> Result<(String, &[u8]), String> {
    match outcome {
        Ok((submitted, archive)) => Ok((format!("{:?}", submitted.source), archive)),
        Err(error) => Err(error.to_string()),
    }
}
