//! Reads an initrd: the format that the kernel documents as "newc"
//! (driver-api/early-userspace/buffer-format), compressed by zstd, whose program unpacks it.

use std::path::Path;
use std::process::Command;

/// Magic, then thirteen numbers of eight hexadecimal digits.
const HEADER_BYTES: usize = 110;
const MAGIC: &[u8] = b"070701";
/// The index of a field in the header.
const MODE: usize = 1;
const FILE_BYTES: usize = 6;
const NAME_BYTES: usize = 11;
const LAST: &str = "TRAILER!!!";

/// Kinds of inode(7), in the mode.
pub const FILE: u32 = 0o100_000;
pub const DIRECTORY: u32 = 0o040_000;

pub struct Entry {
    pub path: String,
    pub mode: u32,
    pub content: Vec<u8>,
}

/// Returns all entries, sorted by path. Only zero bytes come after the end.
pub fn list(path: &Path) -> Vec<Entry> {
    let output = Command::new("zstd")
        .args(["-dc", "--"])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (mut rest, mut entries) = (&output.stdout[..], Vec::new());
    loop {
        let entry = take(&mut rest);
        if entry.path == LAST {
            assert!(rest.iter().all(|byte| *byte == 0), "a second archive");
            entries.sort_by(|a: &Entry, b| a.path.cmp(&b.path));
            return entries;
        }
        entries.push(entry);
    }
}

fn take(rest: &mut &[u8]) -> Entry {
    let header = rest.split_off(..HEADER_BYTES).unwrap();
    assert_eq!(header[..6], *MAGIC);
    let field = |number: usize| {
        let digits = std::str::from_utf8(&header[6 + 8 * number..][..8]).unwrap();
        u32::from_str_radix(digits, 16).unwrap()
    };
    // Header and name together are padded to four bytes, and so is the content.
    let name = rest
        .split_off(..padded(HEADER_BYTES + field(NAME_BYTES) as usize) - HEADER_BYTES)
        .unwrap();
    let name = std::str::from_utf8(&name[..field(NAME_BYTES) as usize - 1]).unwrap();
    let content = rest
        .split_off(..padded(field(FILE_BYTES) as usize))
        .unwrap();
    let content = content[..field(FILE_BYTES) as usize].to_vec();
    Entry {
        path: name.trim_start_matches("./").to_owned(),
        mode: field(MODE),
        content,
    }
}

fn padded(size: usize) -> usize {
    size.next_multiple_of(4)
}
