//! The metadata of a firmware image about its own launch.
//!
//! * In: the image's bytes, from anybody.
//! * Out: its measurement, its sections in their order, the address at which further vCPUs start,
//!   and that of the hashes.
//! * Never: a panic, a section passed over, or more work than the limits allow.
//!
//! OVMF ends with a table of entries that is read backwards (edk2,
//! `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`):
//!
//! | from the end | bytes | field |
//! |---|---|---|
//! | 0x20 | 16 | GUID of the table, the end of its footer |
//! | 0x30 | 2 | length of the table, footer included |
//! | 0x32 | | entries: data, length (data and header) 2, GUID 16 |
//!
//! An entry gives the metadata's distance from the end
//! (`OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`): `ASEV`, length 4, version 4, number of sections
//! 4, then for each section its address 4, length 4, kind 4. All little-endian.

use super::LaunchMeasurement;
use super::boot::{TableOffset, guid_bytes};
use super::digest::RunningDigest;
use super::page::PAGE_BYTES;

/// Largest firmware image in bytes: QEMU maps it below 4 GiB, where 16 MiB are free.
pub const MAX_FIRMWARE_BYTES: usize = 16 << 20;
/// Most sections of a firmware image. OVMF has seven.
pub const MAX_SECTIONS: u32 = 64;
/// Most pages in all sections, 256 MiB. OVMF has 32.
pub const MAX_MEASURED_PAGES: u64 = 65_536;

/// 96b582de-1fb2-45f7-baea-a366c55a082d
const FOOTER_GUID: u128 = 0x96b582de_1fb2_45f7_baea_a366c55a082d;
/// 7255371f-3a3b-4b04-927b-1da6efa8d454
const HASH_TABLE_GUID: u128 = 0x7255371f_3a3b_4b04_927b_1da6efa8d454;
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
const RESET_BLOCK_GUID: u128 = 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e;
/// dc886566-984a-4798-a75e-5585a7bf67cc
const METADATA_GUID: u128 = 0xdc886566_984a_4798_a75e_5585a7bf67cc;

/// The bytes after the table, which are the reset vector.
const RESET_VECTOR_BYTES: usize = 0x20;
const ENTRY_HEADER_BYTES: usize = 18;
const METADATA_HEADER_BYTES: usize = 16;
const SECTION_BYTES: usize = 12;
const METADATA_SIGNATURE: [u8; 4] = *b"ASEV";
const METADATA_VERSION: u32 = 1;
const FOUR_GIB: u64 = 1 << 32;

/// Why a firmware image cannot be measured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FirmwareError {
    /// The image is not whole pages, is empty, or is too large.
    #[error(
        "the firmware has {size} bytes, not whole pages of {PAGE_BYTES} up to {limit} \
         (MAX_FIRMWARE_BYTES)"
    )]
    Size {
        /// The number of bytes that it has.
        size: usize,
        /// The number of bytes that it may have.
        limit: usize,
    },
    /// There is no table before the reset vector: the image is no OVMF.
    #[error("the firmware has no OVMF table at its end")]
    NoTable,
    /// The table, an entry or the metadata extends beyond its bounds.
    #[error("{part} of the firmware extends beyond its bounds")]
    Bounds {
        /// The part that does not fit.
        part: &'static str,
    },
    /// An entry that every SEV-SNP firmware has is missing.
    #[error("the firmware has no {entry}: it is not made for SEV-SNP")]
    Missing {
        /// The name of the entry.
        entry: &'static str,
    },
    /// An entry or a section is repeated that may occur once.
    #[error("the firmware has more than one {entry}")]
    Repeated {
        /// The name of the entry or section.
        entry: &'static str,
    },
    /// The metadata does not begin with its signature.
    #[error("the firmware's SEV metadata begins with {actual:02x?}, not {expected:02x?}")]
    Signature {
        /// The signature of metadata.
        expected: [u8; 4],
        /// The first four bytes that were found.
        actual: [u8; 4],
    },
    /// The metadata has another version.
    #[error("the firmware's SEV metadata has version {actual}, not {expected}")]
    Version {
        /// The version that is known.
        expected: u32,
        /// The version that was found.
        actual: u32,
    },
    /// The image has too many sections.
    #[error("the firmware has {actual} sections, the limit is {limit} (MAX_SECTIONS)")]
    Sections {
        /// The highest number of sections.
        limit: u32,
        /// The number of sections that it has.
        actual: u32,
    },
    /// The sections have too many pages.
    #[error(
        "the firmware's sections have {actual} pages, the limit is {limit} (MAX_MEASURED_PAGES)"
    )]
    Pages {
        /// The highest number of pages.
        limit: u64,
        /// The number of pages that they have.
        actual: u64,
    },
    /// A section has an unknown kind.
    #[error("section {index} of the firmware has the unknown kind {kind:#x}")]
    Kind {
        /// The number of the section, from zero.
        index: usize,
        /// The unknown kind.
        kind: u32,
    },
    /// A section is not whole pages, or not the one page that its kind has.
    #[error(
        "section {index} of the firmware is at {address:#x} with {size:#x} bytes: not the pages \
         that its kind has"
    )]
    Section {
        /// The number of the section, from zero.
        index: usize,
        /// The address of the section.
        address: u32,
        /// The length of the section, in bytes.
        size: u32,
    },
    /// The hash table is not in the page that is measured for it.
    #[error("the firmware wants the hash table at {table:#x}, its section is at {section:#x}")]
    HashTable {
        /// The address of the table.
        table: u32,
        /// The address of the section.
        section: u64,
    },
}

/// The purpose of a section, on which its pages' type depends (edk2, `OvmfSevMetadata.asm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Memory that the firmware uses before it accepts memory itself.
    SecureMemory,
    /// The page with the guest's secrets.
    Secrets,
    /// The page with CPUID values.
    Cpuid,
    /// The page through which a guest calls an SVSM.
    SvsmCallingArea,
    /// The page with the hashes of kernel, initrd and command line.
    KernelHashes,
}

/// A section that fits the limits.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The purpose of the section.
    pub kind: SectionKind,
    /// The guest physical address of its first page.
    pub address: u64,
    /// The number of its pages.
    pub pages: u64,
}

/// A firmware image that was measured, and whose metadata was read.
#[derive(Clone, Debug)]
pub struct Firmware {
    image_measurement: LaunchMeasurement,
    reset_address: u32,
    hash_table: Option<TableOffset>,
    sections: Vec<Section>,
}

impl Firmware {
    /// Measures and reads an image.
    ///
    /// # Errors
    /// The image is no OVMF for SEV-SNP, is malformed, or is over a limit.
    pub fn parse(image: &[u8]) -> Result<Self, FirmwareError> {
        let (pages, rest) = image.as_chunks::<PAGE_BYTES>();
        if pages.is_empty() || !rest.is_empty() || image.len() > MAX_FIRMWARE_BYTES {
            return Err(FirmwareError::Size {
                size: image.len(),
                limit: MAX_FIRMWARE_BYTES,
            });
        }
        let entries = Entries::parse(image)?;
        let reset_address = entries.reset_address.ok_or(FirmwareError::Missing {
            entry: "SEV-ES reset block",
        })?;
        let metadata = entries.metadata.ok_or(FirmwareError::Missing {
            entry: "SEV metadata",
        })?;
        let sections = sections(image, metadata)?;
        let hash_table = hash_table(&sections, entries.hash_table)?;
        Ok(Self {
            image_measurement: measure(pages),
            reset_address,
            hash_table,
            sections,
        })
    }

    /// Returns the launch measurement after the image alone.
    pub const fn image_measurement(&self) -> LaunchMeasurement {
        self.image_measurement
    }

    /// Replaces the launch measurement of the image, for a caller who has only the end of the
    /// image.
    #[must_use]
    pub fn with_image_measurement(self, image_measurement: LaunchMeasurement) -> Self {
        Self {
            image_measurement,
            ..self
        }
    }

    /// Returns whether kernel, initrd and command line are measured.
    pub const fn measures_kernel(&self) -> bool {
        self.hash_table.is_some()
    }

    pub(super) const fn hash_table_offset(&self) -> Option<TableOffset> {
        self.hash_table
    }

    pub(super) const fn reset_address(&self) -> u32 {
        self.reset_address
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }
}

fn measure(pages: &[[u8; PAGE_BYTES]]) -> LaunchMeasurement {
    let mut digest = RunningDigest::START;
    let mut address = FOUR_GIB - size_of_val(pages) as u64;
    for page in pages {
        digest.add_page(address, page);
        address += PAGE_BYTES as u64;
    }
    digest.measurement()
}

/// The first word of each entry that is used here.
#[derive(Default)]
struct Entries {
    metadata: Option<u32>,
    reset_address: Option<u32>,
    hash_table: Option<u32>,
}

impl Entries {
    fn parse(image: &[u8]) -> Result<Self, FirmwareError> {
        const TABLE: FirmwareError = FirmwareError::Bounds { part: "the table" };
        let before = image
            .len()
            .checked_sub(RESET_VECTOR_BYTES)
            .ok_or(FirmwareError::NoTable)?;
        let (rest, length, guid) = header(&image[..before]).ok_or(FirmwareError::NoTable)?;
        if guid != guid_bytes(FOOTER_GUID) {
            return Err(FirmwareError::NoTable);
        }
        let length = length.checked_sub(ENTRY_HEADER_BYTES).ok_or(TABLE)?;
        let start = rest.len().checked_sub(length).ok_or(TABLE)?;
        let mut table = &rest[start..];
        let mut found = Self::default();
        while !table.is_empty() {
            table = found.take_last(table)?;
        }
        Ok(found)
    }

    /// Takes the last entry of `table`, and returns the entries before it.
    fn take_last<'a>(&mut self, table: &'a [u8]) -> Result<&'a [u8], FirmwareError> {
        const ENTRY: FirmwareError = FirmwareError::Bounds {
            part: "an entry of the table",
        };
        let (rest, length, guid) = header(table).ok_or(ENTRY)?;
        let length = length.checked_sub(ENTRY_HEADER_BYTES).ok_or(ENTRY)?;
        let (before, data) = rest
            .split_at_checked(rest.len().wrapping_sub(length))
            .ok_or(ENTRY)?;
        for (known, slot, entry) in [
            (METADATA_GUID, &mut self.metadata, "SEV metadata"),
            (
                RESET_BLOCK_GUID,
                &mut self.reset_address,
                "SEV-ES reset block",
            ),
            (HASH_TABLE_GUID, &mut self.hash_table, "hash table address"),
        ] {
            if guid == guid_bytes(known) && slot.replace(word(data, 0).ok_or(ENTRY)?).is_some() {
                return Err(FirmwareError::Repeated { entry });
            }
        }
        Ok(before)
    }
}

/// Splits the header off the end of `bytes`, and returns the bytes before it, its length and its
/// GUID.
fn header(bytes: &[u8]) -> Option<(&[u8], usize, [u8; 16])> {
    let (rest, guid) = bytes.split_last_chunk::<16>()?;
    let (rest, length) = rest.split_last_chunk::<2>()?;
    Some((rest, usize::from(u16::from_le_bytes(*length)), *guid))
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|word| u32::from_le_bytes(*word))
}

/// The error for a part of the metadata outside of it, or of the image.
const METADATA_BOUNDS: FirmwareError = FirmwareError::Bounds {
    part: "the SEV metadata",
};

/// Reads the metadata that begins `distance` bytes before the end of the image.
fn sections(image: &[u8], distance: u32) -> Result<Vec<Section>, FirmwareError> {
    let start = image
        .len()
        .checked_sub(distance as usize)
        .ok_or(METADATA_BOUNDS)?;
    let listed = section_list(&image[start..])?.iter().enumerate();
    let sections = listed
        .map(|(index, bytes)| section(index, bytes))
        .collect::<Result<Vec<_>, _>>()?;
    let pages = sections.iter().map(|section| section.pages).sum();
    if pages > MAX_MEASURED_PAGES {
        return Err(FirmwareError::Pages {
            limit: MAX_MEASURED_PAGES,
            actual: pages,
        });
    }
    Ok(sections)
}

/// Checks the header of the metadata, and returns the sections after it, as the image has them.
fn section_list(metadata: &[u8]) -> Result<&[[u8; SECTION_BYTES]], FirmwareError> {
    let signature = *metadata.first_chunk::<4>().ok_or(METADATA_BOUNDS)?;
    if signature != METADATA_SIGNATURE {
        return Err(FirmwareError::Signature {
            expected: METADATA_SIGNATURE,
            actual: signature,
        });
    }
    let length = word(metadata, 4).ok_or(METADATA_BOUNDS)? as usize;
    let version = word(metadata, 8).ok_or(METADATA_BOUNDS)?;
    if version != METADATA_VERSION {
        return Err(FirmwareError::Version {
            expected: METADATA_VERSION,
            actual: version,
        });
    }
    let count = word(metadata, 12).ok_or(METADATA_BOUNDS)?;
    if count > MAX_SECTIONS {
        return Err(FirmwareError::Sections {
            limit: MAX_SECTIONS,
            actual: count,
        });
    }
    let list = metadata
        .get(METADATA_HEADER_BYTES..length)
        .ok_or(METADATA_BOUNDS)?;
    let list = list
        .get(..count as usize * SECTION_BYTES)
        .ok_or(METADATA_BOUNDS)?;
    Ok(list.as_chunks().0)
}

fn section(index: usize, bytes: &[u8; SECTION_BYTES]) -> Result<Section, FirmwareError> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    let (address, size, kind) = (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([i, j, k, l]),
    );
    let (kind, is_one_page) = match kind {
        1 => (SectionKind::SecureMemory, false),
        2 => (SectionKind::Secrets, true),
        3 => (SectionKind::Cpuid, true),
        4 => (SectionKind::SvsmCallingArea, false),
        0x10 => (SectionKind::KernelHashes, true),
        _ => return Err(FirmwareError::Kind { index, kind }),
    };
    let is_aligned = |number: u32| number.is_multiple_of(PAGE_BYTES as u32);
    let is_whole = is_aligned(address) && is_aligned(size) && size > 0;
    if !is_whole || (is_one_page && size as usize != PAGE_BYTES) {
        return Err(FirmwareError::Section {
            index,
            address,
            size,
        });
    }
    Ok(Section {
        kind,
        address: u64::from(address),
        pages: u64::from(size) / PAGE_BYTES as u64,
    })
}

/// Returns where in its section the hash table goes; none if the firmware has no section or no
/// address for it.
fn hash_table(
    sections: &[Section],
    table: Option<u32>,
) -> Result<Option<TableOffset>, FirmwareError> {
    let mut found = sections
        .iter()
        .filter(|section| section.kind == SectionKind::KernelHashes);
    // OVMF built without the hash table keeps its entry, with the address zero.
    let (Some(section), Some(table)) = (found.next(), table.filter(|table| *table != 0)) else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(FirmwareError::Repeated {
            entry: "SNP_KERNEL_HASHES section",
        });
    }
    let is_inside = u64::from(table) / PAGE_BYTES as u64 == section.address / PAGE_BYTES as u64;
    match TableOffset::of(table).filter(|_| is_inside) {
        Some(offset) => Ok(Some(offset)),
        None => Err(FirmwareError::HashTable {
            table,
            section: section.address,
        }),
    }
}
