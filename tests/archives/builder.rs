//! Builds archives byte by byte, also ones that no tool writes.
#![allow(dead_code)] // Each test uses a part of it.

use std::io::Write;

// --- tar, block by block ---

pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn header(
        &mut self,
        name: &[u8],
        kind: u8,
        mode: u32,
        size: u64,
        link: &[u8],
    ) -> &mut Self {
        let mut block = [0u8; 512];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = kind;
        block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.0.extend_from_slice(&block);
        self.patch(148, b"        ")
    }

    /// Puts other bytes into the last block, which is a header, and corrects its checksum.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        let block = self.0.last_chunk_mut::<512>().unwrap();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    pub fn data(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(&mut self, name: &str, content: &[u8]) -> &mut Self {
        self.raw_file(name.as_bytes(), 0o644, content)
    }

    pub fn raw_file(&mut self, name: &[u8], mode: u32, content: &[u8]) -> &mut Self {
        self.header(name, b'0', mode, content.len() as u64, b"")
            .data(content)
    }

    pub fn directory(&mut self, name: &str) -> &mut Self {
        self.header(name.as_bytes(), b'5', 0o755, 0, b"")
    }

    pub fn link(&mut self, name: &str, target: &str) -> &mut Self {
        self.header(name.as_bytes(), b'2', 0o777, 0, target.as_bytes())
    }

    pub fn extended(&mut self, kind: u8, content: &[u8]) -> &mut Self {
        self.header(b"extended", kind, 0o644, content.len() as u64, b"")
            .data(content)
    }

    /// Ends a chain of calls in a closure that returns nothing.
    pub fn done(&mut self) {}

    pub fn end(&mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        std::mem::take(&mut self.0)
    }
}

pub fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let length = (1..6)
        .map(|digits| body + digits)
        .find(|length| length.to_string().len() + body == *length)
        .unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

// --- ZIP, record by record ---

#[derive(Clone)]
pub struct ZipEntry {
    pub name: Vec<u8>,
    pub local_name: Vec<u8>,
    pub mode: u32,
    pub host: u8,
    pub flags: u16,
    pub local_flags: u16,
    pub method: u16,
    pub data: Vec<u8>,
    pub size: u32,
    pub local_size: u32,
    pub crc: u32,
    pub offset: Option<u32>,
    pub descriptor: Option<Vec<u8>>,
}

pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub fn stored(name: &str, content: &[u8]) -> ZipEntry {
    ZipEntry {
        name: name.into(),
        local_name: name.into(),
        mode: 0o100_644,
        host: 3,
        flags: 0,
        local_flags: 0,
        method: 0,
        data: content.to_vec(),
        size: content.len() as u32,
        local_size: content.len() as u32,
        crc: crc(content),
        offset: None,
        descriptor: None,
    }
}

pub fn deflated(name: &str, content: &[u8]) -> ZipEntry {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    ZipEntry {
        method: 8,
        data: encoder.finish().unwrap(),
        ..stored(name, content)
    }
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    zip_with(entries, b"", b"", b"")
}

pub fn zip_with(entries: &[ZipEntry], before: &[u8], between: &[u8], comment: &[u8]) -> Vec<u8> {
    let mut out = before.to_vec();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = entry.offset.unwrap_or(out.len() as u32);
        let described = entry.descriptor.is_some();
        let (crc, packed, size) = if described {
            (0, 0, 0)
        } else {
            (entry.crc, entry.data.len() as u32, entry.local_size)
        };
        out.extend([b'P', b'K', 3, 4, 20, 0]);
        out.extend(entry.local_flags.to_le_bytes());
        out.extend(entry.method.to_le_bytes());
        out.extend([0; 4]);
        for field in [crc, packed, size] {
            out.extend(field.to_le_bytes());
        }
        out.extend((entry.local_name.len() as u16).to_le_bytes());
        out.extend([0; 2]);
        out.extend(&entry.local_name);
        out.extend(&entry.data);
        out.extend(entry.descriptor.as_deref().unwrap_or_default());
        directory.extend([b'P', b'K', 1, 2, 20, entry.host, 20, 0]);
        directory.extend(entry.flags.to_le_bytes());
        directory.extend(entry.method.to_le_bytes());
        directory.extend([0; 4]);
        for field in [entry.crc, entry.data.len() as u32, entry.size] {
            directory.extend(field.to_le_bytes());
        }
        directory.extend((entry.name.len() as u16).to_le_bytes());
        directory.extend([0; 8]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
    }
    out.extend(between);
    let offset = out.len() as u32;
    out.extend(&directory);
    out.extend([b'P', b'K', 5, 6, 0, 0, 0, 0]);
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend((comment.len() as u16).to_le_bytes());
    out.extend(comment);
    out
}
