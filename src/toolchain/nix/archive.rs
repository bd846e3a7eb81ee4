//! Looks for files in an archive that was downloaded.
//!
//! * In: a file of the store, and the files that are wanted.
//! * Out: whether it has any of them, which are then no longer wanted.
//! * Never: an archive that ends a build; one that cannot be read has no files. Nothing is written,
//!   and nothing is kept but one buffer.
//!
//! Tar, plain or in gzip, and a single file in gzip are read. Other compressions and ZIP are not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tar::Archive;

use crate::digest::Sha256Digest;
use crate::tar_header::{BLOCK_BYTES, is_tar};

/// The most bytes that archives may unpack to while they are searched, for one output together.
pub(super) const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// The first two bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The digests and the sizes of files that are wanted.
pub(super) type WantedFiles = BTreeMap<Sha256Digest, u64>;

/// Removes from `wanted` the files that the archive at `path` has, and returns whether it had any.
///
/// The unpacked bytes are subtracted from `budget`.
///
/// # Errors
/// The archive cannot be opened.
pub(super) fn find(path: &Path, wanted: &mut WantedFiles, budget: &mut u64) -> io::Result<bool> {
    let before = wanted.len();
    let mut file = BufReader::new(File::open(path)?);
    let start = start(&mut file);
    let stream = start.chain(file);
    // In an archive that cannot be read to its end, the files before the damage count.
    let _ = if start.starts_with(&GZIP) {
        find_in(MultiGzDecoder::new(BufReader::new(stream)), wanted, budget)
    } else if is_tar(&start) {
        find_in(stream, wanted, budget)
    } else {
        Ok(())
    };
    Ok(wanted.len() < before)
}

/// Searches a tar; any other stream is one file.
fn find_in(mut stream: impl Read, wanted: &mut WantedFiles, budget: &mut u64) -> io::Result<()> {
    let start = start(&mut stream);
    let mut stream = start.chain(stream).take(*budget);
    let found = if is_tar(&start) {
        find_in_tar(&mut stream, wanted)
    } else {
        Sha256Digest::of_reader(&mut stream).map(|(digest, _)| {
            wanted.remove(&digest);
        })
    };
    *budget = stream.limit();
    found
}

/// Searches a tar. Extended headers are treated as ordinary entries, so that none is read into
/// memory.
fn find_in_tar(stream: impl Read, wanted: &mut WantedFiles) -> io::Result<()> {
    for entry in Archive::new(stream).entries()?.raw(true) {
        let entry = entry?;
        let size = entry.size();
        if entry.header().entry_type().is_file() && wanted.values().any(|other| *other == size) {
            let (digest, _) = Sha256Digest::of_reader(entry)?;
            wanted.remove(&digest);
        }
    }
    Ok(())
}

/// Returns the first block of a stream, or all of a shorter one.
fn start(stream: &mut impl Read) -> Vec<u8> {
    let mut start = Vec::new();
    // The rest of the stream reports the same error again.
    let _ = stream.take(BLOCK_BYTES as u64).read_to_end(&mut start);
    start
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn gzip_of(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns the texts that are not in the file, and the rest of the budget.
    fn missing<'a>(file: &[u8], texts: &[&'a str], budget: u64) -> (Vec<&'a str>, u64) {
        let place = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(place.path(), file).unwrap();
        let digest = |text: &str| Sha256Digest::of(text.as_bytes());
        let sizes = texts.iter().map(|text| (digest(text), text.len() as u64));
        let mut wanted: WantedFiles = sizes.collect();
        let mut left = budget;
        let has_any = find(place.path(), &mut wanted, &mut left).unwrap();
        assert_eq!(has_any, wanted.len() < texts.len());
        (
            texts
                .iter()
                .copied()
                .filter(|text| wanted.contains_key(&digest(text)))
                .collect(),
            left,
        )
    }

    #[test]
    fn files_of_a_tar_and_of_gzip_are_found() {
        let long = format!("top/{}", "folder/".repeat(30));
        let tar = tar_of(&[("top/a", "one"), (&long, "two"), ("top/c", "three")]);
        for file in [tar.clone(), gzip_of(&tar)] {
            assert_eq!(
                missing(&file, &["one", "two", "own"], MAX_UNPACKED_BYTES).0,
                ["own"]
            );
        }
        assert_eq!(
            missing(&gzip_of(b"one"), &["one", "two"], MAX_UNPACKED_BYTES).0,
            ["two"]
        );
    }

    #[test]
    fn what_is_no_archive_or_a_damaged_one_has_nothing_more() {
        let tar = tar_of(&[("a", "one"), ("b", "two")]);
        assert_eq!(
            missing(&tar[..1100], &["one", "two"], MAX_UNPACKED_BYTES).0,
            ["two"]
        );
        let packed = gzip_of(&tar);
        for file in [&b""[..], b"one", &GZIP, &packed[..20], &tar[..100]] {
            let found = missing(file, &["one", "two"], MAX_UNPACKED_BYTES);
            assert_eq!(found.0, ["one", "two"], "{file:?}");
        }
    }

    #[test]
    fn no_more_is_unpacked_than_the_limit() {
        let bomb = gzip_of(&vec![0; 1 << 20]);
        assert_eq!(missing(&bomb, &["one"], 1000), (vec!["one"], 0));
        let tar = tar_of(&[("a", "one"), ("b", "two")]);
        assert_eq!(missing(&tar, &["one", "two"], 1100), (vec!["two"], 0));
    }
}
