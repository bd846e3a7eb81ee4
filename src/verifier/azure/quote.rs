//! A TPM's quote over its registers: TPMS_ATTEST of the type quote (TPM 2.0 Library, part 2,
//! section 10.12).
//!
//! * In: the signed bytes.
//! * Out: the caller's data in the quote, and the digest of the registers.
//! * Never: a selection of other registers than all 24 of SHA-256, or a byte after the end.
//!
//! All numbers are big-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | FF544347: made by a TPM |
//! | 2 | 8018: a quote |
//! | 2 + 34 | name of the signer: 000B, SHA-256 |
//! | 2 + n | the caller's data, at most 50 bytes |
//! | 8 + 4 + 4 + 1 | clock, resets, restarts, safe (0 or 1) |
//! | 8 | version of the TPM's firmware |
//! | 4 | banks, 1 |
//! | 2 + 1 + 3 | 000B, three bytes, FFFFFF: the registers 0 to 23 of SHA-256 |
//! | 2 + 32 | SHA-256 over the 24 registers |

/// The longest data of a caller in a quote, in bytes: Azure's TPM takes no more.
pub const MAX_EXTRA_DATA_BYTES: usize = 50;

const MAGIC: u32 = 0xff54_4347;
const TYPE_QUOTE: u16 = 0x8018;
const ALG_SHA256: u16 = 0x000b;
const NAME_BYTES: usize = 34;
const DIGEST_BYTES: usize = 32;
const CLOCK_BYTES: usize = 16;
const FIRMWARE_BYTES: usize = 8;
const ALL_REGISTERS: [u8; 3] = [0xff; 3];

/// Why bytes are no quote over all registers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuoteError {
    /// The bytes are not a structure that a TPM signs.
    #[error("it begins with {actual:08x}, and a structure that a TPM makes with {MAGIC:08x}")]
    Magic {
        /// The first four bytes.
        actual: u32,
    },
    /// It is another kind of attestation.
    #[error("it has the type {actual:04x}, a quote has {TYPE_QUOTE:04x}")]
    Type {
        /// The type that is there.
        actual: u16,
    },
    /// The bytes end too early.
    #[error("it ends within {field}")]
    Truncated {
        /// The field that is cut.
        field: &'static str,
    },
    /// A field has another value than a quote over all registers has.
    #[error("{field} is {actual:#x}, and it is {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// The values that are known.
        expected: &'static str,
        /// The value that is there.
        actual: u64,
    },
    /// The caller's data is too long.
    #[error(
        "the caller's data has {size} bytes, the limit is {MAX_EXTRA_DATA_BYTES} \
         (MAX_EXTRA_DATA_BYTES)"
    )]
    ExtraData {
        /// The number of bytes that were found.
        size: usize,
    },
    /// Bytes follow the end.
    #[error("{count} bytes follow its end")]
    Trailing {
        /// The number of bytes that follow.
        count: usize,
    },
}

/// Why a quote is not about what it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExtraDataError {
    /// It is about another number of bytes.
    #[error("the quote is about {actual} bytes, and not about {expected}")]
    Length {
        /// The number of bytes that is expected.
        expected: usize,
        /// The number of bytes that were found.
        actual: usize,
    },
    /// It is about other bytes of the same number.
    #[error("the quote is about {actual}, and not about {expected}")]
    Bytes {
        /// The expected bytes, hex.
        expected: String,
        /// The bytes in the quote, hex.
        actual: String,
    },
}

/// Appraises the caller's data in a quote, in full length.
///
/// # Errors
/// The quote is about another number of bytes, or about other bytes.
pub fn appraise_extra_data(extra_data: &[u8], expected: &[u8]) -> Result<(), ExtraDataError> {
    if extra_data.len() != expected.len() {
        return Err(ExtraDataError::Length {
            expected: expected.len(),
            actual: extra_data.len(),
        });
    }
    if extra_data != expected {
        let (expected, actual) = (hex::encode(expected), hex::encode(extra_data));
        return Err(ExtraDataError::Bytes { expected, actual });
    }
    Ok(())
}

/// A quote that was read. Its signature is not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    extra_data: Vec<u8>,
    register_digest: [u8; DIGEST_BYTES],
}

impl Quote {
    /// Reads the signed bytes.
    ///
    /// # Errors
    /// They are not in the form of the table above.
    pub fn read(message: &[u8]) -> Result<Self, QuoteError> {
        let mut rest = Rest(message);
        match rest.u32("the magic")? {
            MAGIC => {}
            actual => return Err(QuoteError::Magic { actual }),
        }
        match rest.u16("the type")? {
            TYPE_QUOTE => {}
            actual => return Err(QuoteError::Type { actual }),
        }
        rest.signer()?;
        let extra_data = rest.extra_data()?;
        rest.take(CLOCK_BYTES, "the clock")?;
        rest.expect_byte("the clock's word that it is safe", &[0, 1], "0 or 1")?;
        rest.take(FIRMWARE_BYTES, "the version of the firmware")?;
        rest.selection()?;
        let register_digest = rest.digest()?;
        match rest.0.len() {
            0 => Ok(Self {
                extra_data,
                register_digest,
            }),
            count => Err(QuoteError::Trailing { count }),
        }
    }

    /// Returns the data that the caller put into the quote, at most 50 bytes.
    pub fn extra_data(&self) -> &[u8] {
        &self.extra_data
    }

    /// Returns the caller's data, and drops the rest of the quote.
    pub(super) fn into_extra_data(self) -> Vec<u8> {
        self.extra_data
    }

    /// Returns the SHA-256 digest over the registers.
    pub fn register_digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.register_digest
    }
}

/// The bytes that are left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], QuoteError> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return Err(QuoteError::Truncated { field });
        };
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], QuoteError> {
        let taken = self.take(N, field)?;
        Ok(std::array::from_fn(|index| taken[index]))
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, QuoteError> {
        self.array(field).map(u16::from_be_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, QuoteError> {
        self.array(field).map(u32::from_be_bytes)
    }

    fn expect_u16(
        &mut self,
        field: &'static str,
        value: u16,
        expected: &'static str,
    ) -> Result<(), QuoteError> {
        match self.u16(field)? {
            actual if actual == value => Ok(()),
            actual => Err(QuoteError::Field {
                field,
                expected,
                actual: actual.into(),
            }),
        }
    }

    fn expect_byte(
        &mut self,
        field: &'static str,
        values: &[u8],
        expected: &'static str,
    ) -> Result<(), QuoteError> {
        let [actual] = self.array(field)?;
        if values.contains(&actual) {
            return Ok(());
        }
        Err(QuoteError::Field {
            field,
            expected,
            actual: actual.into(),
        })
    }

    /// Reads the signer's name, which is an algorithm and a digest.
    fn signer(&mut self) -> Result<(), QuoteError> {
        self.expect_u16("the size of the signer's name", NAME_BYTES as u16, "34")?;
        self.expect_u16(
            "the algorithm of the signer's name",
            ALG_SHA256,
            "000b, SHA-256",
        )?;
        self.take(NAME_BYTES - 2, "the signer's name").map(drop)
    }

    fn extra_data(&mut self) -> Result<Vec<u8>, QuoteError> {
        let size = usize::from(self.u16("the size of the caller's data")?);
        if size > MAX_EXTRA_DATA_BYTES {
            return Err(QuoteError::ExtraData { size });
        }
        self.take(size, "the caller's data").map(<[u8]>::to_vec)
    }

    /// Expects one bank, and all of its registers.
    fn selection(&mut self) -> Result<(), QuoteError> {
        let field = "the number of banks";
        let banks = self.u32(field)?;
        if banks != 1 {
            return Err(QuoteError::Field {
                field,
                expected: "1",
                actual: banks.into(),
            });
        }
        self.expect_u16("the bank", ALG_SHA256, "000b, SHA-256")?;
        self.expect_byte(
            "the size of the selection",
            &[ALL_REGISTERS.len() as u8],
            "3",
        )?;
        let selected: [u8; 3] = self.array("the selection")?;
        if selected == ALL_REGISTERS {
            return Ok(());
        }
        let [first, second, third] = selected;
        Err(QuoteError::Field {
            field: "the selection",
            expected: "ffffff, all registers",
            actual: u32::from_be_bytes([0, first, second, third]).into(),
        })
    }

    fn digest(&mut self) -> Result<[u8; DIGEST_BYTES], QuoteError> {
        self.expect_u16("the size of the digest", DIGEST_BYTES as u16, "32")?;
        self.array("the digest of the registers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] =
        include_bytes!("../../../tests/data/snp/azure/live-milan-v3/quote_message.bin");
    const LONG: &[u8] = include_bytes!("../../../tests/data/snp/azure/genoa-v3/quote_message.bin");

    #[test]
    fn real_quotes_have_their_parts() {
        let quote = Quote::read(REAL).unwrap();
        assert_eq!(quote.extra_data(), b"attestation-test-fixture");
        assert_eq!(hex::encode(&quote.register_digest()[..4]), "5230f6ae");
        assert_eq!(Quote::read(LONG).unwrap().extra_data().len(), 48);
    }

    #[test]
    fn a_quote_ends_where_it_ends() {
        for length in 0..REAL.len() {
            let refusal = Quote::read(&REAL[..length]).unwrap_err();
            assert!(
                matches!(refusal, QuoteError::Truncated { .. }),
                "{length}: {refusal}"
            );
        }
        assert_eq!(
            Quote::read(&[REAL, &[0, 0]].concat()),
            Err(QuoteError::Trailing { count: 2 })
        );
    }

    #[test]
    fn fields_with_one_value_have_it() {
        let data = 44 + b"attestation-test-fixture".len();
        let (safe, banks) = (data + 16, data + 16 + 1 + 8);
        let places = [
            0..4,
            4..6,
            6..8,
            8..10,
            safe..safe + 1,
            banks..banks + 10,
            banks + 10..banks + 12,
        ];
        for offset in places.into_iter().flatten() {
            let mut bytes = REAL.to_vec();
            bytes[offset] ^= 2;
            let refusal = Quote::read(&bytes).unwrap_err();
            match offset {
                0..4 => assert!(matches!(refusal, QuoteError::Magic { .. }), "{refusal}"),
                4..6 => assert!(matches!(refusal, QuoteError::Type { .. }), "{refusal}"),
                _ => assert!(
                    matches!(refusal, QuoteError::Field { .. }),
                    "{offset}: {refusal}"
                ),
            }
        }
    }

    #[test]
    fn data_over_fifty_bytes_is_refused() {
        let with = |size: u16| {
            let data = 44 + b"attestation-test-fixture".len();
            [
                &REAL[..42],
                &size.to_be_bytes(),
                &vec![7; usize::from(size)],
                &REAL[data..],
            ]
            .concat()
        };
        assert_eq!(Quote::read(&with(50)).unwrap().extra_data(), [7; 50]);
        assert!(Quote::read(&with(0)).unwrap().extra_data().is_empty());
        assert_eq!(
            Quote::read(&with(51)),
            Err(QuoteError::ExtraData { size: 51 })
        );
    }
}
