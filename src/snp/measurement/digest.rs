//! The digest that the secure processor keeps while a guest is launched.
//!
//! * In: pages with their addresses.
//! * Out: the launch measurement.
//! * Never: a page without its address and type.

use sha2::{Digest as _, Sha384};

use super::LaunchMeasurement;
use super::page::{AddedPage, PAGE_BYTES, PageType};

/// The length of `PAGE_INFO`, which the structure contains itself.
const PAGE_INFO_BYTES: u16 = 0x70;

/// The digest of the pages that were added so far.
#[derive(Clone, Debug)]
pub struct RunningDigest(LaunchMeasurement);

impl From<LaunchMeasurement> for RunningDigest {
    fn from(measurement: LaunchMeasurement) -> Self {
        Self(measurement)
    }
}

impl RunningDigest {
    /// The digest before the first page.
    pub const START: Self = Self(LaunchMeasurement::from_bytes([0; LaunchMeasurement::BYTES]));

    /// Adds a page whose content has the SHA-384 `content`.
    pub fn add(&mut self, kind: PageType, address: u64, content: &[u8; 48]) {
        let hash = Sha384::new()
            .chain_update(self.0.as_bytes())
            .chain_update(content)
            .chain_update(PAGE_INFO_BYTES.to_le_bytes())
            .chain_update([kind as u8, 0, 0, 0, 0, 0])
            .chain_update(address.to_le_bytes());
        self.0 = LaunchMeasurement::from_bytes(hash.finalize().into());
    }

    /// Adds a page of the type normal.
    pub fn add_page(&mut self, address: u64, page: &[u8; PAGE_BYTES]) {
        self.add(PageType::Normal, address, &sha384(page));
    }

    /// Adds a page of any type; one without content counts as zeros.
    pub fn add_added(&mut self, page: &AddedPage) {
        let content = page
            .content
            .as_ref()
            .map_or([0; 48], |content| sha384(content));
        self.add(page.kind, page.address, &content);
    }

    /// Returns the launch measurement that the secure processor would report now.
    pub const fn measurement(&self) -> LaunchMeasurement {
        self.0
    }
}

/// Returns the SHA-384 digest of bytes (FIPS 180-4).
pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    Sha384::digest(bytes).into()
}
