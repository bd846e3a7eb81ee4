//! The report that Azure's paravisor keeps in the machine's TPM (NV index 0x01400001).
//!
//! * In: its bytes, from anybody.
//! * Out: the attestation report in it, and the bytes of the runtime claims, unchanged.
//! * Never: a byte passed over, or a size that another one contradicts.
//!
//! All numbers are little-endian. "HCL" is Microsoft's name for the layer that the paravisor forms.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x000 | 4 | `HCLA` |
//! | 0x004 | 4 | version, 1 or 2 |
//! | 0x008 | 4 | size of everything but the padding |
//! | 0x00c | 4 | type of the request, 2 |
//! | 0x010 | 4 | status, 0 |
//! | 0x014 | 12 | reserved, zero |
//! | 0x020 | 1184 | attestation report |
//! | 0x4c0 | 4 | size from here to the end of the claims |
//! | 0x4c4 | 4 | version of the request, 1 or 2 |
//! | 0x4c8 | 4 | type of the report, 2 for SNP |
//! | 0x4cc | 4 | hash over the claims, 1 for SHA-256 |
//! | 0x4d0 | 4 | size of the claims |
//! | 0x4d4 | 4 | in version 2 only: capabilities, which are neither signed nor read |
//! | 0x4d4 or 0x4d8 | | claims, JSON; then zeros |

use std::ops::Range;

use crate::snp::report::{REPORT_BYTES, Report};

/// Largest HCL report, in bytes: the size of the NV index.
pub const MAX_HCL_BYTES: usize = 2600;

const MAGIC: &[u8; 4] = b"HCLA";
const RESERVED: Range<usize> = 0x14..0x20;
const REPORT: usize = 0x20;
const DATA: usize = REPORT + REPORT_BYTES;
/// The number of bytes between the start of the data and the claims, by the version of the request.
const REQUEST_BYTES: [(u32, usize); 2] = [(1, 20), (2, 24)];
const MIN_HCL_BYTES: usize = DATA + 20;

/// Why bytes are no HCL report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HclError {
    /// There are too few or too many bytes.
    #[error("it has {size} bytes, an HCL report has {MIN_HCL_BYTES} to {MAX_HCL_BYTES}")]
    Size {
        /// The number of bytes that were given.
        size: usize,
    },
    /// The first four bytes are not `HCLA`.
    #[error("it does not begin with HCLA")]
    Magic,
    /// A field has an unknown value.
    #[error("{field} at {offset:#x} is {actual}, known is {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// Its offset in the report, in bytes.
        offset: usize,
        /// The values that are known.
        expected: &'static str,
        /// The value that is there.
        actual: u32,
    },
    /// A size contradicts the sum of the others.
    #[error("{field} is {actual}, the other sizes make it {expected}")]
    Sizes {
        /// The field's name.
        field: &'static str,
        /// The value that the other sizes require.
        expected: usize,
        /// The value that is there.
        actual: usize,
    },
    /// A byte without a meaning is not zero.
    #[error("a byte is set that must be zero (offset {offset:#x})")]
    NotZero {
        /// The byte's offset in the report.
        offset: usize,
    },
}

/// An HCL report whose sizes add up. No signature of it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HclReport {
    report: Report,
    claims: Vec<u8>,
    version: u32,
    request_version: u32,
}

impl HclReport {
    /// Reads an HCL report.
    ///
    /// # Errors
    /// The bytes are not in the form of the table above.
    pub fn read(bytes: &[u8]) -> Result<Self, HclError> {
        if !(MIN_HCL_BYTES..=MAX_HCL_BYTES).contains(&bytes.len()) {
            return Err(HclError::Size { size: bytes.len() });
        }
        if !bytes.starts_with(MAGIC) {
            return Err(HclError::Magic);
        }
        let view = View(bytes);
        let version = view.known("version", 0x04, &[1, 2], "1 or 2")?;
        view.known("the type of the request", 0x0c, &[2], "2")?;
        view.known("the status", 0x10, &[0], "0")?;
        view.zero(RESERVED)?;
        let request_version = view.known("the version of the request", 0x4c4, &[1, 2], "1 or 2")?;
        view.known("the type of the report", 0x4c8, &[2], "2, SNP")?;
        view.known("the hash of the claims", 0x4cc, &[1], "1, SHA-256")?;
        let claims = view.claims(request_version)?;
        view.zero(claims.end..bytes.len())?;
        let report = Report::from(std::array::from_fn(|index| bytes[REPORT + index]));
        Ok(Self {
            report,
            claims: bytes[claims].to_vec(),
            version,
            request_version,
        })
    }

    /// Returns the attestation report that it contains.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the runtime claims, byte by byte as they were hashed.
    pub fn claims(&self) -> &[u8] {
        &self.claims
    }

    /// Returns the version of the envelope and the version of the request, for people.
    pub fn versions(&self) -> (u32, u32) {
        (self.version, self.request_version)
    }
}

/// Bytes that are long enough for every field at a fixed offset.
struct View<'a>(&'a [u8]);

impl View<'_> {
    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|index| self.0[offset + index]))
    }

    fn size(&self, offset: usize) -> usize {
        self.u32(offset) as usize
    }

    fn known(
        &self,
        field: &'static str,
        offset: usize,
        values: &[u32],
        expected: &'static str,
    ) -> Result<u32, HclError> {
        let actual = self.u32(offset);
        if values.contains(&actual) {
            return Ok(actual);
        }
        Err(HclError::Field {
            field,
            offset,
            expected,
            actual,
        })
    }

    fn zero(&self, range: Range<usize>) -> Result<(), HclError> {
        match self.0[range.clone()].iter().position(|byte| *byte != 0) {
            Some(index) => Err(HclError::NotZero {
                offset: range.start + index,
            }),
            None => Ok(()),
        }
    }

    /// Returns the range of the claims. Each size has to follow from the others, and all of them
    /// lie within the bytes.
    fn claims(&self, request_version: u32) -> Result<Range<usize>, HclError> {
        let (data_size, claims_size) = (self.size(0x4c0), self.size(0x4d0));
        let between = request_bytes(request_version);
        let sizes = |field, expected, actual| {
            Err(HclError::Sizes {
                field,
                expected,
                actual,
            })
        };
        let Some(expected) = data_size.checked_sub(between) else {
            return sizes("the size of the data", between, data_size);
        };
        if claims_size != expected {
            return sizes("the size of the claims", expected, claims_size);
        }
        if data_size > self.0.len() - DATA {
            return sizes("the size of the data", self.0.len() - DATA, data_size);
        }
        let end = DATA + data_size;
        if self.size(0x08) != end {
            return sizes("the size of the report", end, self.size(0x08));
        }
        Ok(DATA + between..end)
    }
}

/// Returns the number of bytes between the start of the data and the claims.
fn request_bytes(request_version: u32) -> usize {
    let mut versions = REQUEST_BYTES.iter();
    let known = versions.find(|(version, _)| *version == request_version);
    known.map_or(0, |(_, bytes)| *bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] =
        include_bytes!("../../../tests/data/snp/azure/live-milan-v3/hcl_report.bin");
    const CLAIMS: &[u8] =
        include_bytes!("../../../tests/data/snp/azure/live-milan-v3/runtime_data.json");

    fn set(bytes: &mut [u8], offset: usize, value: u32) {
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    #[test]
    fn a_real_report_has_its_parts() {
        let read = HclReport::read(REAL).unwrap();
        assert_eq!(read.claims(), CLAIMS);
        assert_eq!(read.report().as_bytes()[..], REAL[0x20..0x4c0]);
        assert_eq!(read.versions(), (1, 1));
    }

    #[test]
    fn the_second_version_of_the_request_has_four_bytes_more() {
        let mut bytes = REAL.to_vec();
        let sizes = [0x08, 0x4c0].map(|offset| (offset, View(REAL).u32(offset) + 4));
        sizes
            .into_iter()
            .for_each(|(offset, size)| set(&mut bytes, offset, size));
        set(&mut bytes, 0x4c4, 2);
        bytes.splice(0x4d4..0x4d4, [7, 0, 0, 0]);
        bytes.truncate(MAX_HCL_BYTES);
        let read = HclReport::read(&bytes).unwrap();
        assert_eq!((read.claims(), read.versions()), (CLAIMS, (1, 2)));
        set(&mut bytes, 0x4c4, 1);
        assert!(matches!(
            HclReport::read(&bytes),
            Err(HclError::Sizes { .. })
        ));
    }

    #[test]
    fn no_size_is_believed_alone() {
        for (offset, expected) in [
            (0x08, "the size of the report"),
            (0x4c0, "the size of the claims"),
            (0x4d0, "the size of the claims"),
        ] {
            for value in [
                0,
                1,
                View(REAL).u32(offset) - 1,
                View(REAL).u32(offset) + 1,
                0x7fff_ffff,
                u32::MAX,
            ] {
                let mut bytes = REAL.to_vec();
                set(&mut bytes, offset, value);
                let refusal = HclReport::read(&bytes).unwrap_err();
                let HclError::Sizes { field, .. } = refusal else {
                    panic!("{value:#x}: {refusal}")
                };
                assert!(field == expected || value < 24, "{value:#x}: {field}");
            }
        }
        for (data, claims) in [
            (u32::MAX, u32::MAX - 20),
            (1390, 1370),
            (0x8000_0000, 0x8000_0000 - 20),
        ] {
            let mut bytes = REAL.to_vec();
            set(&mut bytes, 0x4c0, data);
            set(&mut bytes, 0x4d0, claims);
            assert!(
                matches!(HclReport::read(&bytes), Err(HclError::Sizes { .. })),
                "{data:#x}"
            );
        }
    }

    #[test]
    fn every_byte_outside_of_report_and_claims_has_one_value() {
        let claims = 0x4d4..0x4d4 + CLAIMS.len();
        for offset in (0..0x20).chain(0x4c0..0x4d4).chain(claims.end..REAL.len()) {
            for bit in 0..8 {
                let mut bytes = REAL.to_vec();
                bytes[offset] ^= 1 << bit;
                assert!(HclReport::read(&bytes).is_err(), "bit {bit} of {offset:#x}");
            }
        }
    }

    #[test]
    fn a_cut_report_is_refused_unless_only_padding_is_gone() {
        let end = 0x4d4 + CLAIMS.len();
        for length in 0..REAL.len() {
            assert_eq!(
                HclReport::read(&REAL[..length]).is_ok(),
                length >= end,
                "{length}"
            );
        }
        assert!(HclReport::read(&[REAL, &[0]].concat()).is_err());
    }
}
