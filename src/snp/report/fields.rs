//! The fields of a report that a verifier reads, beside the few that the attester reads too.
//!
//! * In: a [`Report`].
//! * Out: its fields by name.
//! * Never: a field judged.

use std::fmt;
use std::ops::Range;

use super::{Report, SigningKey};
use crate::snp::tcb::{Product, TcbVersion};

/// The number of bytes that are signed, from the first.
pub const SIGNED_BYTES: usize = 0x2a0;
/// The first version whose layout is known here.
pub const MIN_VERSION: u32 = 2;
/// The last version whose layout is known here.
pub const MAX_VERSION: u32 = 5;
/// The only signature algorithm that is defined: ECDSA on P-384 with SHA-384 (AMD 56860,
/// SIGNATURE_ALGO).
pub const ECDSA_P384_SHA384: u32 = 1;
/// The first version that names the processor.
const FIRST_VERSION_WITH_CPUID: u32 = 3;
/// The first version with mitigation vectors.
const FIRST_VERSION_WITH_MITIGATIONS: u32 = 5;
/// The bytes of R, and of S, that belong to the number.
const SCALAR_BYTES: usize = 48;
/// The bytes that the report has for R, and for S.
const SCALAR_FIELD_BYTES: usize = 72;
/// The offset of R in the report.
const R: usize = SIGNED_BYTES;
/// The offset of S in the report.
const S: usize = R + SCALAR_FIELD_BYTES;

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

/// The guest policy: what the guest allows its host (AMD 56860, table 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Bits 26 to 63, which have no meaning yet.
    pub const RESERVED: u64 = !((1 << 26) - 1);
    /// Bit 17, which is always one.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// A migration agent may be associated.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may read and write the guest's memory.
    pub const DEBUG: u64 = 1 << 19;

    /// Returns whether the host may debug the guest.
    pub const fn debug(self) -> bool {
        self.0 & Self::DEBUG != 0
    }

    /// Returns whether a migration agent may be associated.
    pub const fn migrate_ma(self) -> bool {
        self.0 & Self::MIGRATE_MA != 0
    }
}

impl fmt::Display for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The configuration of the machine (AMD 56860 revision 1.58, PLATFORM_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// The firmware has looked for memory with two addresses since the last reset, and found none.
    pub const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;

    /// The bits that have a name in that document, from the lowest.
    const NAMES: [(u64, &str); 7] = [
        (1 << 0, "smt"),
        (1 << 1, "tsme"),
        (1 << 2, "ecc"),
        (1 << 3, "rapl-disabled"),
        (1 << 4, "ciphertext-hiding"),
        (Self::ALIAS_CHECK_COMPLETE, "alias-check-complete"),
        (1 << 7, "tio"),
    ];

    /// Returns whether the firmware has checked that no memory has two addresses.
    pub const fn alias_check_complete(self) -> bool {
        self.0 & Self::ALIAS_CHECK_COMPLETE != 0
    }
}

impl fmt::Display for PlatformInfo {
    /// Writes the number, then the names of its bits that have one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)?;
        let named = Self::NAMES.iter().filter(|(bit, _)| self.0 & bit != 0);
        let named: Vec<_> = named.map(|(_, name)| *name).collect();
        if named.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", named.join(", "))
        }
    }
}

/// The processor that made a report. Two processors of one product can number their microcode
/// differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// The combined CPUID family.
    pub family: u8,
    /// The combined CPUID model.
    pub model: u8,
    /// The CPUID stepping.
    pub stepping: u8,
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            model,
            stepping,
        } = self;
        write!(f, "family {family:#x} model {model:#x} stepping {stepping}")
    }
}

impl Report {
    /// Returns the bytes that the signature is over.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.0[..SIGNED_BYTES]
    }

    /// Returns VERSION, on which the layout depends.
    pub fn version(&self) -> u32 {
        self.u32(0)
    }

    /// Returns GUEST_SVN, the version that the guest's owner chose.
    pub fn guest_svn(&self) -> u32 {
        self.u32(4)
    }

    /// Returns POLICY, the guest policy.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(u64::from_le_bytes(self.array(8)))
    }

    /// Returns VMPL, the privilege level of the request, 0 the highest; all ones for the host.
    pub fn vmpl(&self) -> u32 {
        self.u32(0x30)
    }

    /// Returns SIGNATURE_ALGO, the signature algorithm.
    pub fn signature_algorithm(&self) -> u32 {
        self.u32(0x34)
    }

    /// Returns PLATFORM_INFO, the machine's configuration. The firmware writes it, neither guest
    /// nor host.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(u64::from_le_bytes(self.array(0x40)))
    }

    /// Returns AUTHOR_KEY_EN: whether AUTHOR_KEY_DIGEST has a meaning.
    pub fn author_key_enabled(&self) -> bool {
        self.u32(0x48) & 1 != 0
    }

    /// Returns HOST_DATA, which the host chose at launch.
    pub fn host_data(&self) -> [u8; 32] {
        self.array(0xc0)
    }

    /// Returns ID_KEY_DIGEST: SHA-384 of the key that signed the guest's ID block; zeros without
    /// one.
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.array(0xe0)
    }

    /// Returns AUTHOR_KEY_DIGEST: SHA-384 of the key that certified the ID key; zeros without one.
    pub fn author_key_digest(&self) -> [u8; 48] {
        self.array(0x110)
    }

    /// Returns CHIP_ID: 64 bytes, on Turin 8 and zeros.
    pub fn chip_id(&self) -> [u8; 64] {
        self.array(0x1a0)
    }

    /// Returns the combined CPUID family and model; none before version 3.
    pub fn cpuid(&self) -> Option<(u8, u8)> {
        (self.version() >= FIRST_VERSION_WITH_CPUID).then(|| (self.0[0x188], self.0[0x189]))
    }

    /// Returns the combined CPUID family and model with the stepping; none before version 3.
    pub fn processor(&self) -> Option<Processor> {
        let (family, model) = self.cpuid()?;
        Some(Processor {
            family,
            model,
            stepping: self.0[0x18a],
        })
    }

    /// Returns CURRENT_TCB, the versions that run.
    pub fn current_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x38), product)
    }

    /// Returns REPORTED_TCB, the versions from which the signing key was derived.
    pub fn reported_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x180), product)
    }

    /// Returns COMMITTED_TCB, the versions below which the firmware cannot be rolled back.
    pub fn committed_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x1e0), product)
    }

    /// Returns LAUNCH_TCB, the versions that ran when the guest was launched or imported.
    pub fn launch_tcb(&self, product: Product) -> TcbVersion {
        TcbVersion::new(self.array(0x1f0), product)
    }

    /// Returns R of the signature, 48 bytes, big-endian; none if its padding is not zero.
    pub fn signature_r(&self) -> Option<[u8; SCALAR_BYTES]> {
        self.scalar(R)
    }

    /// Returns S of the signature, 48 bytes, big-endian; none if its padding is not zero.
    pub fn signature_s(&self) -> Option<[u8; SCALAR_BYTES]> {
        self.scalar(S)
    }

    fn scalar(&self, offset: usize) -> Option<[u8; SCALAR_BYTES]> {
        let padding = offset + SCALAR_BYTES..offset + SCALAR_FIELD_BYTES;
        let mut bytes: [u8; SCALAR_BYTES] = self.array(offset);
        bytes.reverse();
        let is_padded = self.0[padding].iter().all(|byte| *byte == 0);
        is_padded.then_some(bytes)
    }

    /// Returns the offset of the first byte that must be zero in this version and is not. The
    /// padding of R and S is not checked here.
    pub fn reserved_not_zero(&self) -> Option<usize> {
        const ALWAYS: [Range<usize>; 6] = [
            0x4c..0x50,
            0x18b..0x1a0,
            0x1eb..0x1ec,
            0x1ef..0x1f0,
            0x208..0x2a0,
            0x330..0x4a0,
        ];
        /// Bits 5 to 31 of the word with the keys.
        const KEY_INFO_RESERVED: u32 = !0x1f;
        if self.u32(0x48) & KEY_INFO_RESERVED != 0 {
            return Some(0x48);
        }
        let no_cpuid = (self.version() < FIRST_VERSION_WITH_CPUID).then_some(0x188..0x18b);
        let no_mitigations =
            (self.version() < FIRST_VERSION_WITH_MITIGATIONS).then_some(0x1f8..0x208);
        ALWAYS
            .into_iter()
            .chain(no_cpuid)
            .chain(no_mitigations)
            .flatten()
            .find(|offset| self.0[*offset] != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snp::report::{LengthError, REPORT_BYTES};

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
            assert_eq!(
                Report::try_from(&vec![0; length][..]),
                Err(LengthError { actual: length })
            );
        }
    }

    #[test]
    fn fields_that_came_later_are_reserved_before() {
        for (version, offset, reserved) in [
            (2, 0x188, true),
            (3, 0x188, false),
            (4, 0x1f8, true),
            (5, 0x207, false),
            (5, 0x208, true),
        ] {
            let found = with(&[(0, version), (offset, 1)]).reserved_not_zero();
            assert_eq!(
                found,
                reserved.then_some(offset),
                "version {version}, {offset:#x}"
            );
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
        assert_eq!(
            report.platform_info().to_string(),
            "0x65 (smt, ecc, alias-check-complete)"
        );
        assert!(report.platform_info().alias_check_complete());
        assert!(!with(&[(0x40, 0xdf)]).platform_info().alias_check_complete());
        assert_eq!(PlatformInfo(0).to_string(), "0x0");
    }

    #[test]
    fn signing_keys_are_told_apart() {
        let key = |bits: u8| with(&[(0x48, bits << 2)]).signing_key();
        assert_eq!(
            [key(0), key(1), key(7)],
            [SigningKey::Vcek, SigningKey::Vlek, SigningKey::None]
        );
        assert_eq!(key(2), SigningKey::Reserved(2));
    }
}
