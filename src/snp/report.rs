//! A view of an attestation report. Comes in: 1184 bytes. Goes out: its fields by name. Never: a field judged; anybody can
//! write such bytes, and only the signature over them says who did.
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

use std::fmt;
use std::ops::Range;

use super::measurement::LaunchMeasurement;
use super::tcb::{Product, TcbVersion};

/// Length of a report, in bytes.
pub const REPORT_BYTES: usize = 0x4a0;
/// How many of them, from the first, are signed.
pub const SIGNED_BYTES: usize = 0x2a0;
/// The first version whose layout is known here.
pub const MIN_VERSION: u32 = 2;
/// The last one.
pub const MAX_VERSION: u32 = 5;
/// The only signature algorithm there is: ECDSA on P-384 with SHA-384 (AMD 56860, SIGNATURE_ALGO).
pub const ECDSA_P384_SHA384: u32 = 1;
/// The first version that names the processor.
const FIRST_VERSION_WITH_CPUID: u32 = 3;
/// The first version with mitigation vectors.
const FIRST_VERSION_WITH_MITIGATIONS: u32 = 5;
/// Bytes of R, and of S, that belong to the number.
const SCALAR_BYTES: usize = 48;
/// Bytes that the report has for R, and for S.
const SCALAR_FIELD_BYTES: usize = 72;
/// Where R begins.
const R: usize = SIGNED_BYTES;
/// Where S begins.
const S: usize = R + SCALAR_FIELD_BYTES;

/// The bytes are no report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an attestation report has {REPORT_BYTES} bytes, this has {actual}")]
pub struct LengthError {
    /// Bytes that there are.
    pub actual: usize,
}

/// The report's bytes, as the firmware wrote them or as somebody says it did.
#[derive(Clone, PartialEq, Eq)]
pub struct Report(Box<[u8; REPORT_BYTES]>);

/// What key signed, as the report says (AMD 56860, SIGNING_KEY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own: versioned chip endorsement key.
    Vcek,
    /// The cloud's: versioned loaded endorsement key.
    Vlek,
    /// None: the report is not signed.
    None,
    /// A value without meaning.
    Reserved(u8),
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek => f.write_str("VCEK"),
            Self::Vlek => f.write_str("VLEK"),
            Self::None => f.write_str("none"),
            Self::Reserved(value) => write!(f, "reserved value {value}"),
        }
    }
}

/// What the guest allows its host (AMD 56860, table 9: guest policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Bits 26 to 63, which have no meaning yet.
    pub const RESERVED: u64 = !((1 << 26) - 1);
    /// Always one.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// A migration agent may be associated.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may read and write the guest's memory.
    pub const DEBUG: u64 = 1 << 19;

    /// Whether the host may debug.
    pub const fn debug(self) -> bool {
        self.0 & Self::DEBUG != 0
    }

    /// Whether a migration agent may be associated.
    pub const fn migrate_ma(self) -> bool {
        self.0 & Self::MIGRATE_MA != 0
    }
}

impl fmt::Display for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// How the machine is configured (AMD 56860 revision 1.58, PLATFORM_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Since the last reset the firmware has looked for memory that two addresses reach, and found none.
    pub const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;

    /// The bits with a name in that document, from the lowest.
    const NAMES: [(u64, &str); 7] = [
        (1 << 0, "smt"),
        (1 << 1, "tsme"),
        (1 << 2, "ecc"),
        (1 << 3, "rapl-disabled"),
        (1 << 4, "ciphertext-hiding"),
        (Self::ALIAS_CHECK_COMPLETE, "alias-check-complete"),
        (1 << 7, "tio"),
    ];

    /// Whether the firmware has made sure that no memory has two addresses.
    pub const fn alias_check_complete(self) -> bool {
        self.0 & Self::ALIAS_CHECK_COMPLETE != 0
    }
}

impl fmt::Display for PlatformInfo {
    /// The number, then the names of its bits that have one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)?;
        let named = Self::NAMES.iter().filter(|(bit, _)| self.0 & bit != 0);
        let named: Vec<_> = named.map(|(_, name)| *name).collect();
        if named.is_empty() { Ok(()) } else { write!(f, " ({})", named.join(", ")) }
    }
}

/// Which silicon made a report. Two processors of one product can count their microcode differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Combined family.
    pub family: u8,
    /// Combined model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, model, stepping } = self;
        write!(f, "family {family:#x} model {model:#x} stepping {stepping}")
    }
}

impl From<[u8; REPORT_BYTES]> for Report {
    fn from(bytes: [u8; REPORT_BYTES]) -> Self {
        Self(Box::new(bytes))
    }
}

impl TryFrom<&[u8]> for Report {
    type Error = LengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, LengthError> {
        let bytes: [u8; REPORT_BYTES] = bytes.try_into().map_err(|_| LengthError { actual: bytes.len() })?;
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

    /// All of it.
    pub fn as_bytes(&self) -> &[u8; REPORT_BYTES] {
        &self.0
    }

    /// What the signature is over.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.0[..SIGNED_BYTES]
    }

    /// VERSION.
    pub fn version(&self) -> u32 {
        self.u32(0)
    }

    /// GUEST_SVN.
    pub fn guest_svn(&self) -> u32 {
        self.u32(4)
    }

    /// POLICY.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(u64::from_le_bytes(self.array(8)))
    }

    /// VMPL: the privilege level that asked, 0 the highest; all ones for the host.
    pub fn vmpl(&self) -> u32 {
        self.u32(0x30)
    }

    /// SIGNATURE_ALGO.
    pub fn signature_algorithm(&self) -> u32 {
        self.u32(0x34)
    }

    /// PLATFORM_INFO: how the machine is configured, in the firmware's words. Neither guest nor host writes it.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(u64::from_le_bytes(self.array(0x40)))
    }

    /// Whether AUTHOR_KEY_DIGEST means something.
    pub fn author_key_enabled(&self) -> bool {
        self.u32(0x48) & 1 != 0
    }

    /// Whether the host told the firmware to sign nothing and to hide the chip.
    pub fn mask_chip_key(&self) -> bool {
        self.u32(0x48) & 2 != 0
    }

    /// SIGNING_KEY.
    pub fn signing_key(&self) -> SigningKey {
        match (self.0[0x48] >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            other => SigningKey::Reserved(other),
        }
    }

    /// REPORT_DATA: what the guest chose.
    pub fn report_data(&self) -> [u8; 64] {
        self.array(0x50)
    }

    /// MEASUREMENT.
    pub fn measurement(&self) -> LaunchMeasurement {
        LaunchMeasurement::from_bytes(self.array(0x90))
    }

    /// HOST_DATA: what the host chose at launch.
    pub fn host_data(&self) -> [u8; 32] {
        self.array(0xc0)
    }

    /// ID_KEY_DIGEST: SHA-384 of the key that signed the guest's ID block; zeros without one.
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.array(0xe0)
    }

    /// AUTHOR_KEY_DIGEST: SHA-384 of the key that certified the ID key; zeros without one.
    pub fn author_key_digest(&self) -> [u8; 48] {
        self.array(0x110)
    }

    /// CHIP_ID: 64 bytes, on Turin 8 and zeros.
    pub fn chip_id(&self) -> [u8; 64] {
        self.array(0x1a0)
    }

    /// CPUID family and model, combined; none before version 3.
    pub fn cpuid(&self) -> Option<(u8, u8)> {
        (self.version() >= FIRST_VERSION_WITH_CPUID).then(|| (self.0[0x188], self.0[0x189]))
    }

    /// CPUID family (combined), model (combined) and stepping; none before version 3.
    pub fn processor(&self) -> Option<Processor> {
        let (family, model) = self.cpuid()?;
        Some(Processor { family, model, stepping: self.0[0x18a] })
    }

    /// CURRENT_TCB: what runs.
    pub fn current_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x38), product)
    }

    /// REPORTED_TCB: what the signing key was derived from.
    pub fn reported_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x180), product)
    }

    /// COMMITTED_TCB: what cannot be rolled back.
    pub fn committed_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x1e0), product)
    }

    /// LAUNCH_TCB: what ran when the guest was launched or imported.
    pub fn launch_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x1f0), product)
    }

    /// R of the signature, 48 bytes, big-endian; none if its padding is not zero.
    pub fn signature_r(&self) -> Option<[u8; SCALAR_BYTES]> {
        self.scalar(R)
    }

    /// S of the signature, likewise.
    pub fn signature_s(&self) -> Option<[u8; SCALAR_BYTES]> {
        self.scalar(S)
    }

    fn scalar(&self, offset: usize) -> Option<[u8; SCALAR_BYTES]> {
        let padding = offset + SCALAR_BYTES..offset + SCALAR_FIELD_BYTES;
        let mut bytes: [u8; SCALAR_BYTES] = self.array(offset);
        bytes.reverse();
        self.0[padding].iter().all(|byte| *byte == 0).then_some(bytes)
    }

    /// The offset of the first byte that must be zero in this version and is not. The padding of R and S is not looked at.
    pub fn reserved_not_zero(&self) -> Option<usize> {
        const ALWAYS: [Range<usize>; 6] =
            [0x4c..0x50, 0x18b..0x1a0, 0x1eb..0x1ec, 0x1ef..0x1f0, 0x208..0x2a0, 0x330..0x4a0];
        /// Bits 5 to 31 of the word with the keys.
        const KEY_INFO_RESERVED: u32 = !0x1f;
        if self.u32(0x48) & KEY_INFO_RESERVED != 0 {
            return Some(0x48);
        }
        let no_cpuid = (self.version() < FIRST_VERSION_WITH_CPUID).then_some(0x188..0x18b);
        let no_mitigations = (self.version() < FIRST_VERSION_WITH_MITIGATIONS).then_some(0x1f8..0x208);
        ALWAYS.into_iter().chain(no_cpuid).chain(no_mitigations).flatten().find(|offset| self.0[*offset] != 0)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({})", hex::encode(self.0.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &[(usize, u8)]) -> Report {
        let mut bytes = [0; REPORT_BYTES];
        for (offset, value) in changes {
            bytes[*offset] = *value;
        }
        Report::try_from(&bytes[..]).unwrap()
    }

    #[test]
    fn only_one_length_is_a_report() {
        for length in [0, 1183, 1185, 2368] {
            assert_eq!(Report::try_from(&vec![0; length][..]), Err(LengthError { actual: length }));
        }
    }

    #[test]
    fn fields_that_came_later_are_reserved_before() {
        for (version, offset, reserved) in
            [(2, 0x188, true), (3, 0x188, false), (4, 0x1f8, true), (5, 0x207, false), (5, 0x208, true)]
        {
            let found = with(&[(0, version), (offset, 1)]).reserved_not_zero();
            assert_eq!(found, reserved.then_some(offset), "version {version}, {offset:#x}");
        }
        assert_eq!(with(&[(0x4b, 0x80)]).reserved_not_zero(), Some(0x48));
    }

    #[test]
    fn scalars_are_little_endian_with_zero_padding() {
        let report = with(&[(0x2a0, 5), (0x2e8 + 48, 1)]);
        assert_eq!(report.signature_r().unwrap()[47], 5);
        assert_eq!(report.signature_s(), None);
    }

    #[test]
    fn the_configuration_of_the_machine_is_named_by_its_bits() {
        let report = with(&[(0x40, 0x65)]);
        assert_eq!(report.platform_info().to_string(), "0x65 (smt, ecc, alias-check-complete)");
        assert!(report.platform_info().alias_check_complete());
        assert!(!with(&[(0x40, 0xdf)]).platform_info().alias_check_complete());
        assert_eq!(PlatformInfo(0).to_string(), "0x0");
    }

    #[test]
    fn signing_keys_are_told_apart() {
        let key = |bits: u8| with(&[(0x48, bits << 2)]).signing_key();
        assert_eq!([key(0), key(1), key(7)], [SigningKey::Vcek, SigningKey::Vlek, SigningKey::None]);
        assert_eq!(key(2), SigningKey::Reserved(2));
    }
}
