//! The launch measurement of a guest that is not running.
//!
//! * In: the firmware's bytes, the hashes of kernel, initrd and command line, the virtual machine's
//!   shape.
//! * Out: the 48 bytes that the secure processor reports for it.
//! * Never: a file opened, or a part of the firmware passed over in silence.
//!
//! The secure processor keeps a digest that starts as zeros. Each page that the host adds replaces
//! it by the SHA-384 of `PAGE_INFO` (AMD 56860, SNP_LAUNCH_UPDATE), little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x00 | 48 | digest so far |
//! | 0x30 | 48 | SHA-384 of the page for types normal and VMSA, else zeros |
//! | 0x60 | 2 | length of this structure, 0x70 |
//! | 0x62 | 1 | page type |
//! | 0x63 | 5 | IMI flag, permissions of VMPL 3, 2, 1, reserved: zeros |
//! | 0x68 | 8 | guest physical address |
//!
//! The host adds the firmware (it ends at 4 GiB), the sections that the firmware's metadata lists,
//! in that order, and one VMSA for each vCPU. Kernel, initrd and command line are measured as the
//! page of hashes that QEMU puts where the firmware wants it (`kernel-hashes=on`; QEMU,
//! `target/i386/sev.c`).
//!
//! The calculation of the `sev` crate 8.0 is not used: it trims the command line that QEMU does not
//! trim, knows neither a raw CPU signature nor GCE, panics on malformed firmware, and comes with
//! certificate libraries.

use std::str::FromStr;

use super::boot::BootHashes;
use super::chain::Chain;
use super::cpu::CpuSignature;
use super::digest::{self, RunningDigest};
use super::firmware::{Firmware, Section, SectionKind};
use super::page::{AddedPage, PAGE_BYTES, PageType};
use super::vmm::Vmm;
use super::{LaunchMeasurement, vmsa};

/// The address of every VMSA in the measurement.
#[cfg(feature = "cli")]
pub(in crate::snp) const VMSA_ADDRESS: u64 = vmsa::ADDRESS;

/// Why text is no launch measurement.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseMeasurementError {
    /// The number of hexadecimal digits is wrong.
    #[error(
        "a launch measurement has {expected} hexadecimal digits, {actual} characters were given"
    )]
    Length {
        /// The number of digits of a launch measurement.
        expected: usize,
        /// The number of characters that were given.
        actual: usize,
    },
    /// A character is no hexadecimal digit.
    #[error("the launch measurement has a character that is no hexadecimal digit")]
    Digit,
}

/// Why a guest cannot be measured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LaunchError {
    /// The firmware has no section for the hashes, so the kernel would not be measured.
    #[error(
        "the firmware does not measure a kernel: it has no SNP_KERNEL_HASHES section (0x10) or no \
         hash table address"
    )]
    NoKernelHashes,
}

/// A guest up to its first vCPU, which is the same for all vCPU types and counts.
#[derive(Clone, Debug)]
pub struct Launch {
    digest: RunningDigest,
    reset_address: u32,
    vmm: Vmm,
}

impl LaunchMeasurement {
    /// Returns the bytes, in the order of the attestation report.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl FromStr for LaunchMeasurement {
    type Err = ParseMeasurementError;

    /// Reads hexadecimal digits of either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const DIGITS: usize = 2 * LaunchMeasurement::BYTES;
        if text.len() != DIGITS {
            return Err(ParseMeasurementError::Length {
                expected: DIGITS,
                actual: text.chars().count(),
            });
        }
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseMeasurementError::Digit)?;
        Ok(Self(bytes))
    }
}

/// The page of kernel hashes, and the address at which a launch puts it.
///
/// A launch with `kernel-hashes=on` adds this page itself. Where there is no secure processor, the
/// page has to be loaded (QEMU: `-device loader,file=PAGE,addr=ADDRESS,force-raw=on`): without it,
/// the firmware starts no kernel.
#[derive(Clone, Debug)]
pub struct KernelHashesPage {
    /// Guest physical address of the page: a multiple of its size.
    pub address: u64,
    /// The page, 4096 bytes.
    pub bytes: [u8; PAGE_BYTES],
}

impl KernelHashesPage {
    /// Builds the page that this firmware reads, for the kernel that it shall boot.
    ///
    /// # Errors
    /// The firmware has no section for it.
    pub fn new(firmware: &Firmware, boot: &BootHashes) -> Result<Self, LaunchError> {
        let offset = firmware
            .hash_table_offset()
            .ok_or(LaunchError::NoKernelHashes)?;
        let mut sections = firmware.sections().iter();
        let section = sections.find(|section| section.kind == SectionKind::KernelHashes);
        let section = section.ok_or(LaunchError::NoKernelHashes)?;
        Ok(Self {
            address: section.address,
            bytes: boot.page(offset),
        })
    }
}

impl Launch {
    /// Measures the firmware, its sections and the hashes of what it boots; without `boot` it boots
    /// from a disk.
    ///
    /// # Errors
    /// `boot` is given, and the firmware has no section for the hashes.
    pub fn new(
        firmware: &Firmware,
        boot: Option<&BootHashes>,
        vmm: Vmm,
    ) -> Result<Self, LaunchError> {
        let mut digest = RunningDigest::from(firmware.image_measurement());
        for page in added_pages(firmware, boot, vmm)? {
            digest.add_added(&page);
        }
        Ok(Self {
            digest,
            reset_address: firmware.reset_address(),
            vmm,
        })
    }

    /// Returns the digests from which the measurements for every number of vCPUs of a type follow.
    ///
    /// `features` is the VMSA's SEV_FEATURES (AMD APM volume 2, table B-4), 1 for SNP alone. Only
    /// QEMU passes `cpu` to the guest; with other hypervisors it changes nothing.
    pub fn chain(&self, cpu: CpuSignature, features: u64) -> Chain {
        let (bsp, ap) = self.vmsa_pages(cpu, features);
        Chain {
            launch_digest: self.digest.measurement(),
            bsp_vmsa: digest::sha384(&bsp),
            ap_vmsa: digest::sha384(&ap),
        }
    }

    /// Returns the page with which the first vCPU starts, and the one with which all others do.
    pub(in crate::snp) fn vmsa_pages(
        &self,
        cpu: CpuSignature,
        features: u64,
    ) -> ([u8; PAGE_BYTES], [u8; PAGE_BYTES]) {
        let page = |address| vmsa::page(address, cpu, features, self.vmm);
        (page(vmsa::BOOT_RESET_ADDRESS), page(self.reset_address))
    }

    /// Returns the launch measurements with one vCPU, with two, and so on without end; see
    /// [`Launch::chain`].
    pub fn by_vcpus(
        &self,
        cpu: CpuSignature,
        features: u64,
    ) -> impl Iterator<Item = LaunchMeasurement> {
        self.chain(cpu, features).by_vcpus()
    }
}

/// Returns the pages of the firmware's sections, in the order in which the host adds them.
///
/// # Errors
/// `boot` is given, and the firmware has no section for the hashes.
pub(in crate::snp) fn added_pages(
    firmware: &Firmware,
    boot: Option<&BootHashes>,
    vmm: Vmm,
) -> Result<impl Iterator<Item = AddedPage>, LaunchError> {
    let table = match (boot, firmware.hash_table_offset()) {
        (Some(boot), Some(offset)) => Some(boot.page(offset)),
        (Some(_), None) => return Err(LaunchError::NoKernelHashes),
        (None, _) => None,
    };
    let is_ec2 = matches!(vmm, Vmm::Ec2 | Vmm::Ec2ZeroRdx);
    let is_last = move |section: &&Section| is_ec2 && section.kind == SectionKind::Cpuid;
    let (last, first): (Vec<_>, Vec<_>) = firmware.sections().iter().partition(is_last);
    Ok(first
        .into_iter()
        .chain(last)
        .flat_map(move |section| section_pages(section, table, vmm)))
}

fn section_pages(
    section: &Section,
    table: Option<[u8; PAGE_BYTES]>,
    vmm: Vmm,
) -> impl Iterator<Item = AddedPage> {
    let kind = match (section.kind, table) {
        (SectionKind::KernelHashes, Some(_)) => PageType::Normal,
        (SectionKind::SecureMemory, _) if vmm == Vmm::Gce => PageType::Unmeasured,
        (
            SectionKind::SecureMemory | SectionKind::SvsmCallingArea | SectionKind::KernelHashes,
            _,
        ) => PageType::Zero,
        (SectionKind::Secrets, _) => PageType::Secrets,
        (SectionKind::Cpuid, _) => PageType::Cpuid,
    };
    let content = table.filter(|_| section.kind == SectionKind::KernelHashes);
    let address = section.address;
    (0..section.pages).map(move |page| AddedPage {
        kind,
        address: address + page * PAGE_BYTES as u64,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurement_reads_what_it_prints_and_nothing_else() {
        let text = "0a".repeat(48);
        assert_eq!(text.parse::<LaunchMeasurement>().unwrap().to_string(), text);
        assert_eq!(
            "0A".repeat(48)
                .parse::<LaunchMeasurement>()
                .unwrap()
                .to_string(),
            text
        );
        let short = ParseMeasurementError::Length {
            expected: 96,
            actual: 94,
        };
        assert_eq!(text[2..].parse::<LaunchMeasurement>(), Err(short));
        assert_eq!(
            "zz".repeat(48).parse::<LaunchMeasurement>(),
            Err(ParseMeasurementError::Digit)
        );
    }
}
