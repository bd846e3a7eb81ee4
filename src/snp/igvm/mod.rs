//! A launch in one file.
//!
//! * In: a firmware image, the hashes of what it boots, and a machine's shape; or a file.
//! * Out: the file; or the launch measurement that it leads to.
//! * Never: an unknown header passed over, or more pages than the limit.
//!
//! IGVM files (Independent Guest Virtual Machine, format version 1) tell a host which pages to add,
//! in which order, and with which registers each vCPU starts. Everything is little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x00 | 4 | `IGVM` |
//! | 0x04 | 4 | format version, 1 |
//! | 0x08 | 4 | offset of the headers, 24 |
//! | 0x0c | 4 | bytes of the headers |
//! | 0x10 | 4 | bytes of the file |
//! | 0x14 | 4 | CRC-32 of everything before the data, with zeros here |
//! | 0x18 | | headers: kind 4, length 4, content, zeros up to a multiple of 8 |
//! | | | data: pages, at offsets that headers name |
//!
//! | kind | bytes | content |
//! |---|---|---|
//! | 0x001 | 16 | platform: mask 4, highest VTL 1, type 1 (2 is SEV-SNP), version 2, shared boundary 8 |
//! | 0x101 | 16 | guest policy: policy 8, mask 4, reserved 4 |
//! | 0x302 | 24 | page: address 8, mask 4, offset of its data 4, flags 4, type 2, reserved 2 |
//! | 0x304 | 20 | vCPU: address 8, mask 4, offset of its VMSA 4, index 2, reserved 2 |
//!
//! A normal page without data is one of zeros. The specification leaves open how it is measured;
//! QEMU, like here, adds it as SEV-SNP's page type for zeros, which is also how it adds the
//! firmware's own sections without such a file. VMSAs are measured after all pages, in the order of
//! their vCPUs (KVM, SNP_LAUNCH_FINISH).

mod read;
mod write;

use flate2::Crc;

use super::measurement::{
    CpuSignature, LaunchMeasurement, MAX_FIRMWARE_BYTES, MAX_MEASURED_PAGES, PAGE_BYTES,
};

pub use read::measure;
pub use write::write;

/// Largest file that is read, in bytes.
pub const MAX_IGVM_BYTES: usize = 64 << 20;
/// Most pages in a file that is read: those of a firmware and of its sections.
pub const MAX_IGVM_PAGES: usize = MAX_MEASURED_PAGES as usize + MAX_FIRMWARE_BYTES / PAGE_BYTES;
/// Most vCPUs in a file: the limit of QEMU's q35 machine.
pub const MAX_IGVM_VCPUS: u16 = 4096;

const MAGIC: [u8; 4] = *b"IGVM";
const FORMAT_VERSION: u32 = 1;
const FIXED_HEADER_BYTES: usize = 24;
const CHECKSUM_OFFSET: usize = 20;
const HEADER_ALIGNMENT: usize = 8;
const FOUR_GIB: u64 = 1 << 32;

/// The one platform of a file, as every header names it.
const MASK: u32 = 1;
const SEV_SNP: u8 = 2;
const SEV_SNP_VERSION: u16 = 1;

const PLATFORM: u32 = 0x001;
const GUEST_POLICY: u32 = 0x101;
const PAGE_DATA: u32 = 0x302;
const VP_CONTEXT: u32 = 0x304;

const NORMAL: u16 = 0;
const SECRETS: u16 = 1;
const CPUID: u16 = 2;
const UNMEASURED: u32 = 1 << 1;

/// The shape of a virtual machine.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The type of its vCPUs.
    pub cpu: CpuSignature,
    /// The SEV_FEATURES of each VMSA.
    pub features: u64,
    /// The number of vCPUs, at least one.
    pub vcpus: u16,
    /// The guest policy (AMD 56860, table 9). It is not measured.
    pub policy: u64,
}

/// The launch that a file leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgvmLaunch {
    /// The launch measurement that the secure processor reports.
    pub measurement: LaunchMeasurement,
    /// The number of vCPUs.
    pub vcpus: u16,
    /// The guest policy, where the file has one.
    pub policy: Option<u64>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum IgvmError {
    #[error("the file has {size} bytes, the limit is {limit} (MAX_IGVM_BYTES)")]
    Size { size: usize, limit: usize },
    #[error("the file begins with {actual:02x?}, not with IGVM")]
    Magic { actual: [u8; 4] },
    #[error("the file has format version {actual}, only {expected} is known")]
    Version { expected: u32, actual: u32 },
    #[error("{part} of the file extends beyond its bounds")]
    Bounds { part: &'static str },
    #[error("the file says that it has {stated} bytes, and has {actual}")]
    StatedSize { stated: u32, actual: usize },
    #[error("the checksum of the headers is {actual:#x}, the file says {stated:#x}")]
    Checksum { stated: u32, actual: u32 },
    #[error(
        "the header at {offset:#x} has kind {kind:#x} and {length} bytes: not known, or not in \
         this position"
    )]
    Header {
        offset: usize,
        kind: u32,
        length: u32,
    },
    #[error("the header at {offset:#x} has a value of {field} that is not known")]
    Field { offset: usize, field: &'static str },
    #[error("the file has over {limit} pages (MAX_IGVM_PAGES)")]
    Pages { limit: usize },
    #[error("the file has two pages at {address:#x}")]
    Repeated { address: u64 },
    #[error(
        "vCPU {expected} is missing before vCPU {actual}, or there are over {MAX_IGVM_VCPUS} \
         (MAX_IGVM_VCPUS)"
    )]
    Vcpu { expected: u16, actual: u16 },
    #[error("the file has no vCPU")]
    NoVcpu,
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut checksum = Crc::new();
    checksum.update(bytes);
    checksum.sum()
}
