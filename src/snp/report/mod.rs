//! A view of an attestation report.
//!
//! * In: 1184 bytes.
//! * Out: their fields by name.
//! * Never: a field judged. Anybody can write such bytes; only the signature over them shows who
//!   did.
//!
//! ATTESTATION_REPORT, AMD 56860 revision 1.58 (versions 2 to 5); all numbers little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x000 | 4 | VERSION |
//! | 0x004 | 4 | GUEST_SVN |
//! | 0x008 | 8 | POLICY |
//! | 0x010 | 16 | FAMILY_ID |
//! | 0x020 | 16 | IMAGE_ID |
//! | 0x030 | 4 | VMPL |
//! | 0x034 | 4 | SIGNATURE_ALGO |
//! | 0x038 | 8 | CURRENT_TCB |
//! | 0x040 | 8 | PLATFORM_INFO |
//! | 0x048 | 4 | AUTHOR_KEY_EN (bit 0), MASK_CHIP_KEY (bit 1), SIGNING_KEY (bits 2 to 4) |
//! | 0x04c | 4 | reserved |
//! | 0x050 | 64 | REPORT_DATA |
//! | 0x090 | 48 | MEASUREMENT |
//! | 0x0c0 | 32 | HOST_DATA |
//! | 0x0e0 | 48 | ID_KEY_DIGEST |
//! | 0x110 | 48 | AUTHOR_KEY_DIGEST |
//! | 0x140 | 32 | REPORT_ID |
//! | 0x160 | 32 | REPORT_ID_MA |
//! | 0x180 | 8 | REPORTED_TCB |
//! | 0x188 | 3 | CPUID family, model, stepping; reserved before version 3 |
//! | 0x18b | 21 | reserved |
//! | 0x1a0 | 64 | CHIP_ID |
//! | 0x1e0 | 8 | COMMITTED_TCB |
//! | 0x1e8 | 3 | CURRENT_BUILD, MINOR, MAJOR; then 1 reserved |
//! | 0x1ec | 3 | COMMITTED_BUILD, MINOR, MAJOR; then 1 reserved |
//! | 0x1f0 | 8 | LAUNCH_TCB |
//! | 0x1f8 | 16 | LAUNCH_MIT_VECTOR, CURRENT_MIT_VECTOR; reserved before version 5 |
//! | 0x208 | 152 | reserved |
//! | 0x2a0 | 72 | R of the signature; 48 bytes and zeros |
//! | 0x2e8 | 72 | S of the signature; 48 bytes and zeros |
//! | 0x330 | 368 | reserved |

#[cfg(feature = "appraisal")]
mod fields;

use std::fmt;

use super::measurement::LaunchMeasurement;
#[cfg(feature = "appraisal")]
pub use fields::{
    ECDSA_P384_SHA384, GuestPolicy, MAX_VERSION, MIN_VERSION, PlatformInfo, Processor, SIGNED_BYTES,
};

/// The length of a report, in bytes.
pub const REPORT_BYTES: usize = 0x4a0;

/// The bytes have another length than a report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an attestation report has {REPORT_BYTES} bytes, this has {actual}")]
pub struct LengthError {
    /// The number of bytes that were given.
    pub actual: usize,
}

/// The bytes of a report, as the firmware wrote them or as somebody claims it did.
#[derive(Clone, PartialEq, Eq)]
pub struct Report(Box<[u8; REPORT_BYTES]>);

/// The kind of key that signed, as the report states it (AMD 56860, SIGNING_KEY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own key: versioned chip endorsement key.
    Vcek,
    /// The cloud's key: versioned loaded endorsement key.
    Vlek,
    /// No key: the report is not signed.
    None,
    /// A value without meaning.
    Reserved(u8),
}

impl From<[u8; REPORT_BYTES]> for Report {
    fn from(bytes: [u8; REPORT_BYTES]) -> Self {
        Self(Box::new(bytes))
    }
}

impl TryFrom<&[u8]> for Report {
    type Error = LengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, LengthError> {
        let bytes: [u8; REPORT_BYTES] = bytes.try_into().map_err(|_| LengthError {
            actual: bytes.len(),
        })?;
        Ok(Self::from(bytes))
    }
}

impl Report {
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0[offset + index])
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    /// Returns all bytes of the report.
    pub fn as_bytes(&self) -> &[u8; REPORT_BYTES] {
        &self.0
    }

    /// Returns MASK_CHIP_KEY: whether the host told the firmware to sign nothing and to hide the
    /// chip.
    pub fn mask_chip_key(&self) -> bool {
        self.u32(0x48) & 2 != 0
    }

    /// Returns SIGNING_KEY, the kind of key that signed.
    pub fn signing_key(&self) -> SigningKey {
        match (self.0[0x48] >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            other => SigningKey::Reserved(other),
        }
    }

    /// Returns REPORT_DATA, the 64 bytes that the guest chose.
    pub fn report_data(&self) -> [u8; 64] {
        self.array(0x50)
    }

    /// Returns MEASUREMENT, the launch measurement.
    pub fn measurement(&self) -> LaunchMeasurement {
        LaunchMeasurement::from_bytes(self.array(0x90))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({})", hex::encode(self.0.as_slice()))
    }
}
