//! Any bytes as the beginning of a connection, up to the end of a header block.

use kettle::api::header_block::{BodyFraming, HeaderBlock, HeaderError, Scanner};

/// Returns the first verdict on bytes that come in pieces of this size.
fn in_pieces(data: &[u8], piece: usize) -> Result<Option<HeaderBlock>, HeaderError> {
    let mut scanner = Scanner::default();
    for end in (piece..data.len()).step_by(piece) {
        match scanner.scan(&data[..end]) {
            Ok(None) => (),
            verdict => return verdict,
        }
    }
    scanner.scan(data)
}

/// The pieces make no difference, and an accepted block has one end, one host and one way to end
/// its body, for every reader that splits it at line ends.
pub fn target(data: &[u8]) {
    check(data);
    check(&with_line_ends(data));
}

/// Returns the lines of the input as those of a header block, so that changes get past the end of a
/// line.
fn with_line_ends(data: &[u8]) -> Vec<u8> {
    let mut block = data
        .split(|byte| *byte == b'\n')
        .collect::<Vec<_>>()
        .join(&b"\r\n"[..]);
    block.extend(b"\r\n\r\n");
    block
}

fn check(data: &[u8]) {
    let verdict = in_pieces(data, data.len().max(1));
    assert_eq!(in_pieces(data, 1), verdict);
    assert_eq!(in_pieces(data, 7), verdict);
    let Ok(Some(HeaderBlock { start, end, body })) = verdict else {
        return;
    };
    let block = &data[start..end];
    let text = String::from_utf8_lossy(block);
    assert_eq!(text.find("\r\n\r\n"), Some(text.len() - 4));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(data[..start].iter().all(|byte| b"\r\n".contains(byte)));
    let names: Vec<_> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .collect();
    let count = |wanted: &str| {
        names
            .iter()
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
            .count()
    };
    assert_eq!(count("host"), 1);
    let framing = (count("content-length"), count("transfer-encoding"));
    match body {
        BodyFraming::Absent => assert!(framing == (0, 0) || framing == (1, 0)),
        BodyFraming::Length(length) => assert!(framing == (1, 0) && length > 0),
        BodyFraming::Chunked => assert_eq!(framing, (0, 1)),
    }
}
