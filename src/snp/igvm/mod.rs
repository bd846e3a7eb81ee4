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

use std::collections::BTreeSet;

use flate2::Crc;

use super::measurement::{
    AddedPage, BootHashes, CpuSignature, Firmware, Launch, LaunchError, LaunchMeasurement,
    MAX_FIRMWARE_BYTES, MAX_MEASURED_PAGES, PAGE_BYTES, PageType, RunningDigest, VMSA_ADDRESS, Vmm,
    added_pages,
};

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

/// Returns the file that launches a firmware image under QEMU, with the hashes of what it boots.
///
/// # Errors
/// `boot` is given, and the firmware has no section for the hashes.
pub fn write(
    image: &[u8],
    firmware: &Firmware,
    boot: Option<&BootHashes>,
    shape: &Shape,
) -> Result<Vec<u8>, LaunchError> {
    let (bsp, ap) = Launch::new(firmware, boot, Vmm::Qemu)?.vmsa_pages(shape.cpu, shape.features);
    let pages: Vec<_> = image_pages(image)
        .chain(added_pages(firmware, boot, Vmm::Qemu)?)
        .collect();
    let mut file = Writer::new(pages.len() + usize::from(shape.vcpus));
    file.header(
        PLATFORM,
        &[
            &MASK.to_le_bytes(),
            &[0, SEV_SNP],
            &SEV_SNP_VERSION.to_le_bytes(),
            &[0; 8],
        ],
    );
    file.header(
        GUEST_POLICY,
        &[&shape.policy.to_le_bytes(), &MASK.to_le_bytes(), &[0; 4]],
    );
    for page in &pages {
        file.page(page);
    }
    // All further vCPUs start with the same page.
    let bsp = file.data(&bsp);
    let ap = if shape.vcpus > 1 { file.data(&ap) } else { bsp };
    for index in 0..shape.vcpus {
        file.vcpu(index, if index == 0 { bsp } else { ap });
    }
    Ok(file.finish())
}

/// Returns the pages of a firmware image, which ends at 4 GiB.
fn image_pages(image: &[u8]) -> impl Iterator<Item = AddedPage> {
    let (pages, _) = image.as_chunks::<PAGE_BYTES>();
    let start = FOUR_GIB - size_of_val(pages) as u64;
    pages
        .iter()
        .enumerate()
        .map(move |(index, page)| AddedPage {
            kind: PageType::Normal,
            address: start + (index * PAGE_BYTES) as u64,
            content: Some(*page),
        })
}

/// A file that is being written. Headers and data grow separately; the number of headers is known
/// before.
struct Writer {
    headers: Vec<u8>,
    data: Vec<u8>,
    data_start: usize,
}

impl Writer {
    /// Starts a file with `directives` pages and vCPUs together.
    fn new(directives: usize) -> Self {
        let headers = 2 * (8 + 16) + directives * (8 + 24);
        Self {
            headers: Vec::with_capacity(headers),
            data: Vec::new(),
            data_start: FIXED_HEADER_BYTES + headers,
        }
    }

    fn header(&mut self, kind: u32, content: &[&[u8]]) {
        let content = content.concat();
        self.headers.extend(kind.to_le_bytes());
        self.headers.extend((content.len() as u32).to_le_bytes());
        self.headers.extend(&content);
        self.headers
            .resize(self.headers.len().next_multiple_of(HEADER_ALIGNMENT), 0);
    }

    /// Adds data, and returns its offset in the file.
    fn data(&mut self, page: &[u8; PAGE_BYTES]) -> u32 {
        let offset = self.data_start + self.data.len();
        self.data.extend(page);
        offset as u32
    }

    fn page(&mut self, page: &AddedPage) {
        let kind = match page.kind {
            PageType::Secrets => SECRETS,
            PageType::Cpuid => CPUID,
            PageType::Normal | PageType::Zero | PageType::Unmeasured | PageType::Vmsa => NORMAL,
        };
        let flags = if page.kind == PageType::Unmeasured {
            UNMEASURED
        } else {
            0
        };
        let offset = page
            .content
            .as_ref()
            .map_or(0, |content| self.data(content));
        self.header(
            PAGE_DATA,
            &[
                &page.address.to_le_bytes(),
                &MASK.to_le_bytes(),
                &offset.to_le_bytes(),
                &flags.to_le_bytes(),
                &kind.to_le_bytes(),
                &[0; 2],
            ],
        );
    }

    fn vcpu(&mut self, index: u16, vmsa: u32) {
        let (address, index) = (VMSA_ADDRESS.to_le_bytes(), index.to_le_bytes());
        self.header(
            VP_CONTEXT,
            &[
                &address,
                &MASK.to_le_bytes(),
                &vmsa.to_le_bytes(),
                &index,
                &[0; 2],
            ],
        );
    }

    fn finish(self) -> Vec<u8> {
        let words = [
            u32::from_le_bytes(MAGIC),
            FORMAT_VERSION,
            FIXED_HEADER_BYTES as u32,
            self.headers.len() as u32,
            (self.data_start + self.data.len()) as u32,
            0,
        ];
        let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.extend(self.headers);
        let checksum = crc32(&file);
        file[CHECKSUM_OFFSET..][..4].copy_from_slice(&checksum.to_le_bytes());
        file.extend(self.data);
        file
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut checksum = Crc::new();
    checksum.update(bytes);
    checksum.sum()
}

/// Reads a file, and calculates the launch measurement that it leads to under QEMU and KVM.
///
/// # Errors
/// The file is not of SEV-SNP alone, has a header that is not known, or is over a limit.
pub fn measure(file: &[u8]) -> Result<IgvmLaunch, IgvmError> {
    let mut reader = Reader::new(file)?;
    reader.platform()?;
    let policy = reader.policy()?;
    let mut digest = RunningDigest::START;
    let mut addresses = BTreeSet::new();
    while let Some(header) = reader.next_of(PAGE_DATA)? {
        let page = reader.page(&header)?;
        if addresses.len() == MAX_IGVM_PAGES {
            return Err(IgvmError::Pages {
                limit: MAX_IGVM_PAGES,
            });
        }
        if !addresses.insert(page.address) {
            return Err(IgvmError::Repeated {
                address: page.address,
            });
        }
        digest.add_added(&page);
    }
    let mut vcpus = 0;
    while let Some(header) = reader.next_of(VP_CONTEXT)? {
        digest.add_added(&reader.vcpu(&header, vcpus)?);
        vcpus += 1;
    }
    match (reader.next()?, vcpus) {
        (Some(header), _) => Err(header.misplaced()),
        (None, 0) => Err(IgvmError::NoVcpu),
        (None, _) => Ok(IgvmLaunch {
            measurement: digest.measurement(),
            vcpus,
            policy,
        }),
    }
}

/// Checks the fixed header, apart from its checksum, and returns the part of the file that all
/// headers take, with this one.
fn headers(file: &[u8]) -> Result<&[u8], IgvmError> {
    let fixed = file
        .first_chunk::<FIXED_HEADER_BYTES>()
        .ok_or(IgvmError::Bounds {
            part: "the fixed header",
        })?;
    let magic = u32_at(fixed, 0).to_le_bytes();
    if magic != MAGIC {
        return Err(IgvmError::Magic { actual: magic });
    }
    let [version, start, length, stated] = [4, 8, 12, 16].map(|offset| u32_at(fixed, offset));
    if version != FORMAT_VERSION {
        return Err(IgvmError::Version {
            expected: FORMAT_VERSION,
            actual: version,
        });
    }
    if stated as usize != file.len() {
        return Err(IgvmError::StatedSize {
            stated,
            actual: file.len(),
        });
    }
    let is_in_place =
        start as usize == FIXED_HEADER_BYTES && (length as usize).is_multiple_of(HEADER_ALIGNMENT);
    file.get(..FIXED_HEADER_BYTES + length as usize)
        .filter(|_| is_in_place)
        .ok_or(IgvmError::Bounds {
            part: "the list of headers",
        })
}

/// Compares the checksum of the headers with the one in the fixed header, which counts as zero
/// there.
fn verify_checksum(headers: &[u8]) -> Result<(), IgvmError> {
    let stated = u32_at(headers, CHECKSUM_OFFSET);
    let mut summed = headers.to_vec();
    summed[CHECKSUM_OFFSET..][..4].fill(0);
    let actual = crc32(&summed);
    if stated != actual {
        return Err(IgvmError::Checksum { stated, actual });
    }
    Ok(())
}

struct Reader<'a> {
    file: &'a [u8],
    /// The offset at which the headers end.
    end: usize,
    at: usize,
}

/// A header as the file has it.
struct Header<'a> {
    offset: usize,
    kind: u32,
    content: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(file: &'a [u8]) -> Result<Self, IgvmError> {
        if file.len() > MAX_IGVM_BYTES {
            return Err(IgvmError::Size {
                size: file.len(),
                limit: MAX_IGVM_BYTES,
            });
        }
        let headers = headers(file)?;
        verify_checksum(headers)?;
        Ok(Self {
            file,
            end: headers.len(),
            at: FIXED_HEADER_BYTES,
        })
    }

    /// Returns the header at the current offset, and the offset of the next one.
    fn peek(&self) -> Result<Option<(Header<'a>, usize)>, IgvmError> {
        const HEADER: IgvmError = IgvmError::Bounds { part: "a header" };
        let (offset, rest) = (self.at, &self.file[self.at..self.end]);
        if rest.is_empty() {
            return Ok(None);
        }
        let (start, rest) = rest.split_at_checked(8).ok_or(HEADER)?;
        let length = u32_at(start, 4) as usize;
        let padded = length
            .checked_next_multiple_of(HEADER_ALIGNMENT)
            .ok_or(HEADER)?;
        let (content, padding) = rest.get(..padded).ok_or(HEADER)?.split_at(length);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(IgvmError::Field {
                offset,
                field: "padding",
            });
        }
        Ok(Some((
            Header {
                offset,
                kind: u32_at(start, 0),
                content,
            },
            offset + 8 + padded,
        )))
    }

    fn next(&mut self) -> Result<Option<Header<'a>>, IgvmError> {
        let Some((header, next)) = self.peek()? else {
            return Ok(None);
        };
        self.at = next;
        Ok(Some(header))
    }

    /// Takes the next header, if it has this kind.
    fn next_of(&mut self, kind: u32) -> Result<Option<Header<'a>>, IgvmError> {
        match self.peek()? {
            Some((header, _)) if header.kind == kind => self.next(),
            _ => Ok(None),
        }
    }

    fn platform(&mut self) -> Result<(), IgvmError> {
        let header = self.next()?.ok_or(IgvmError::Bounds {
            part: "the platform",
        })?;
        let [mask, kind, boundary @ ..] = header.words::<4>(PLATFORM)?;
        let expected = u32::from_le_bytes([0, SEV_SNP, SEV_SNP_VERSION as u8, 0]);
        header.expect("mask", mask == MASK)?;
        header.expect("the platform", kind == expected)?;
        header.expect("the shared boundary", boundary == [0; 2])
    }

    fn policy(&mut self) -> Result<Option<u64>, IgvmError> {
        let Some(header) = self.next_of(GUEST_POLICY)? else {
            return Ok(None);
        };
        let [low, high, mask, reserved] = header.words(GUEST_POLICY)?;
        header.expect("mask", mask == MASK)?;
        header.expect("reserved", reserved == 0)?;
        Ok(Some(wide(low, high)))
    }

    fn page(&self, header: &Header<'_>) -> Result<AddedPage, IgvmError> {
        let [low, high, mask, offset, flags, kind] = header.words(PAGE_DATA)?;
        let address = wide(low, high);
        header.expect("mask", mask == MASK)?;
        header.expect("the address", address.is_multiple_of(PAGE_BYTES as u64))?;
        let content = if offset == 0 {
            None
        } else {
            Some(self.data(offset)?)
        };
        // The upper half of this word is reserved.
        let kind = match (u16::try_from(kind), flags, content.is_some()) {
            (Ok(NORMAL), 0, true) => PageType::Normal,
            (Ok(NORMAL), 0, false) => PageType::Zero,
            (Ok(NORMAL), UNMEASURED, _) => PageType::Unmeasured,
            (Ok(SECRETS), 0, false) => PageType::Secrets,
            (Ok(CPUID), 0, false) => PageType::Cpuid,
            _ => {
                return Err(IgvmError::Field {
                    offset: header.offset,
                    field: "flags and type",
                });
            }
        };
        Ok(AddedPage {
            kind,
            address,
            content: content.filter(|_| kind == PageType::Normal),
        })
    }

    fn vcpu(&self, header: &Header<'_>, expected: u16) -> Result<AddedPage, IgvmError> {
        let [low, high, mask, offset, index] = header.words(VP_CONTEXT)?;
        header.expect("mask", mask == MASK)?;
        header.expect("the address", wide(low, high) == VMSA_ADDRESS)?;
        let actual = u16::try_from(index).map_err(|_| IgvmError::Field {
            offset: header.offset,
            field: "reserved",
        })?;
        if actual != expected || expected == MAX_IGVM_VCPUS {
            return Err(IgvmError::Vcpu { expected, actual });
        }
        let content = Some(self.data(offset)?);
        Ok(AddedPage {
            kind: PageType::Vmsa,
            address: VMSA_ADDRESS,
            content,
        })
    }

    /// Returns the page of data at an offset, which has to be after the headers.
    fn data(&self, offset: u32) -> Result<[u8; PAGE_BYTES], IgvmError> {
        const DATA: IgvmError = IgvmError::Bounds {
            part: "the data of a page",
        };
        let offset = offset as usize;
        if offset < self.end {
            return Err(DATA);
        }
        let data = self.file.get(offset..).ok_or(DATA)?;
        data.first_chunk().copied().ok_or(DATA)
    }
}

impl Header<'_> {
    fn misplaced(&self) -> IgvmError {
        IgvmError::Header {
            offset: self.offset,
            kind: self.kind,
            length: self.content.len() as u32,
        }
    }

    /// The content as words, if the header has this kind and so many of them.
    fn words<const COUNT: usize>(&self, kind: u32) -> Result<[u32; COUNT], IgvmError> {
        if self.kind != kind || self.content.len() != COUNT * 4 {
            return Err(self.misplaced());
        }
        Ok(std::array::from_fn(|index| u32_at(self.content, index * 4)))
    }

    fn expect(&self, field: &'static str, is_known: bool) -> Result<(), IgvmError> {
        if is_known {
            Ok(())
        } else {
            Err(IgvmError::Field {
                offset: self.offset,
                field,
            })
        }
    }
}

/// The word at an offset; zeros where the bytes end, which callers have made sure they do not.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |word| u32::from_le_bytes(*word))
}

fn wide(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
