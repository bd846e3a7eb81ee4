//! Pages that are measured, and their types.

/// Bytes of a page.
pub(in crate::snp) const PAGE_BYTES: usize = 4096;

/// `PAGE_TYPE` of AMD 56860, SNP_LAUNCH_UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

/// A page that the host adds after the firmware's image.
#[derive(Clone, Debug)]
pub(in crate::snp) struct AddedPage {
    pub(in crate::snp) kind: PageType,
    pub(in crate::snp) address: u64,
    /// Its bytes, where they are measured.
    pub(in crate::snp) content: Option<[u8; PAGE_BYTES]>,
}
