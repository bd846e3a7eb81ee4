//! The header blocks before the bytes of a file in a bundle. The writer and the reader use the same
//! function, so that there is one encoding of each file.
//!
//! * In: path, executable bit, size and time of a file.
//! * Out: the only header blocks that a bundle has for it, and where other blocks differ from them.
//! * Never: a second encoding of the same file.

#[cfg(feature = "appraisal")]
mod compare;

#[cfg(feature = "appraisal")]
pub(super) use compare::{NAME, difference, path_of_record, printable};

use crate::tar_header::writer::Style;

/// The names in the headers of a path that is too long for one header. Some programs stop at a
/// header without a name.
pub(super) const STYLE: Style = Style {
    placeholder: b"pax-path",
    pax_name: Some(b"pax-header"),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar_header::BLOCK_BYTES;
    use crate::tar_header::writer::{Entry, Number};

    fn headers(path: &str) -> Vec<u8> {
        let (size, time) = (Number::new(0o1234).unwrap(), Number::new(0o7654).unwrap());
        STYLE.headers(&Entry::of_file(path.as_bytes(), true, size, time))
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
        assert_eq!(headers("p/artifacts/x"), header.as_bytes());
    }

    #[test]
    fn a_path_over_100_bytes_has_a_pax_header_with_a_name() {
        assert_eq!(headers(&"n".repeat(100)).len(), BLOCK_BYTES);
        let path = "n".repeat(101);
        let blocks = headers(&path);
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
