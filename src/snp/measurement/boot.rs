//! The page of hashes by which the firmware recognises its kernel.
//!
//! * In: the SHA-256 of kernel and initrd, and the command line.
//! * Out: the page that QEMU builds (`target/i386/sev.c`, `SevHashTable`).
//! * Never: a changed command line.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x00 | 16 | GUID of the table |
//! | 0x10 | 2 | length of the table, 168 |
//! | 0x12 | 50 | command line: GUID, length of the entry (50), SHA-256 |
//! | 0x44 | 50 | initrd: the same |
//! | 0x76 | 50 | kernel: the same |
//! | 0xa8 | 8 | padding to 16 bytes, zeros |

use sha2::{Digest as _, Sha256};

use super::page::PAGE_BYTES;

/// The bytes of the table with its padding.
pub const TABLE_BYTES: usize = 176;
const TABLE_LENGTH: u16 = 168;
const ENTRY_LENGTH: u16 = 50;

/// 9438d606-4f22-4cc9-b479-a793d411fd21
const TABLE_GUID: u128 = 0x9438d606_4f22_4cc9_b479_a793d411fd21;
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
const COMMAND_LINE_GUID: u128 = 0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a;
/// 44baf731-3a2f-4bd7-9af1-41e29169781d
const INITRD_GUID: u128 = 0x44baf731_3a2f_4bd7_9af1_41e29169781d;
/// 4de79437-abd2-427f-b835-d5b172d2045b
const KERNEL_GUID: u128 = 0x4de79437_abd2_427f_b835_d5b172d2045b;

/// Why a guest cannot boot with these inputs.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BootError {
    /// The command line ends at its first NUL; the rest would be measured and never seen.
    #[error("the command line has a NUL at byte {offset}")]
    NulInCommandLine {
        /// The offset of the NUL, from zero.
        offset: usize,
    },
}

/// The SHA-256 digests of what the firmware boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootHashes {
    kernel: [u8; 32],
    initrd: [u8; 32],
    command_line: [u8; 32],
}

impl BootHashes {
    /// Takes the SHA-256 of the kernel and of the initrd, and the command line as it is given to
    /// QEMU. No initrd counts as an empty one; the command line is hashed with the NUL that ends
    /// it.
    ///
    /// # Errors
    /// The command line has a NUL.
    pub fn new(
        kernel: [u8; 32],
        initrd: Option<[u8; 32]>,
        command_line: &[u8],
    ) -> Result<Self, BootError> {
        if let Some(offset) = command_line.iter().position(|byte| *byte == 0) {
            return Err(BootError::NulInCommandLine { offset });
        }
        let initrd = initrd.unwrap_or_else(|| Sha256::digest(b"").into());
        let command_line = Sha256::new()
            .chain_update(command_line)
            .chain_update([0])
            .finalize()
            .into();
        Ok(Self {
            kernel,
            initrd,
            command_line,
        })
    }

    /// Returns the page, with the table at `offset` and zeros around it.
    pub(super) fn page(&self, offset: TableOffset) -> [u8; PAGE_BYTES] {
        let entry = |guid, hash: &[u8; 32]| {
            [&guid_bytes(guid)[..], &ENTRY_LENGTH.to_le_bytes(), hash].concat()
        };
        let table = [
            &guid_bytes(TABLE_GUID)[..],
            &TABLE_LENGTH.to_le_bytes(),
            &entry(COMMAND_LINE_GUID, &self.command_line),
            &entry(INITRD_GUID, &self.initrd),
            &entry(KERNEL_GUID, &self.kernel),
        ]
        .concat();
        let mut page = [0; PAGE_BYTES];
        page[offset.0..][..table.len()].copy_from_slice(&table);
        page
    }
}

/// An offset that leaves room for the table in its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOffset(usize);

impl TableOffset {
    /// Returns where in its page a table at `address` begins; none if it does not end in the same
    /// page.
    pub const fn of(address: u32) -> Option<Self> {
        let offset = address as usize % PAGE_BYTES;
        if offset <= PAGE_BYTES - TABLE_BYTES {
            Some(Self(offset))
        } else {
            None
        }
    }
}

/// Returns a GUID, given as one number, in EFI's byte order: the first three fields little-endian.
pub const fn guid_bytes(guid: u128) -> [u8; 16] {
    let mut bytes = guid.to_be_bytes();
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    let fields = [d, c, b, a, f, e, h, g];
    let mut index = 0;
    while index < fields.len() {
        bytes[index] = fields[index];
        index += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_command_line_with_a_nul() {
        let refused = Err(BootError::NulInCommandLine { offset: 1 });
        assert_eq!(BootHashes::new([0; 32], None, b"a\0b"), refused);
    }

    #[test]
    fn table_never_leaves_its_page() {
        let last = (PAGE_BYTES - TABLE_BYTES) as u32;
        assert!(TableOffset::of(last).is_some());
        assert_eq!(TableOffset::of(last + 1), None);
        let page = BootHashes::new([7; 32], None, b"")
            .unwrap()
            .page(TableOffset::of(last).unwrap());
        assert_eq!(page[PAGE_BYTES - 8 - 32..PAGE_BYTES - 8], [7; 32]);
    }
}
