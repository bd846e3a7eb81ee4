//! Any bytes as a bundle, as the tar inside one, and as the content of a bundle.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::ops::Range;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kettle::bundle::read::{MAX_BUNDLE_ENTRIES, stream};
use kettle::bundle::{Entry, write};
use kettle::inspect;

/// The offset of the extra flags in a gzip header, the effort of the compression (RFC 1952, section
/// 2.3.1): zero in a bundle.
const EXTRA_FLAGS: usize = 8;

const BLOCK_BYTES: usize = 512;
const CHECKSUM: Range<usize> = 148..156;
const MAGIC: Range<usize> = 257..262;

/// Path, whether it is executable, and content of each file.
type Files = BTreeMap<String, (bool, &'static [u8])>;

/// Contents of the made bundles: a byte of the input says which.
const CONTENTS: [&[u8]; 4] = [b"", b"{}\n", &[0; 1024], b"a content"];

/// A bundle that is read is within its limits, its names are plain, its text for people is inert,
/// and the writer makes the same bytes of the same files.
pub fn target(data: &[u8]) {
    check(data);
    check(&gzip(data));
    check_made(data);
    check_changed(data);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(data).expect("memory takes it");
    let mut packed = gzip.finish().expect("memory takes it");
    packed[EXTRA_FLAGS] = 0;
    packed
}

fn check(data: &[u8]) {
    let Ok(bundle) = stream(data) else { return };
    assert!(bundle.artifacts.len() <= MAX_BUNDLE_ENTRIES);
    let text = inspect::text(&bundle);
    assert!(
        !text.contains(|character: char| character.is_control() && character != '\n'),
        "{text:?}"
    );
    let names = bundle
        .artifacts
        .iter()
        .chain(&bundle.build_config)
        .map(|file| &file.name);
    for name in names {
        assert!(
            !name.split('/').any(|part| ["", ".", ".."].contains(&part)),
            "{name:?}"
        );
    }
    check_encoding(data, bundle.time.expect("an archive has a time"));
}

/// Asserts that another reader finds files of which the writer makes the same tar stream.
fn check_encoding(data: &[u8], time: u64) {
    let mut tar = Vec::new();
    GzDecoder::new(data)
        .read_to_end(&mut tar)
        .expect("it was read before");
    let mut files = Vec::new();
    for entry in tar::Archive::new(&tar[..])
        .entries()
        .expect("it was read before")
    {
        let mut entry = entry.expect("it was read before");
        let path = entry
            .path()
            .expect("a plain path")
            .to_str()
            .expect("text")
            .to_owned();
        let executable = entry.header().mode().expect("a number") == 0o755;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("it was read before");
        files.push((path, executable, content));
    }
    let top = files[0]
        .0
        .split('/')
        .next()
        .expect("a top directory")
        .to_owned();
    let entries = files.iter().map(|(path, executable, content)| {
        let path = path
            .strip_prefix(&*top)
            .and_then(|rest| rest.strip_prefix('/'))
            .expect("one top directory");
        Entry {
            executable: *executable,
            ..Entry::of_bytes(path, content)
        }
    });
    let made = write(Vec::new(), &top, entries.collect(), time).expect("memory takes it");
    let mut again = Vec::new();
    GzDecoder::new(&made[..])
        .read_to_end(&mut again)
        .expect("it was made here");
    assert!(
        again == tar,
        "another encoding of the same files was accepted"
    );
}

/// Returns the bundle that the writer makes with the lines of the input as names.
fn made(data: &[u8]) -> Option<(Files, Vec<u8>)> {
    let names = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    let mut files = BTreeMap::from([("provenance.json".to_owned(), (false, CONTENTS[1]))]);
    for name in names.filter(|name| !name.is_empty()) {
        let choice = name.len();
        files.insert(
            format!("artifacts/{name}"),
            (choice % 2 == 0, CONTENTS[choice / 2 % CONTENTS.len()]),
        );
    }
    let entries = files.iter().map(|(path, (executable, content))| Entry {
        executable: *executable,
        ..Entry::of_bytes(path, content)
    });
    let packed = write(Vec::new(), "project", entries.collect(), 7).ok()?;
    Some((files, packed))
}

/// Asserts that a made bundle is read as it was made, or refused for its names.
fn check_made(data: &[u8]) {
    let Some((files, packed)) = made(data) else {
        return;
    };
    let Ok(bundle) = stream(&packed[..]) else {
        return;
    };
    assert_eq!(bundle.artifacts.len() + 1, files.len());
    for file in &bundle.artifacts {
        let (executable, content) = files[&format!("artifacts/{}", file.name)];
        assert_eq!(
            (file.executable, file.size),
            (executable, content.len() as u64),
            "{:?}",
            file.name
        );
    }
    check(&packed);
}

/// Checks a made bundle with one byte of the tar stream changed, and with correct checksums: the
/// first bytes of the input say which byte and how, the rest are names.
fn check_changed(data: &[u8]) {
    let Some(([high, low, change], names)) = data.split_first_chunk() else {
        return;
    };
    let Some((_, packed)) = made(names) else {
        return;
    };
    let mut tar = Vec::new();
    GzDecoder::new(&packed[..])
        .read_to_end(&mut tar)
        .expect("it was made here");
    let at = usize::from(u16::from_be_bytes([*high, *low])) % tar.len();
    tar[at] ^= change;
    let is_header = |block: &&mut [u8]| block[MAGIC] == *b"ustar";
    for header in tar.chunks_exact_mut(BLOCK_BYTES).filter(is_header) {
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    }
    check(&gzip(&tar));
}
