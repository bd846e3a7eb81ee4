//! Any bytes as a ZIP archive.

use super::unpacking;

/// Unpacks the input after a local file header's signature.
pub fn target(data: &[u8]) {
    unpacking::check(data);
}
