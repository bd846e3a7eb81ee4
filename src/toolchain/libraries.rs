//! Finds the shared libraries that artifacts load when they start, and the packages that these come
//! from.
//!
//! * In: copies of artifacts, which no sandbox can write, and the image's list of libraries.
//! * Out: a record for each library that the ELF header of an artifact names (`DT_NEEDED`).
//! * Never: the libraries that those load in turn, or that a program opens by name (`dlopen`).
//!
//! The numbers are little-endian (System V ABI, "Object Files" and "Program Loading and Dynamic
//! Linking"; elf(5)):
//!
//! | header: 64 bytes | | segment: 56 bytes | | dynamic entry: 16 bytes | |
//! |---|---|---|---|---|---|
//! | 0 | magic, 64 bits, little-endian: 6 | 0 | type, 4 | 0 | tag, 8 |
//! | 32 | position of the segments, 8 | 8 | position in the file, 8 | 8 | value, 8 |
//! | 54 | size of one, 2 | 16 | address, 8 | | |
//! | 56 | number of segments, 2 | 32 | size in the file, 8 | | |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::provenance::LibraryRecord;

use super::artifact::refused;
use super::{Artifact, ToolchainError};

/// The image's list of its libraries, `NAME PACKAGE VERSION` on each line; a host has none.
pub(super) const LIST: &str = "/usr/share/kettle/libraries";

/// The most libraries of all artifacts of a build together.
const MAX_LIBRARIES: usize = 1000;

/// The size of the largest dynamic section that is read, in bytes.
const MAX_DYNAMIC_BYTES: u64 = 64 << 10;

/// The length of the longest name of a library, in bytes.
const MAX_NAME_BYTES: u64 = 255;

const MAGIC: &[u8] = b"\x7fELF";
/// The class of files with 64 bits, and the byte order.
const CLASS_AND_ORDER: [u8; 2] = [2, 1];
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DYNAMIC_BYTES: usize = 16;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Returns the libraries that `artifacts` need, sorted by name, each with its package of `list`.
///
/// # Errors
/// An artifact is an ELF file whose libraries cannot be read.
pub(super) fn of(
    artifacts: &[Artifact],
    list: &Path,
) -> Result<Vec<LibraryRecord>, ToolchainError> {
    let packages = packages(list)?;
    let mut names = BTreeSet::new();
    for artifact in artifacts {
        let needed = needed(&mut File::open(&artifact.path)?)
            .map_err(|_| refused(&artifact.name, "its ELF header cannot be read"))?;
        names.extend(needed);
        if names.len() > MAX_LIBRARIES {
            return Err(refused(&artifact.name, "it needs too many libraries"));
        }
    }
    let record = |name: String| {
        let (package, version) = packages.get(&name).cloned().unzip();
        LibraryRecord {
            name,
            package,
            version,
        }
    };
    Ok(names.into_iter().map(record).collect())
}

/// Reads the list: package and version of each library. A list that is missing is empty.
fn packages(list: &Path) -> io::Result<BTreeMap<String, (String, String)>> {
    let text = match fs::read_to_string(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let mut packages = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [name, package, version] = words[..] else {
            return Err(invalid("a line of the list of libraries"));
        };
        packages.insert(name.to_owned(), (package.to_owned(), version.to_owned()));
    }
    Ok(packages)
}

/// Returns the names of the libraries that an ELF file needs, in its order; none for another file.
///
/// # Errors
/// It is an ELF file, and not one of a 64-bit little-endian machine, or its dynamic section cannot
/// be read.
pub fn needed(file: &mut (impl Read + Seek)) -> io::Result<Vec<String>> {
    let mut header = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if !header.starts_with(MAGIC) {
        return Ok(Vec::new());
    }
    if header.len() < HEADER_BYTES || header[4..6] != CLASS_AND_ORDER {
        return Err(invalid("an ELF header"));
    }
    let segments = segments(file, &header)?;
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    if dynamic.bytes > MAX_DYNAMIC_BYTES {
        return Err(invalid("the size of the dynamic section"));
    }
    // The loader finds it by its address.
    let position = position(&segments, dynamic.address)?;
    let section = read(file, position, dynamic.bytes)?;
    let entries = section.chunks_exact(DYNAMIC_BYTES);
    let entries: Vec<_> = entries
        .map(|entry| (number(entry, 0, 8), number(entry, 8, 8)))
        .take_while(|(tag, _)| *tag != DT_NULL)
        .collect();
    let names = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    let names: Vec<_> = names.map(|(_, offset)| *offset).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let table = entries.iter().rfind(|(tag, _)| *tag == DT_STRTAB);
    let (_, table) = table.ok_or_else(|| invalid("the table of names"))?;
    let name = |offset: u64| {
        let address = table.checked_add(offset);
        let address = address.ok_or_else(|| invalid("the address of a name"))?;
        name(file, self::position(&segments, address)?)
    };
    names.into_iter().map(name).collect()
}

/// A part of the file, as the loader sees it.
struct Segment {
    kind: u64,
    position: u64,
    address: u64,
    bytes: u64,
}

fn segments(file: &mut (impl Read + Seek), header: &[u8]) -> io::Result<Vec<Segment>> {
    let count = number(header, 56, 2);
    if count == 0 {
        return Ok(Vec::new());
    }
    if number(header, 54, 2) != SEGMENT_BYTES as u64 {
        return Err(invalid("the size of a segment's header"));
    }
    let table = read(file, number(header, 32, 8), count * SEGMENT_BYTES as u64)?;
    let segment = |entry: &[u8]| Segment {
        kind: number(entry, 0, 4),
        position: number(entry, 8, 8),
        address: number(entry, 16, 8),
        bytes: number(entry, 32, 8),
    };
    Ok(table.chunks_exact(SEGMENT_BYTES).map(segment).collect())
}

/// Returns the position in the file of what is loaded at `address`. A later segment covers earlier
/// ones.
fn position(segments: &[Segment], address: u64) -> io::Result<u64> {
    let offset = |segment: &Segment| {
        let offset = address.checked_sub(segment.address)?;
        let is_in = segment.kind == PT_LOAD && offset < segment.bytes;
        is_in.then(|| segment.position.checked_add(offset))?
    };
    let found = segments.iter().rev().find_map(offset);
    found.ok_or_else(|| invalid("an address"))
}

/// Returns the text at a position of the file, up to its NUL.
fn name(file: &mut (impl Read + Seek), position: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.take(MAX_NAME_BYTES + 1).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.ok_or_else(|| invalid("a name"))?);
    String::from_utf8(bytes).map_err(|_| invalid("a name"))
}

/// Returns all of `size` bytes at a position of the file.
fn read(file: &mut (impl Read + Seek), position: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    if file.take(size).read_to_end(&mut bytes)? as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Returns the number of at most 8 `bytes` at an offset, which is in `from`.
fn number(from: &[u8], offset: usize, bytes: usize) -> u64 {
    let bytes = &from[offset..offset + bytes];
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is invalid"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::digest::Sha256Digest;

    /// Addresses are positions in the file plus this number.
    const BASE: u64 = 0x1000;

    /// A program that needs libraries of these names.
    fn program(names: &[&str]) -> Vec<u8> {
        let mut text = vec![0];
        let mut dynamic = Vec::new();
        for name in names {
            dynamic.extend([DT_NEEDED, text.len() as u64]);
            text.extend_from_slice(name.as_bytes());
            text.push(0);
        }
        let table = HEADER_BYTES + 2 * SEGMENT_BYTES;
        dynamic.extend([DT_STRTAB, BASE + table as u64, DT_NULL, 0]);
        let end = table + text.len();
        let segment = |kind: u64, position: usize, bytes: usize| {
            let address = BASE + position as u64;
            [
                kind,
                position as u64,
                address,
                address,
                bytes as u64,
                bytes as u64,
                8,
            ]
        };
        let mut file = MAGIC.to_vec();
        file.extend(CLASS_AND_ORDER);
        file.resize(HEADER_BYTES, 0);
        file[32] = HEADER_BYTES as u8;
        file[54] = SEGMENT_BYTES as u8;
        file[56] = 2;
        let whole = segment(PT_LOAD, 0, end + 8 * dynamic.len());
        let section = segment(PT_DYNAMIC, end, 8 * dynamic.len());
        for number in whole.into_iter().chain(section) {
            file.extend(number.to_le_bytes());
        }
        file.extend(text);
        file.extend(dynamic.iter().flat_map(|number| number.to_le_bytes()));
        file
    }

    fn needed_by(bytes: &[u8]) -> io::Result<Vec<String>> {
        needed(&mut Cursor::new(bytes))
    }

    #[test]
    fn a_program_needs_what_its_dynamic_section_names() {
        let program = program(&["libz.so.1", "libssl.so.3"]);
        assert_eq!(needed_by(&program).unwrap(), ["libz.so.1", "libssl.so.3"]);
        let mut env = File::open("/usr/bin/env").unwrap();
        assert!(needed(&mut env).unwrap().contains(&"libc.so.6".to_owned()));
    }

    #[test]
    fn a_static_program_and_another_file_need_nothing() {
        let mut object = program(&["libz.so.1"]);
        object[54..58].fill(0);
        for file in [&b""[..], b"\x7fEL", b"!<arch>\n", &program(&[]), &object] {
            assert_eq!(needed_by(file).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn what_lies_about_its_libraries_is_an_error() {
        let good = program(&["libz.so.1"]);
        for length in MAGIC.len()..good.len() - DYNAMIC_BYTES {
            assert!(needed_by(&good[..length]).is_err(), "{length} bytes");
        }
        let dynamic = HEADER_BYTES + SEGMENT_BYTES;
        let changes = [
            (4, 1, "32 bits"),
            (5, 2, "big-endian"),
            (32, 0xff, "segments elsewhere"),
            (54, 1, "segments of another size"),
            (HEADER_BYTES, 0, "nothing is loaded"),
            (dynamic + 16 + 7, 0xff, "an address that is not loaded"),
            (dynamic + 32 + 3, 1, "a large dynamic section"),
        ];
        for (at, byte, what) in changes {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(needed_by(&bad).is_err(), "{what}");
        }
        for name in ["x".repeat(256).as_str(), "\u{e9}"] {
            let mut bad = program(&[name]);
            let last = bad.iter_mut().find(|byte| **byte == 0xa9);
            last.into_iter().for_each(|byte| *byte = b'!');
            assert!(needed_by(&bad).is_err(), "{name}");
        }
    }

    #[test]
    fn a_library_has_its_package_and_each_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("libraries");
        fs::write(
            &list,
            "libssl.so.3 libssl3t64 3.5.9-1\nlibz.so.1 zlib1g 1:1.3\n",
        )
        .unwrap();
        let artifact = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            Artifact {
                name: name.to_owned(),
                path,
                sha256: Sha256Digest::of(content),
                size: content.len() as u64,
                executable: true,
            }
        };
        let artifacts = [
            artifact("a", &program(&["libssl.so.3", "libown.so"])),
            artifact("b", &program(&["libssl.so.3"])),
            artifact("c", b"#!/bin/sh\n"),
        ];
        let record = |name: &str, package: Option<&str>, version: Option<&str>| LibraryRecord {
            name: name.to_owned(),
            package: package.map(str::to_owned),
            version: version.map(str::to_owned),
        };
        let expected = [
            record("libown.so", None, None),
            record("libssl.so.3", Some("libssl3t64"), Some("3.5.9-1")),
        ];
        assert_eq!(of(&artifacts, &list).unwrap(), expected);
        let on_a_host = of(&artifacts, Path::new("/nonexistent")).unwrap();
        assert_eq!(on_a_host[1], record("libssl.so.3", None, None));
        fs::write(&list, "libssl.so.3 libssl3t64\n").unwrap();
        assert!(of(&artifacts, &list).is_err());
        let bad = artifact("bad", MAGIC);
        let refusal = of(&[bad], Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(refusal, ToolchainError::Artifact { .. }));
    }
}
