//! Decodes base64 (RFC 4648, section 4) in pieces.
//!
//! * In: digits, cut anywhere.
//! * Out: the bytes, after every four digits.
//! * Never: white space, another alphabet, missing padding, or bits that are set after the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The number of digits that are decoded together.
const QUAD: usize = 4;

/// The error of text that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotBase64;

/// A decoder of one text.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    carry: Vec<u8>,
    ended: bool,
}

impl Decoder {
    /// Takes the next digits and appends the bytes that they encode to `out`.
    pub(super) fn push(&mut self, mut digits: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        if !self.carry.is_empty() {
            let missing = digits.len().min(QUAD - self.carry.len());
            self.carry.extend_from_slice(&digits[..missing]);
            digits = &digits[missing..];
            if self.carry.len() < QUAD {
                return Ok(());
            }
            let quad = std::mem::take(&mut self.carry);
            self.decode(&quad, out)?;
        }
        let (quads, rest) = digits.split_at(digits.len() / QUAD * QUAD);
        self.decode(quads, out)?;
        self.carry.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the text, whose digits have to be complete.
    pub(super) fn finish(&self) -> Result<(), NotBase64> {
        if self.carry.is_empty() {
            Ok(())
        } else {
            Err(NotBase64)
        }
    }

    fn decode(&mut self, quads: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        if quads.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err(NotBase64);
        }
        self.ended = quads.ends_with(b"=");
        STANDARD.decode_vec(quads, out).map_err(|_| NotBase64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<u8>, NotBase64> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.push(piece, &mut out)?;
        }
        decoder.finish().map(|()| out)
    }

    #[test]
    fn decodes_the_vectors_of_the_standard_in_any_pieces() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(decode(&[head, tail]).unwrap(), plain.as_bytes());
            }
            assert_eq!(
                decode(&text.as_bytes().chunks(1).collect::<Vec<_>>()).unwrap(),
                plain.as_bytes()
            );
        }
    }

    #[test]
    fn refuses_everything_else_in_any_pieces() {
        for text in [
            "Zg",
            "Zg=",
            "Z",
            "====",
            "=Zg=",
            "Zh==",
            "Zm9v\n",
            "Zm 9",
            "-_-_",
            "Zg==Zg==",
            "Zg===",
            "Zm9vé===",
        ] {
            assert_eq!(decode(&[text.as_bytes()]), Err(NotBase64), "{text}");
            assert_eq!(
                decode(&text.as_bytes().chunks(1).collect::<Vec<_>>()),
                Err(NotBase64),
                "{text}"
            );
        }
    }
}
