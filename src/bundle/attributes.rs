//! Extended attributes in an unpacked bundle: properties of a file beside its bytes and its mode.
//!
//! * In: an open file or directory.
//! * Out: the first attribute that changes what the file does or who may use it; or that the file
//!   system cannot list attributes.
//! * Never: an unknown attribute passed over in a namespace to which the kernel gives a meaning
//!   (`xattr(7)`).

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// Largest list of names, in bytes: the kernel's limit (`XATTR_LIST_MAX`).
const MAX_LIST_BYTES: usize = 64 << 10;

/// Namespaces to which the kernel, or a file system, gives a meaning.
const WITH_MEANING: [&str; 3] = ["security.", "system.", "trusted."];

/// The namespace in which a layer of an overlay describes the file below it. Everybody may write
/// these.
const OF_OVERLAYS: &str = "user.overlay.";

/// Attributes with a meaning that systems set on files by themselves: labels and checksums of
/// security modules, which give a file no right that it does not have without them, and the access
/// control of network file systems, from which the mode is computed there.
const OF_THE_MACHINE: [&str; 9] = [
    "security.apparmor",
    "security.evm",
    "security.ima",
    "security.selinux",
    "security.SMACK64",
    "system.cifs_acl",
    "system.nfs4_acl",
    "system.nfs4_dacl",
    "system.nfs4_sacl",
];

/// The attributes that a file was found to have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attributes {
    /// The file has no attribute that matters.
    Harmless,
    /// The first attribute that is refused.
    Refused(String),
    /// The file system does not list attributes.
    Unlisted,
}

/// A buffer for the names of one file's attributes, which is reused for the next file.
pub(super) struct Reader(Vec<u8>);

impl Reader {
    pub(super) fn new() -> Self {
        Self(vec![0; MAX_LIST_BYTES])
    }

    /// Lists the attributes of an open file.
    ///
    /// # Errors
    /// The kernel reports an error, other than that the file system lists no attributes.
    pub(super) fn read(&mut self, file: impl AsFd) -> io::Result<Attributes> {
        let listed = rustix::fs::flistxattr(file, &mut self.0[..]);
        found(listed.map(|size| &self.0[..size]))
    }
}

/// Judges a list of names, each with a NUL after it, or the error in its place.
fn found(listed: Result<&[u8], Errno>) -> io::Result<Attributes> {
    let names = match listed {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Attributes::Unlisted),
        Err(error) => return Err(error.into()),
    };
    let refused = names
        .split(|byte| *byte == 0)
        .find(|name| !is_harmless(name));
    let named = |name| Attributes::Refused(String::from_utf8_lossy(name).into_owned());
    Ok(refused.map_or(Attributes::Harmless, named))
}

fn is_harmless(name: &[u8]) -> bool {
    let starts_with = |namespace: &str| name.starts_with(namespace.as_bytes());
    let is_of_the_machine = OF_THE_MACHINE.iter().any(|known| name == known.as_bytes());
    let has_meaning = WITH_MEANING.into_iter().any(starts_with) || starts_with(OF_OVERLAYS);
    is_of_the_machine || !has_meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_with_a_meaning_are_refused_unless_the_machine_gives_them() {
        for refused in [
            "security.capability",
            "security.SMACK64EXEC",
            "security.SMACK64MMAP",
            "security.SMACK64TRANSMUTE",
            "security.selinux2",
            "security.of_a_later_kernel",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "system.richacl",
            "trusted.overlay.redirect",
            "trusted.anything",
            "user.overlay.metacopy",
        ] {
            assert!(!is_harmless(refused.as_bytes()), "{refused}");
        }
        let others = [
            "",
            "user.xdg.origin.url",
            "user.com.apple.quarantine",
            "btrfs.compression",
            "user.overlays",
        ];
        for harmless in others.into_iter().chain(OF_THE_MACHINE) {
            assert!(is_harmless(harmless.as_bytes()), "{harmless}");
        }
    }

    #[test]
    fn the_first_attribute_that_matters_is_named_wherever_it_is_in_the_list() {
        let refused = |name: &str| Attributes::Refused(name.to_owned());
        for (names, expected) in [
            (&b""[..], Attributes::Harmless),
            (b"security.selinux\0user.a\0", Attributes::Harmless),
            (b"security.capability\0", refused("security.capability")),
            (
                b"user.a\0security.capability\0",
                refused("security.capability"),
            ),
            (
                b"system.posix_acl_access\0security.capability\0",
                refused("system.posix_acl_access"),
            ),
        ] {
            assert_eq!(
                found(Ok(names)).unwrap(),
                expected,
                "{}",
                names.escape_ascii()
            );
        }
    }

    #[test]
    fn a_file_system_that_lists_nothing_is_told_from_one_that_fails() {
        for error in [Errno::OPNOTSUPP, Errno::NOSYS] {
            assert_eq!(found(Err(error)).unwrap(), Attributes::Unlisted, "{error}");
        }
        for error in [Errno::IO, Errno::ACCESS, Errno::TOOBIG, Errno::RANGE] {
            assert!(found(Err(error)).is_err(), "{error}");
        }
    }
}
