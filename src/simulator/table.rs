//! The certificate table, as a host writes it.
//!
//! * In: certificates.
//! * Out: the bytes that a guest gets.
//! * Never: used by the attester, which has its own reader; the two were written apart, so that
//!   each shows the other's mistakes.
//!
//! GHCB specification revision 2.04, SNP extended guest request: GUID in RFC 4122 byte order,
//! offset and length little-endian, 24 bytes of zeros at the end; padded to whole pages.

use super::hierarchy::Hierarchy;
use super::identity::{HandedOver, Key};

const ENTRY_BYTES: usize = 24;
const PAGE_BYTES: usize = 4096;
/// A length above the four pages that a guest's kernel takes.
const LARGE_BYTES: usize = 5 * PAGE_BYTES;

const VCEK: [u8; 16] = hex_guid(b"63da758de6644564adc5f4b93be8accd");
const VLEK: [u8; 16] = hex_guid(b"a8074bc2a25a483eaae639c045a0b8a1");
const ASK: [u8; 16] = hex_guid(b"4ab7b379bbac4fe4a02f05aef327c782");
const ARK: [u8; 16] = hex_guid(b"c0b406a4a803495297433fb6014cd0ae");

/// Returns the table; empty where the host provides nothing.
pub(super) fn write(hierarchy: &Hierarchy, key: Key, handed_over: HandedOver) -> Vec<u8> {
    let vek = if key == Key::Vlek { VLEK } else { VCEK };
    let files = [
        (vek, &hierarchy.vek),
        (ASK, &hierarchy.ask),
        (ARK, &hierarchy.ark),
    ];
    let mut entries = Vec::new();
    let mut content: Vec<u8> = Vec::new();
    for (guid, bytes) in files {
        let offset = (files.len() + 1) * ENTRY_BYTES + content.len();
        entries.extend(guid);
        entries.extend((offset as u32).to_le_bytes());
        entries.extend((bytes.len() as u32).to_le_bytes());
        content.extend(bytes);
    }
    if handed_over == HandedOver::Broken {
        // The first certificate begins before the table.
        entries[16..20].fill(0xff);
    }
    entries.extend([0; ENTRY_BYTES]);
    entries.extend(content);
    let length = entries.len().next_multiple_of(PAGE_BYTES);
    match handed_over {
        HandedOver::Nothing => entries.clear(),
        HandedOver::All | HandedOver::Broken => entries.resize(length, 0),
        HandedOver::Large => entries.resize(LARGE_BYTES, 0),
    }
    entries
}

const fn hex_guid(digits: &[u8; 32]) -> [u8; 16] {
    const fn digit(character: u8) -> u8 {
        if character.is_ascii_digit() {
            character - b'0'
        } else {
            character - b'a' + 10
        }
    }
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < 16 {
        bytes[at] = digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}
