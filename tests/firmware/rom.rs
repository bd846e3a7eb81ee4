//! A reader of the ROM: the table of GUIDs at its end, SEV metadata, firmware volumes, and the
//! programs in them.
//!
//! Sources: edk2 `OvmfPkg/ResetVector` for the table and the metadata; UEFI PI specification 1.8,
//! volume 3, sections 2 and 3 for volumes, files and sections; Microsoft's PE format.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The distance from the end of the table of GUIDs to the end of the ROM.
const TABLE_END: usize = 0x20;
const GUID_BYTES: usize = 16;
const LENGTH_BYTES: usize = 2;

const TABLE_FOOTER: &str = "96b582de-1fb2-45f7-baea-a366c55a082d";
const SEV_METADATA: &str = "dc886566-984a-4798-a75e-5585a7bf67cc";
const HASH_BLOCK: &str = "7255371f-3a3b-4b04-927b-1da6efa8d454";
const LZMA_SECTION: &str = "ee4e5898-3914-4259-9d6e-dc7bd79403cf";

const SECTION_LZMA_OR_SUCH: u8 = 0x02;
const SECTION_PE32: u8 = 0x10;
const SECTION_TE: u8 = 0x12;
const SECTION_VOLUME: u8 = 0x17;

const FILE_HEADER_BYTES: usize = 24;
const FILE_PADDING: u8 = 0xF0;

/// The bytes of a ROM.
pub struct Rom(pub Vec<u8>);

/// A section of SEV metadata: memory with a special meaning at launch.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    pub base: u32,
    pub bytes: u32,
    pub kind: u32,
}

/// A program in a volume.
pub struct Program {
    /// The kind of the file that it is in: 3 SEC, 4 PEI core, 5 DXE core, 6 PEIM, 7 driver.
    pub file_kind: u8,
    pub guid: String,
    pub pe: Vec<u8>,
}

/// A section of a program.
pub struct PeSection {
    pub address: u32,
    pub characteristics: u32,
}

pub const EXECUTABLE: u32 = 0x2000_0000;
pub const WRITABLE: u32 = 0x8000_0000;

impl Rom {
    pub fn read(path: &Path) -> Self {
        Self(fs::read(path).unwrap())
    }

    /// Returns the data of an entry of the table.
    fn entry(&self, guid: &str) -> &[u8] {
        let bytes = &self.0;
        let mut end = bytes.len() - TABLE_END - GUID_BYTES;
        assert_eq!(guid_at(bytes, end), TABLE_FOOTER);
        end -= LENGTH_BYTES;
        let start = end + LENGTH_BYTES + GUID_BYTES - usize::from(u16_at(bytes, end));
        while end > start {
            let name = guid_at(bytes, end - GUID_BYTES);
            let length = usize::from(u16_at(bytes, end - GUID_BYTES - LENGTH_BYTES));
            if name == guid {
                return &bytes[end - length..end - GUID_BYTES - LENGTH_BYTES];
            }
            end -= length;
        }
        panic!("the ROM has no entry {guid}")
    }

    /// Returns the address and size of the area for the table of hashes.
    pub fn hash_area(&self) -> (u32, u32) {
        let entry = self.entry(HASH_BLOCK);
        (u32_at(entry, 0), u32_at(entry, 4))
    }

    pub fn sev_metadata(&self) -> Vec<Section> {
        let start = self.0.len() - usize::try_from(u32_at(self.entry(SEV_METADATA), 0)).unwrap();
        let metadata = &self.0[start..];
        assert_eq!(&metadata[..4], b"ASEV");
        assert_eq!(u32_at(metadata, 8), 1, "version of the SEV metadata");
        let count = usize::try_from(u32_at(metadata, 12)).unwrap();
        let sections = metadata[16..].chunks_exact(12).take(count);
        sections
            .map(|s| Section {
                base: u32_at(s, 0),
                bytes: u32_at(s, 4),
                kind: u32_at(s, 8),
            })
            .collect()
    }

    /// Returns the ROM's volumes, and those that are compressed in them: everything that could
    /// contain code.
    pub fn volumes(&self) -> Vec<Vec<u8>> {
        let mut all = volumes_in(&self.0);
        let mut index = 0;
        while index < all.len() {
            let inner: Vec<_> = files(&all[index])
                .iter()
                .flat_map(|file| volumes_of_file(&all[index][file.clone()]))
                .collect();
            all.extend(inner);
            index += 1;
        }
        all
    }

    /// Returns every program of every volume.
    pub fn programs(&self) -> Vec<Program> {
        let volumes = self.volumes();
        volumes
            .iter()
            .flat_map(|volume| {
                files(volume)
                    .into_iter()
                    .filter_map(|file| program(&volume[file]))
            })
            .collect()
    }
}

impl Program {
    fn header(&self) -> usize {
        usize::try_from(u32_at(&self.pe, 0x3C)).unwrap()
    }

    pub fn time(&self) -> u32 {
        u32_at(&self.pe, self.header() + 8)
    }

    pub fn section_alignment(&self) -> u32 {
        u32_at(&self.pe, self.header() + 24 + 32)
    }

    /// Returns the subsystem: 11 is a driver of the boot phase, 12 one that stays.
    pub fn subsystem(&self) -> u16 {
        u16_at(&self.pe, self.header() + 24 + 68)
    }

    pub fn sections(&self) -> Vec<PeSection> {
        let header = self.header();
        let count = usize::from(u16_at(&self.pe, header + 6));
        let table = header + 24 + usize::from(u16_at(&self.pe, header + 20));
        let sections = self.pe[table..].chunks_exact(40).take(count);
        sections
            .map(|s| PeSection {
                address: u32_at(s, 12),
                characteristics: u32_at(s, 36),
            })
            .collect()
    }
}

/// Returns the volumes of a ROM, which follow each other.
fn volumes_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut volumes = vec![];
    let mut at = 0;
    while at < bytes.len() {
        assert_eq!(&bytes[at + 40..at + 44], b"_FVH", "no volume at {at:#x}");
        let length = usize::try_from(u64_at(bytes, at + 32)).unwrap();
        volumes.push(bytes[at..at + length].to_vec());
        at += length;
    }
    volumes
}

/// Returns the ranges of the files in a volume.
fn files(volume: &[u8]) -> Vec<Range<usize>> {
    let mut files = vec![];
    let mut at = usize::from(u16_at(volume, 48));
    while at + FILE_HEADER_BYTES <= volume.len() {
        let bytes = u24_at(volume, at + 20);
        if bytes < FILE_HEADER_BYTES || bytes == 0xFF_FFFF {
            break;
        }
        if volume[at + 18] != FILE_PADDING {
            files.push(at..at + bytes);
        }
        at = (at + bytes).next_multiple_of(8);
    }
    files
}

/// Returns the kind and content of each section.
fn sections(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut sections = vec![];
    let mut at: usize = 0;
    while at + 4 <= bytes.len() {
        // Sizes of 16 MiB and more are in a longer header.
        let (length, header) = match u24_at(bytes, at) {
            0xFF_FFFF => (usize::try_from(u32_at(bytes, at + 4)).unwrap(), 8),
            length => (length, 4),
        };
        if length < header {
            break;
        }
        sections.push((bytes[at + 3], &bytes[at + header..at + length]));
        at = (at + length).next_multiple_of(4);
    }
    sections
}

fn volumes_of_file(file: &[u8]) -> Vec<Vec<u8>> {
    let compressed = sections(&file[FILE_HEADER_BYTES..])
        .into_iter()
        .filter(|(kind, _)| *kind == SECTION_LZMA_OR_SUCH);
    let inner = compressed.flat_map(|(_, content)| {
        assert_eq!(guid_at(content, 0), LZMA_SECTION);
        let data = usize::from(u16_at(content, GUID_BYTES)) - 4;
        let inner = decompress(&content[data..]);
        sections(&inner)
            .iter()
            .filter(|(kind, _)| *kind == SECTION_VOLUME)
            .map(|(_, volume)| volume.to_vec())
            .collect::<Vec<_>>()
    });
    inner.collect()
}

fn decompress(lzma: &[u8]) -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("volumes.lzma");
    fs::write(&path, lzma).unwrap();
    // The bytes after the compressed ones are padding.
    let output = Command::new("xz")
        .args(["--format=lzma", "--decompress", "--stdout"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn program(file: &[u8]) -> Option<Program> {
    let sections = sections(&file[FILE_HEADER_BYTES..]);
    assert!(
        sections.iter().all(|(kind, _)| *kind != SECTION_TE),
        "a program without the headers that say what is writable"
    );
    let (_, pe) = sections
        .into_iter()
        .find(|(kind, _)| *kind == SECTION_PE32)?;
    Some(Program {
        file_kind: file[18],
        guid: guid_at(file, 0),
        pe: pe.to_vec(),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u24_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]) << 16
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Returns a GUID as people write it: the first three fields are little endian.
fn guid_at(bytes: &[u8], at: usize) -> String {
    let guid = &bytes[at..at + GUID_BYTES];
    let tail = hex::encode(&guid[8..]);
    let (fourth, fifth) = tail.split_at(4);
    format!(
        "{:08x}-{:04x}-{:04x}-{fourth}-{fifth}",
        u32_at(guid, 0),
        u16_at(guid, 4),
        u16_at(guid, 6)
    )
}
