//! Any bytes as a tar archive whose checksums are right.

use super::unpacking;

/// The length of a header or of a block of content.
const BLOCK_BYTES: usize = 512;

/// The range of the checksum in a header, in octal digits.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Nothing appears outside the directory.
pub fn target(data: &[u8]) {
    unpacking::check(&with_checksums(data));
}

/// Corrects the checksum of every block that looks like a header, so that changes get past it.
pub fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    for header in archive
        .chunks_exact_mut(BLOCK_BYTES)
        .filter(|block| block[257..262] == *b"ustar")
    {
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}
