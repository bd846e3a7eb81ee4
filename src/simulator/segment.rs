//! The files that a test machine gets beside its image.
//!
//! * In: files.
//! * Out: a cpio archive to append to an initrd. The kernel unpacks one archive after the other,
//!   and a later file replaces an earlier one of its name.
//! * Never: compressed, or of any use to a measured machine, whose initrd was measured.
//!
//! The "newc" format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst): each
//! entry is a header of 13 numbers, eight hexadecimal digits each, after `070701`; then the name
//! with a final zero, then the content, each padded to four bytes.

/// One file or directory of the archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path without a leading slash. A directory comes before its files.
    pub name: String,
    /// The type and the permissions.
    pub mode: u32,
    /// The bytes of a file; empty for a directory.
    pub content: Vec<u8>,
}

impl Entry {
    /// Returns a directory that everybody may read.
    pub fn directory(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: 0o040_755,
            content: vec![],
        }
    }

    /// Returns a file that everybody may read and execute.
    pub fn file(name: &str, content: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            mode: 0o100_555,
            content,
        }
    }
}

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Returns an archive of these entries, in their order.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        append(&mut archive, number, entry);
    }
    append(
        &mut archive,
        0,
        &Entry {
            name: TRAILER.to_owned(),
            mode: 0,
            content: vec![],
        },
    );
    archive
}

fn append(archive: &mut Vec<u8>, inode: u32, entry: &Entry) {
    let (size, name_size) = (entry.content.len() as u32, entry.name.len() as u32 + 1);
    let numbers = [
        inode, entry.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0,
    ];
    archive.extend(b"070701");
    archive.extend(
        numbers
            .iter()
            .flat_map(|number| format!("{number:08x}").into_bytes()),
    );
    archive.extend(entry.name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(&entry.content);
    pad(archive);
}

/// Adds zeros up to a multiple of four bytes.
pub fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_and_its_content_begin_at_a_multiple_of_four() {
        let archive = write(&[
            Entry::directory("a"),
            Entry::file("a/bc", b"12345".to_vec()),
        ]);
        let text = String::from_utf8(archive.clone()).unwrap();
        let places: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(places, [0, 112, 236]);
        let number = |entry: usize, field: usize| &text[entry + 6 + 8 * field..][..8];
        assert_eq!(
            (number(0, 1), number(0, 6), number(0, 11)),
            ("000041ed", "00000000", "00000002")
        );
        assert_eq!(
            (number(112, 1), number(112, 6), number(112, 11)),
            ("0000816d", "00000005", "00000005")
        );
        let (name, content) = text[112 + 110..].split_once('\0').unwrap();
        assert!(name == "a/bc" && content.trim_start_matches('\0').starts_with("12345"));
        assert!(text[236..].contains(TRAILER) && archive.len().is_multiple_of(4));
    }
}
