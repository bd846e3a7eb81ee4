//! What stands before the bytes of a file in a bundle. The writer and the reader use the same
//! function, so that there is one encoding of each file.
//!
//! - Comes in: path, executable bit, size and time of a file.
//! - Goes out: the only header blocks that a bundle has for it, and where other blocks differ from
//!   them.
//! - Never: a second encoding of the same file.

#[cfg(feature = "appraisal")]
mod compare;

#[cfg(feature = "appraisal")]
pub(super) use compare::{Difference, NAME, difference, path_of_record, printable};

use tar::EntryType;

use crate::tar_header::writer::{EXECUTABLE_MODE, Entry, Number, PLAIN_MODE, Style};

/// How a bundle writes a path that a header has no room for. Some programs stop at a header without
/// a name.
const STYLE: Style = Style {
    placeholder: b"pax-path",
    pax_name: Some(b"pax-header"),
};

/// Everything that the headers of a file say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// The whole path, with the top directory.
    pub path: &'a str,
    /// Whether the mode is 0755 instead of 0644.
    pub executable: bool,
    /// Number of bytes of the content.
    pub size: Number,
    /// In seconds; the same for every file of a bundle.
    pub time: Number,
}

impl Member<'_> {
    /// Returns the blocks that stand before the content: one, or, for a long path, a PAX header,
    /// its record and one more.
    pub(super) fn headers(&self) -> Vec<u8> {
        let mode = if self.executable {
            EXECUTABLE_MODE
        } else {
            PLAIN_MODE
        };
        STYLE.headers(&Entry {
            kind: EntryType::Regular,
            path: self.path.as_bytes(),
            target: b"",
            mode,
            size: self.size,
            time: self.time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar_header::BLOCK_BYTES;

    fn member(path: &str) -> Member<'_> {
        Member {
            path,
            executable: true,
            size: Number::new(0o1234).unwrap(),
            time: Number::new(0o7654).unwrap(),
        }
    }

    #[test]
    fn a_header_is_what_another_writer_makes_of_the_same_fields() {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_path("p/artifacts/x").unwrap();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0o1234);
        header.set_mtime(0o7654);
        header.set_cksum();
        assert_eq!(member("p/artifacts/x").headers(), header.as_bytes());
    }

    #[test]
    fn a_path_over_100_bytes_has_a_pax_header_with_a_name() {
        assert_eq!(member(&"n".repeat(100)).headers().len(), BLOCK_BYTES);
        let path = "n".repeat(101);
        let blocks = member(&path).headers();
        assert_eq!(blocks.len(), 3 * BLOCK_BYTES);
        assert!(
            blocks.starts_with(b"pax-header\0")
                && blocks[2 * BLOCK_BYTES..].starts_with(b"pax-path\0")
        );
        let record = format!("111 path={path}\n");
        assert_eq!(blocks[BLOCK_BYTES..][..record.len()], *record.as_bytes());
        assert!(
            blocks[BLOCK_BYTES + record.len()..2 * BLOCK_BYTES]
                .iter()
                .all(|byte| *byte == 0)
        );
    }
}
