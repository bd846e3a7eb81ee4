//! Any bytes as an IGVM file.

use flate2::Crc;
use kettle::snp::igvm::{MAX_IGVM_VCPUS, measure};

const CHECKSUM_OFFSET: usize = 20;
const FIXED_HEADER_BYTES: usize = 24;

/// The size and the checksum are corrected, so that changes get beyond them. A file that is read
/// has vCPUs, and is read again alike.
pub fn target(data: &[u8]) {
    let mut file = data.to_vec();
    if let Some(fixed) = data.first_chunk::<FIXED_HEADER_BYTES>() {
        file[16..20].copy_from_slice(&(data.len() as u32).to_le_bytes());
        let headers = u32::from_le_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]) as usize;
        file[CHECKSUM_OFFSET..FIXED_HEADER_BYTES].fill(0);
        let mut checksum = Crc::new();
        checksum.update(&file[..file.len().min(FIXED_HEADER_BYTES + headers)]);
        file[CHECKSUM_OFFSET..FIXED_HEADER_BYTES].copy_from_slice(&checksum.sum().to_le_bytes());
    }
    let Ok(launch) = measure(&file) else { return };
    assert!((1..=MAX_IGVM_VCPUS).contains(&launch.vcpus));
    assert_eq!(measure(&file), Ok(launch));
    file[CHECKSUM_OFFSET] ^= 1;
    assert!(measure(&file).is_err());
}
