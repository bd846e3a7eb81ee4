//! Writes a UKI.
//!
//! * In: the stub as one blob, and the parts that it starts.
//! * Out: a PE file with a section for each (Microsoft, "PE Format").
//! * Never: a byte that depends on anything else.

use super::pe::{COFF_BYTES, PE32_PLUS, SECTION_BYTES};
use super::{MAX_UKI_BYTES, SECTIONS};

/// The address to which the stub was linked (`src/stub/link.ld`): its first byte is its entry
/// point.
const STUB_ADDRESS: usize = 0x1000;
const SECTION_ALIGNMENT: usize = 0x1000;
const FILE_ALIGNMENT: usize = 512;
/// The size of the MS-DOS header, of which the first two bytes and the last four count.
const DOS_BYTES: usize = 64;
const OPTIONAL_BYTES: u16 = 240;
const AMD64: u16 = 0x8664;
/// An executable image that may be loaded above 2 GiB, without line numbers and symbols.
const FILE_FLAGS: u16 = 0x022e;
const EFI_APPLICATION: u16 = 10;
/// No page needs to be writable and executable.
const NX_COMPATIBLE: u16 = 0x0100;
/// The number of directories of an optional header, all of them empty.
const DIRECTORIES: u32 = 16;
/// Flags of sections: code that is executed and read, data that is read.
const CODE: u32 = 0x6000_0020;
const DATA: u32 = 0x4000_0040;

/// The reason why no UKI can be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WriteError {
    /// The file would be too large.
    #[error("the file would have {size} bytes, over the limit of {MAX_UKI_BYTES} (MAX_UKI_BYTES)")]
    Limit {
        /// The size of all parts together, in bytes.
        size: usize,
    },
    /// The command line has a character that is written in another way as UTF-16.
    #[error("the command line has a character that is not printable ASCII, at offset {offset}")]
    Character {
        /// The number of bytes before it.
        offset: usize,
    },
}

/// Returns a UKI of the stub, a kernel, an initrd and a command line.
///
/// # Errors
/// The parts are too large, or the command line is not of printable ASCII alone.
pub fn write(
    stub: &[u8],
    kernel: &[u8],
    initrd: &[u8],
    command_line: &[u8],
) -> Result<Vec<u8>, WriteError> {
    let is_other = |byte: &u8| !matches!(byte, b' '..=b'~');
    if let Some(offset) = command_line.iter().position(is_other) {
        return Err(WriteError::Character { offset });
    }
    let contents = [stub, kernel, initrd, command_line];
    let size = contents.iter().map(|content| content.len()).sum();
    if size > MAX_UKI_BYTES {
        return Err(WriteError::Limit { size });
    }
    let table = DOS_BYTES + COFF_BYTES + usize::from(OPTIONAL_BYTES);
    let headers = (table + SECTION_BYTES * contents.len()).next_multiple_of(FILE_ALIGNMENT);
    let (mut rows, mut body, mut address) = (Vec::new(), Vec::new(), STUB_ADDRESS);
    for (name, content) in SECTIONS.iter().zip(contents) {
        let padded = content.len().next_multiple_of(FILE_ALIGNMENT);
        rows.extend_from_slice(*name);
        for field in [content.len(), address, padded, headers + body.len()] {
            rows.extend(word(field));
        }
        // No relocations and no line numbers.
        rows.extend([0; 12]);
        let flags = if address == STUB_ADDRESS { CODE } else { DATA };
        rows.extend(flags.to_le_bytes());
        body.extend_from_slice(content);
        body.resize(body.len().next_multiple_of(FILE_ALIGNMENT), 0);
        address = (address + content.len()).next_multiple_of(SECTION_ALIGNMENT);
    }
    let code = stub.len().next_multiple_of(FILE_ALIGNMENT);
    let mut file = headers_before_sections(code, body.len() - code, address, headers);
    file.extend(rows);
    file.resize(headers, 0);
    file.extend(body);
    Ok(file)
}

/// Returns the MS-DOS header, the COFF header and the optional header.
fn headers_before_sections(code: usize, data: usize, image: usize, headers: usize) -> Vec<u8> {
    let mut file = b"MZ".to_vec();
    file.resize(DOS_BYTES - 4, 0);
    file.extend(word(DOS_BYTES));

    file.extend(b"PE\0\0");
    file.extend(AMD64.to_le_bytes());
    file.extend((SECTIONS.len() as u16).to_le_bytes());
    // No time, no symbols.
    file.extend([0; 12]);
    file.extend(OPTIONAL_BYTES.to_le_bytes());
    file.extend(FILE_FLAGS.to_le_bytes());

    let optional = file.len();
    file.extend(PE32_PLUS.to_le_bytes());
    // The version of a linker.
    file.extend([0; 2]);
    for field in [code, data, 0, STUB_ADDRESS, STUB_ADDRESS] {
        file.extend(word(field));
    }
    // It is loaded anywhere.
    file.extend(0_u64.to_le_bytes());
    file.extend(word(SECTION_ALIGNMENT));
    file.extend(word(FILE_ALIGNMENT));
    // Versions of an operating system, the image and a subsystem, and one more.
    file.extend([0; 16]);
    file.extend(word(image));
    file.extend(word(headers));
    // The checksum, which firmware does not check.
    file.extend([0; 4]);
    file.extend(EFI_APPLICATION.to_le_bytes());
    file.extend(NX_COMPATIBLE.to_le_bytes());
    // Sizes of stack and heap, which firmware does not use, and flags.
    file.extend([0; 36]);
    file.extend(DIRECTORIES.to_le_bytes());
    file.resize(optional + usize::from(OPTIONAL_BYTES), 0);
    file
}

/// Returns a size or an offset below [`MAX_UKI_BYTES`] and some headers, as a field.
fn word(value: usize) -> [u8; 4] {
    (value as u32).to_le_bytes()
}
