//! Writes a launch as one file.
//!
//! * In: a firmware image, the hashes of what it boots, and a machine's shape.
//! * Out: the file.
//! * Never: a page in another order than the one in which a host without such a file adds it.

use super::{
    CHECKSUM_OFFSET, CPUID, FIXED_HEADER_BYTES, FORMAT_VERSION, FOUR_GIB, GUEST_POLICY,
    HEADER_ALIGNMENT, MAGIC, MASK, NORMAL, PAGE_DATA, PLATFORM, SECRETS, SEV_SNP, SEV_SNP_VERSION,
    Shape, UNMEASURED, VP_CONTEXT, crc32,
};
use crate::snp::measurement::{
    AddedPage, BootHashes, Firmware, Launch, LaunchError, PAGE_BYTES, PageType, VMSA_ADDRESS, Vmm,
    added_pages,
};

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
