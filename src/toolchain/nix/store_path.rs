//! Reads the names of objects in the nix store.
//!
//! * In: text.
//! * Out: a [`StorePath`].
//! * Never: a path below a store object, or a name that nix itself refuses.
//!
//! The form is `/nix/store/` HASH `-` NAME, where HASH is 32 digits of nix's base 32 (nix manual,
//! "Store path"; the name's rules as in version 2.26).

use std::fmt;

use super::base32;

/// The directory of all store objects.
const STORE: &str = "/nix/store/";

/// The number of digits in a hash.
const HASH_DIGITS: usize = base32::digits(20);

/// The length of the longest name, in bytes: hash, name and `.lock` are one file name.
const MAX_NAME_BYTES: usize = 211;

/// Why a text is not a store path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StorePathError {
    /// The path lies outside of the store.
    #[error("{path:?} is not in the nix store")]
    Outside {
        /// The text that was read.
        path: String,
    },
    /// The name does not begin with a hash and a dash.
    #[error("{path:?} has no hash that nix could have made")]
    Hash {
        /// The text that was read.
        path: String,
    },
    /// The text after the hash is not a name.
    #[error("{path:?} has a name that nix refuses")]
    Name {
        /// The text that was read.
        path: String,
    },
}

/// The path of a whole store object, `/nix/store/HASH-NAME`; sorted by hash, as nix does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(String);

impl StorePath {
    /// Reads a full path.
    ///
    /// # Errors
    /// The text is not exactly the path of a store object.
    pub fn parse(path: &str) -> Result<Self, StorePathError> {
        let base = path
            .strip_prefix(STORE)
            .ok_or_else(|| StorePathError::Outside {
                path: path.to_owned(),
            })?;
        Self::of_base(base)
    }

    /// Reads the name of a file in the store, `HASH-NAME`.
    ///
    /// # Errors
    /// The name is not that of a store object.
    pub fn of_base(base: &str) -> Result<Self, StorePathError> {
        let owned = || format!("{STORE}{base}");
        let unhashed = || StorePathError::Hash { path: owned() };
        let (hash, rest) = base.split_at_checked(HASH_DIGITS).ok_or_else(unhashed)?;
        if !hash.bytes().all(base32::is_digit) {
            return Err(unhashed());
        }
        let name = rest.strip_prefix('-').ok_or_else(unhashed)?;
        if !is_name(name) {
            return Err(StorePathError::Name { path: owned() });
        }
        Ok(Self(base.to_owned()))
    }

    /// Returns `HASH-NAME`, the name of the file in the store.
    pub fn base(&self) -> &str {
        &self.0
    }

    /// Returns `NAME`, the name without the hash.
    pub fn name(&self) -> &str {
        &self.0[HASH_DIGITS + 1..]
    }
}

/// Returns whether nix takes `name`; its part before the first dash must not be `.` or `..` either.
fn is_name(name: &str) -> bool {
    let first = name.split('-').next().unwrap_or_default();
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && first != "."
        && first != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte))
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}{}", self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "s3jzax8lw7d60719snr8nm821cid17h8";

    #[test]
    fn reads_hash_and_name_of_a_path() {
        let text = format!("/nix/store/{HASH}-hello-1.0.drv");
        let path = StorePath::parse(&text).unwrap();
        assert_eq!((path.to_string(), path.base()), (text.clone(), &text[11..]));
        assert_eq!(path.name(), "hello-1.0.drv");
    }

    #[test]
    fn takes_every_name_that_nix_takes() {
        for name in [
            ".hidden",
            "...",
            "..x-y",
            ".a-b",
            "a?b=c+d_e",
            "x.drv",
            &"n".repeat(MAX_NAME_BYTES),
        ] {
            let path = StorePath::parse(&format!("{STORE}{HASH}-{name}")).unwrap();
            assert_eq!(path.name(), name);
        }
    }

    #[test]
    fn refuses_what_is_elsewhere_or_below() {
        for path in [
            "",
            "/nix/store",
            "nix/store/x",
            "/nix/store2/x",
            &format!("/tmp/{HASH}-x"),
        ] {
            assert!(
                matches!(StorePath::parse(path), Err(StorePathError::Outside { .. })),
                "{path}"
            );
        }
        let with_e = HASH.replace('s', "e");
        for base in [
            "",
            "é",
            &HASH[1..],
            HASH,
            &format!("{HASH}x"),
            &format!("{with_e}-x"),
            &HASH.to_uppercase(),
        ] {
            assert!(
                matches!(
                    StorePath::parse(&format!("{STORE}{base}")),
                    Err(StorePathError::Hash { .. })
                ),
                "{base}"
            );
        }
    }

    #[test]
    fn refuses_every_name_that_nix_refuses() {
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        for name in [
            "", ".", "..", ".-x", "..-x", "a/b", "a b", "ü", "a\0", "a\n", "x/../y", "a!", &long,
        ] {
            let path = format!("{STORE}{HASH}-{name}");
            assert!(
                matches!(StorePath::parse(&path), Err(StorePathError::Name { .. })),
                "{name:?}"
            );
        }
    }
}
