//! Any bytes as a ZIP archive.

use super::unpacking;

/// Whatever follows a local file header's signature.
pub fn target(data: &[u8]) {
    unpacking::check(data);
}
