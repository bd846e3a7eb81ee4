//! Any bytes as the last page of a firmware image.

use kettle::snp::measurement::{Firmware, MAX_FIRMWARE_BYTES};

const PAGE_BYTES: usize = 4096;

/// Metadata that are read are read again in a larger image with the same end: their offsets count
/// from the end.
pub fn target(data: &[u8]) {
    let whole = Firmware::parse(data);
    assert!(
        whole.is_err()
            || (data.len().is_multiple_of(PAGE_BYTES) && data.len() <= MAX_FIRMWARE_BYTES)
    );
    let mut image = vec![0; PAGE_BYTES];
    let end = &data[data.len().saturating_sub(PAGE_BYTES)..];
    image[PAGE_BYTES - end.len()..].copy_from_slice(end);
    let Ok(page) = Firmware::parse(&image) else {
        return;
    };
    let larger = Firmware::parse(&[&[0; PAGE_BYTES][..], &image].concat()).expect("the same end");
    assert_eq!(larger.measures_kernel(), page.measures_kernel());
    assert_ne!(larger.image_measurement(), page.image_measurement());
}
