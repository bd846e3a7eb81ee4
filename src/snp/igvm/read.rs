//! Reads a launch from a file, and measures it.
//!
//! * In: a file from anybody.
//! * Out: the launch measurement that it leads to.
//! * Never: an unknown header passed over, or more pages than the limit.

use std::collections::BTreeSet;

use super::{
    CHECKSUM_OFFSET, CPUID, FIXED_HEADER_BYTES, FORMAT_VERSION, GUEST_POLICY, HEADER_ALIGNMENT,
    IgvmError, IgvmLaunch, MAGIC, MASK, MAX_IGVM_BYTES, MAX_IGVM_PAGES, MAX_IGVM_VCPUS, NORMAL,
    PAGE_DATA, PLATFORM, SECRETS, SEV_SNP, SEV_SNP_VERSION, UNMEASURED, VP_CONTEXT, crc32,
};
use crate::snp::measurement::{AddedPage, PAGE_BYTES, PageType, RunningDigest, VMSA_ADDRESS};

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
