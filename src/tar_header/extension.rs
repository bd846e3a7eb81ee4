//! Reads the headers of a tar that extend the entry after them (POSIX.1, `pax`; GNU long names).
//!
//! * In: the content of such a header, and the entry's own header.
//! * Out: the entry's name and link target, and whether all programs find the same ones.
//! * Never: two values for one property, of which some programs use the first and some the second.

use tar::{EntryType, Header};

use super::TYPE;
use super::writer::MAX_NAME_BYTES;

/// The type of a file in POSIX. Some programs take a NUL instead, with a name that ends in `/`, for
/// a directory.
const REGULAR: u8 = b'0';
/// How many bytes writers cut off in addition, so that a cut name ends between two characters.
const MAX_CUT_CHARACTER_BYTES: usize = 3;
/// The largest number of digits of a record's length.
const MAX_LENGTH_DIGITS: usize = 8;

/// An extended header that cannot be read, or that repeats a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an extended header cannot be read, or repeats a property")]
pub struct Malformed;

/// The properties that extended headers give the next entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
    has_pax: bool,
}

impl Extension {
    /// Reads a PAX header for one entry.
    ///
    /// # Errors
    /// The header is malformed, or the entry had one already.
    pub fn read_pax(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if std::mem::replace(&mut self.has_pax, true) {
            return Err(Malformed);
        }
        self.read_records(bytes)
    }

    /// Reads a PAX header for all later entries. It must not contain names and sizes: some programs
    /// use them, and some do not.
    ///
    /// # Errors
    /// The header is malformed, or contains names or sizes.
    pub fn check_global_pax(bytes: &[u8]) -> Result<(), GlobalError> {
        let mut global = Self::default();
        let read = global.read_records(bytes);
        read.map_err(|Malformed| GlobalError::Malformed)?;
        if global != Self::default() {
            return Err(GlobalError::Names);
        }
        Ok(())
    }

    /// Takes the content of a GNU long name.
    ///
    /// # Errors
    /// The entry had an extended name already.
    pub fn set_gnu_path(&mut self, bytes: Vec<u8>) -> Result<(), Malformed> {
        set_once(&mut self.path, without_end(bytes))
    }

    /// Takes the content of a GNU long link.
    ///
    /// # Errors
    /// The entry had an extended target already.
    pub fn set_gnu_target(&mut self, bytes: Vec<u8>) -> Result<(), Malformed> {
        set_once(&mut self.target, without_end(bytes))
    }

    /// Returns whether no header extended the entry.
    pub fn is_empty(&self) -> bool {
        !self.has_pax && self.path.is_none() && self.target.is_none()
    }

    /// Returns whether the entry's content differs from the bytes that follow it in the archive.
    pub fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// Returns the size that an extended header gave.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns whether programs that ignore or misread the extended headers would still find a file
    /// where others find a file, and a directory where others find a directory.
    pub fn fits(&self, header: &Header) -> bool {
        let Some(path) = &self.path else { return true };
        if header.entry_type() == EntryType::Directory {
            return true;
        }
        let has_type =
            header.entry_type() != EntryType::Regular || header.as_bytes()[TYPE] == REGULAR;
        has_type && (!header.path_bytes().ends_with(b"/") || is_cut_of(header, path))
    }

    /// Returns the entry's name, from an extended header or from its own.
    pub fn path(&mut self, header: &Header) -> Vec<u8> {
        self.path
            .take()
            .unwrap_or_else(|| header.path_bytes().into_owned())
    }

    /// Returns the target of a link; empty if no header has one.
    pub fn target(&mut self, header: &Header) -> Vec<u8> {
        let own = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
        self.target.take().or_else(own).unwrap_or_default()
    }

    /// Reads records, which are `LENGTH KEY=VALUE\n`; the length is decimal and counts itself.
    fn read_records(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let (record, rest) = record(bytes).ok_or(Malformed)?;
            let equals = record.iter().position(|byte| *byte == b'=');
            let equals = equals.ok_or(Malformed)?;
            let value = &record[equals + 1..];
            match &record[..equals] {
                b"path" => set_once(&mut self.path, value.to_vec())?,
                b"linkpath" => set_once(&mut self.target, value.to_vec())?,
                b"size" => set_once(&mut self.size, decimal(value).ok_or(Malformed)?)?,
                b"SUN.holesdata" | b"SCHILY.realsize" => self.is_sparse = true,
                key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// Why a PAX header for all entries is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalError {
    /// The header cannot be read.
    Malformed,
    /// The header contains names or sizes.
    Names,
}

/// Returns whether a header's name is the part of `path` for which it has room. Such a part can end
/// in `/`.
fn is_cut_of(header: &Header, path: &[u8]) -> bool {
    let name = &header.as_bytes()[..MAX_NAME_BYTES];
    let nul = name.iter().position(|byte| *byte == 0);
    let end = nul.unwrap_or(MAX_NAME_BYTES);
    end + MAX_CUT_CHARACTER_BYTES >= MAX_NAME_BYTES
        && path.len() > end
        && path.starts_with(&name[..end])
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes
        .iter()
        .take(MAX_LENGTH_DIGITS)
        .position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_decimal { text.parse().ok() } else { None }
}

fn set_once<T>(property: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match property.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}

/// Removes the NUL with which GNU tar ends a long name.
fn without_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &[u8], kind: u8) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_mut_bytes()[TYPE] = kind;
        header
    }

    fn named(path: &[u8]) -> Extension {
        let mut extension = Extension::default();
        extension.set_gnu_path(path.to_vec()).unwrap();
        extension
    }

    #[test]
    fn a_file_with_an_extended_name_is_a_file_without_it_too() {
        let path = b"proj/src/main.rs";
        for (own, kind, fits) in [
            (&b"proj/src/main.rs"[..], b'0', true),
            (b"pax-path", b'0', true),
            (b"", b'0', true),
            (b"proj/src/main.rs", 0, false),
            (b"proj/src/", 0, false),
            (b"proj/src/", b'0', false),
            (b"/", b'0', false),
            (b"proj/src/", b'2', false),
            (b"link", b'2', true),
            (b"proj/src/", b'5', true),
            (b"proj/src", b'5', true),
        ] {
            let shown = own.escape_ascii();
            assert_eq!(named(path).fits(&header(own, kind)), fits, "{shown} {kind}");
        }
        // Without an extended name there is nothing to mistake.
        assert!(Extension::default().fits(&header(b"proj/src/", 0)));
        let mut prefixed = header(b"/", b'0');
        prefixed.as_ustar_mut().unwrap().prefix[..4].copy_from_slice(b"proj");
        assert!(!named(path).fits(&prefixed));
    }

    #[test]
    fn a_cut_of_the_name_may_end_in_a_slash_and_nothing_else_may() {
        for length in 1..=MAX_NAME_BYTES {
            let own = [&vec![b'd'; length - 1][..], b"/"].concat();
            let is_cut = length + MAX_CUT_CHARACTER_BYTES >= MAX_NAME_BYTES;
            assert_eq!(
                named(&[&own[..], b"file"].concat()).fits(&header(&own, b'0')),
                is_cut,
                "{length}"
            );
            assert!(
                !named(&own).fits(&header(&own, b'0')),
                "it is the whole name"
            );
            assert!(
                !named(&[&own[..], b"file"].concat()[1..]).fits(&header(&own, b'0')) || length == 1
            );
            assert!(!named(&[&own[..], b"file"].concat()).fits(&header(&own, 0)));
        }
    }

    #[test]
    fn nothing_is_said_twice() {
        for wrong_length in [&b"8 path=a\n"[..], b"11 path=a\n", b"+9 path=a\n"] {
            assert_eq!(Extension::default().read_pax(wrong_length), Err(Malformed));
        }
        let record = b"10 path=a\n";
        for again in [&[&record[..], record].concat()[..], b"7 x=1\n0"] {
            assert_eq!(Extension::default().read_pax(again), Err(Malformed));
        }
        let mut pax = Extension::default();
        pax.read_pax(record).unwrap();
        assert_eq!(pax.read_pax(b"6 x=1\n"), Err(Malformed));
        assert_eq!(pax.set_gnu_path(b"a\0".to_vec()), Err(Malformed));
        assert_eq!(pax.path(&header(b"b", b'0')), b"a");
        assert_eq!(Extension::check_global_pax(b"6 x=1\n"), Ok(()));
        assert_eq!(Extension::check_global_pax(record), Err(GlobalError::Names));
        assert_eq!(
            Extension::check_global_pax(b"10 size=1\n"),
            Err(GlobalError::Names)
        );
    }

    #[test]
    fn holes_are_known_by_whoever_describes_them() {
        for key in ["GNU.sparse.map", "SUN.holesdata", "SCHILY.realsize"] {
            let record = format!("{} {key}=1\n", key.len() + 6);
            let mut pax = Extension::default();
            pax.read_pax(record.as_bytes()).unwrap();
            assert!(pax.is_sparse(), "{key}");
        }
    }
}
