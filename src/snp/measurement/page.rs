//! The pages that a host adds to a guest, and their types.

/// The bytes of a page.
pub(in crate::snp) const PAGE_BYTES: usize = 4096;

/// `PAGE_TYPE` of AMD 56860, SNP_LAUNCH_UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageType {
    /// A page with content, which is measured.
    Normal = 1,
    /// The save area with a vCPU's first registers.
    Vmsa = 2,
    /// A page of zeros, measured as such.
    Zero = 3,
    /// A page whose content is not measured.
    Unmeasured = 4,
    /// The page into which the firmware writes the guest's secrets.
    Secrets = 5,
    /// The page with CPUID values that the firmware checks.
    Cpuid = 6,
}

/// A page that the host adds after the firmware's image.
#[derive(Clone, Debug)]
pub(in crate::snp) struct AddedPage {
    pub(in crate::snp) kind: PageType,
    pub(in crate::snp) address: u64,
    /// The bytes of the page, where they are measured.
    pub(in crate::snp) content: Option<[u8; PAGE_BYTES]>,
}
