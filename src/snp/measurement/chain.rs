//! The launch measurements for every number of vCPUs, in three digests.
//!
//! * In: the digest before the first VMSA, and the digests of the two pages with which vCPUs start.
//! * Out: the launch measurement for each number of vCPUs.
//! * Never: a number that is left out.
//!
//! The host adds one VMSA for each vCPU, the first of which starts at another address than all
//! others. So the measurement with `n` vCPUs is the one with `n - 1`, extended by one page whose
//! digest is known.

use super::LaunchMeasurement;
use super::digest::RunningDigest;
use super::page::PageType;
use super::vmsa;

/// The SHA-384 of a page, 48 bytes.
pub type PageDigest = [u8; LaunchMeasurement::BYTES];

/// The digests from which all measurements of one launch with one vCPU type follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The launch digest before the first VMSA.
    pub launch_digest: LaunchMeasurement,
    /// The digest of the VMSA with which the first vCPU starts.
    pub bsp_vmsa: PageDigest,
    /// The digest of the VMSA with which every other vCPU starts.
    pub ap_vmsa: PageDigest,
}

impl Chain {
    /// Returns the launch measurements with one vCPU, with two, and so on without end.
    pub fn by_vcpus(self) -> impl Iterator<Item = LaunchMeasurement> {
        let mut digest = RunningDigest::from(self.launch_digest);
        std::iter::once(self.bsp_vmsa)
            .chain(std::iter::repeat(self.ap_vmsa))
            .map(move |page| {
                digest.add(PageType::Vmsa, vmsa::ADDRESS, &page);
                digest.measurement()
            })
    }
}
