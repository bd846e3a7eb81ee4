//! Converts bytes to nix's base 32 and back (nix manual, "Nix32 encoding").
//!
//! * In: bytes, or digits.
//! * Out: the other of the two.
//! * Never: digits that a shorter text could represent.
//!
//! The digit at the end of the text has the lowest five bits of the first byte; the text is read
//! from its end.

/// The digits: all but `e`, `o`, `u` and `t`.
const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Returns the number of digits that represent `bytes` bytes.
pub(super) const fn digits(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Returns whether `digit` is a digit of base 32.
pub(super) fn is_digit(digit: u8) -> bool {
    DIGITS.contains(&digit)
}

/// Returns the digits that represent `bytes`.
pub(super) fn encode(bytes: &[u8]) -> String {
    let byte = |index: usize| u16::from(bytes.get(index).copied().unwrap_or(0));
    let digit = |number: usize| {
        let (index, shift) = (number * 5 / 8, number * 5 % 8);
        let window = byte(index) | byte(index + 1) << 8;
        char::from(DIGITS[usize::from(window >> shift & 0x1f)])
    };
    (0..digits(bytes.len())).rev().map(digit).collect()
}

/// Returns the `N` bytes that `text` represents; `None` when it has another length, another
/// character, or too many bits.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != digits(N) {
        return None;
    }
    let mut bytes = [0; N];
    for (number, digit) in text.bytes().rev().enumerate() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        let (index, shift) = (number * 5 / 8, number * 5 % 8);
        let [low, high] = u16::to_le_bytes((value as u16) << shift);
        bytes[index] |= low;
        match bytes.get_mut(index + 1) {
            Some(next) => *next |= high,
            None if high == 0 => {}
            None => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nix hash path --base16` and `--base32` of one file.
    const HEX: &str = "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";
    const BASE32: &str = "04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";

    #[test]
    fn says_what_nix_says() {
        let bytes: [u8; 32] = hex::decode(HEX).unwrap().try_into().unwrap();
        assert_eq!(encode(&bytes), BASE32);
        assert_eq!(decode::<32>(BASE32), Some(bytes));
        assert_eq!(
            (encode(&[]), encode(&[0xff]), encode(&[0; 20])),
            (String::new(), "7z".to_owned(), "0".repeat(32))
        );
    }

    #[test]
    fn refuses_what_is_no_digest() {
        assert_eq!(decode::<32>(&BASE32[1..]), None);
        assert_eq!(decode::<32>(&BASE32.replace('4', "e")), None);
        assert_eq!(
            decode::<32>(&BASE32.replacen('0', "2", 1)),
            None,
            "260 bits do not fit"
        );
        assert_eq!(decode::<1>("é"), None);
    }
}
