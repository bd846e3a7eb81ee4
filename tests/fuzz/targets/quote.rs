//! Any bytes as a TPM's signed quote of its registers.

use kettle::verifier::azure::{MAX_EXTRA_DATA_BYTES, Quote};

/// The length of a quote without the caller's data.
const FIXED_BYTES: usize = 113;

/// An accepted quote is as long as its parts, which are cut from it.
pub fn target(data: &[u8]) {
    let Ok(quote) = Quote::read(data) else { return };
    let extra_data = quote.extra_data();
    assert!(extra_data.len() <= MAX_EXTRA_DATA_BYTES);
    assert_eq!(data.len(), FIXED_BYTES + extra_data.len());
    assert_eq!(&data[44..44 + extra_data.len()], extra_data);
    assert!(data.ends_with(quote.register_digest()));
}
