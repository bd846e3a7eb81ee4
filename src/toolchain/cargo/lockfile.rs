//! Reads `Cargo.lock`.
//!
//! * In: its bytes, versions 1 to 4.
//! * Out: each package with its origin and the digest that identifies it there.
//! * Never: a registry's package without a checksum, or with a name that is not a single path
//!   component.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::{GitOid, ParseDigestError, Sha256Digest};

/// The newest version of the format that is read here.
const MAX_LOCKFILE_VERSION: u32 = 4;

/// The name, in a lockfile, of the registry that cargo knows by itself.
pub(super) const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Why a `Cargo.lock` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LockfileError {
    /// The lockfile is longer than its limit.
    #[error("the lockfile has more than {limit} bytes")]
    TooLong {
        /// The limit that was exceeded, in bytes.
        limit: u64,
    },
    /// The lockfile is not UTF-8.
    #[error("the lockfile is not UTF-8")]
    Encoding,
    /// The lockfile is not TOML, or not of the expected form.
    #[error("the lockfile is not what cargo writes: {0}")]
    Shape(String),
    /// The lockfile has a newer format.
    #[error("the lockfile has version {actual}, the newest known is {newest}")]
    Version {
        /// The newest version that is known.
        newest: u32,
        /// The version of the lockfile.
        actual: u32,
    },
    /// A package has a name or version that no registry allows.
    #[error("the lockfile has a package with an impossible name or version: {0:?}")]
    Name(String),
    /// A package of a registry has no checksum.
    #[error("the lockfile has no checksum for {0}")]
    NoChecksum(String),
    /// A checksum or a commit cannot be read as a digest.
    #[error("the lockfile has a bad digest for {package}")]
    Digest {
        /// The package, as `NAME@VERSION`.
        package: String,
        /// The reason for the refusal.
        source: ParseDigestError,
    },
    /// A package comes from an unknown kind of source.
    #[error(
        "the lockfile takes {package} from {origin:?}, which is neither a registry nor a git \
         repository"
    )]
    Origin {
        /// The package, as `NAME@VERSION`.
        package: String,
        /// The origin, as the lockfile writes it.
        origin: String,
    },
}

/// The packages that a lockfile locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The packages, in the order of the lockfile.
    pub packages: Vec<Locked>,
    /// The git sources of patches that nothing uses: cargo reads them all the same.
    pub unused: Vec<GitSource>,
}

/// One package that a lockfile locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The name; a single path component if the origin is a registry.
    pub name: String,
    /// The version; a single path component if the origin is a registry.
    pub version: String,
    /// The source that the package comes from.
    pub origin: Origin,
}

/// The source that a package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A directory of the source itself.
    Folder,
    /// A registry, as the lockfile writes it (`registry+URL`, `sparse+URL`).
    Registry {
        /// The index, as the lockfile writes it.
        index: String,
        /// The digest of the package's archive.
        checksum: Sha256Digest,
    },
    /// A commit of a git repository.
    Git(GitSource),
}

/// A commit of a git repository, which lockfiles write as `git+URL?branch=NAME#COMMIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// The URL without `git+`, query and fragment.
    pub url: String,
    /// The query, `branch=…`, `tag=…` or `rev=…` as written; empty for the default branch.
    pub query: String,
    /// The locked commit, which is the fragment.
    pub commit: GitOid,
}

impl Locked {
    /// Returns the package as `NAME@VERSION`.
    pub fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Returns the name of its archive in a registry, `NAME-VERSION.crate`.
    pub fn archive(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

impl Lock {
    /// Reads a lockfile.
    ///
    /// # Errors
    /// The bytes are not a lockfile, or lock a package in a way that could not be checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockfileError> {
        let text = std::str::from_utf8(bytes).map_err(|_| LockfileError::Encoding)?;
        let raw: RawLock =
            toml::from_str(text).map_err(|e| LockfileError::Shape(e.message().to_owned()))?;
        let version = raw.version.unwrap_or(1);
        if version > MAX_LOCKFILE_VERSION {
            return Err(LockfileError::Version {
                newest: MAX_LOCKFILE_VERSION,
                actual: version,
            });
        }
        let packages = raw
            .package
            .iter()
            .map(|package| package.locked(&raw.metadata))
            .collect::<Result<_, _>>()?;
        let unused = raw
            .patch
            .unused
            .iter()
            .filter_map(RawPackage::git)
            .collect::<Result<_, _>>()?;
        Ok(Self { packages, unused })
    }
}

impl Origin {
    /// Returns the index of a registry, as the lockfile writes it.
    pub fn index(&self) -> Option<&str> {
        match self {
            Self::Registry { index, .. } => Some(index),
            Self::Folder | Self::Git(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct RawLock {
    version: Option<u32>,
    #[serde(default)]
    package: Vec<RawPackage>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    patch: RawPatch,
}

#[derive(Default, Deserialize)]
struct RawPatch {
    #[serde(default)]
    unused: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

impl RawPackage {
    fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Returns the package; `metadata` has the checksums of the first version of the format.
    fn locked(&self, metadata: &BTreeMap<String, String>) -> Result<Locked, LockfileError> {
        let origin = match &self.source {
            None => Origin::Folder,
            Some(index) if index.starts_with("registry+") || index.starts_with("sparse+") => {
                Origin::Registry {
                    index: index.clone(),
                    checksum: self.registry_checksum(index, metadata)?,
                }
            }
            Some(origin) => match self.git() {
                Some(git) => Origin::Git(git?),
                None => {
                    return Err(LockfileError::Origin {
                        package: self.spec(),
                        origin: origin.clone(),
                    });
                }
            },
        };
        Ok(Locked {
            name: self.name.clone(),
            version: self.version.clone(),
            origin,
        })
    }

    fn registry_checksum(
        &self,
        index: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Sha256Digest, LockfileError> {
        if !is_component(&self.name) || !is_component(&self.version) {
            return Err(LockfileError::Name(self.spec()));
        }
        let old = format!("checksum {} {} ({index})", self.name, self.version);
        let checksum = self.checksum.as_ref().or_else(|| metadata.get(&old));
        checksum
            .ok_or_else(|| LockfileError::NoChecksum(self.spec()))?
            .parse()
            .map_err(|source| LockfileError::Digest {
                package: self.spec(),
                source,
            })
    }

    /// Returns the git source; `None` if the package has another origin.
    fn git(&self) -> Option<Result<GitSource, LockfileError>> {
        let rest = self.source.as_deref()?.strip_prefix("git+")?;
        let (address, commit) = rest.split_once('#').unwrap_or((rest, ""));
        let (url, query) = address.split_once('?').unwrap_or((address, ""));
        Some(match commit.parse() {
            Ok(commit) => Ok(GitSource {
                url: url.to_owned(),
                query: query.to_owned(),
                commit,
            }),
            Err(source) => Err(LockfileError::Digest {
                package: self.spec(),
                source,
            }),
        })
    }
}

/// Returns whether `text` has only the characters that registries allow, so that `NAME-VERSION` is
/// a file name.
fn is_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.len() <= 128
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4";

    fn parse(text: &str) -> Result<Lock, LockfileError> {
        Lock::parse(text.as_bytes())
    }

    #[test]
    fn reads_registry_git_and_folder_packages() {
        let commit = "bcfef2abb6dc6530b7139704505a3267678b1663";
        let lock = parse(&format!(
            "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"itoa\"]\n\
             [[package]]\nname = \"itoa\"\nversion = \"1.0.19\"\nsource = \"{CRATES_IO}\"\nchecksum = \"{SUM}\"\n\
             [[package]]\nname = \"inh\"\nversion = \"0.3.0\"\nsource = \"git+https://h/r?branch=m#{commit}\"\n"
        ))
        .unwrap();
        let origins: Vec<_> = lock
            .packages
            .iter()
            .map(|package| package.origin.clone())
            .collect();
        let checksum = SUM.parse().unwrap();
        assert_eq!(
            origins,
            [
                Origin::Folder,
                Origin::Registry {
                    index: CRATES_IO.to_owned(),
                    checksum
                },
                Origin::Git(GitSource {
                    url: "https://h/r".to_owned(),
                    query: "branch=m".to_owned(),
                    commit: commit.parse().unwrap()
                }),
            ]
        );
    }

    #[test]
    fn reads_the_checksums_of_the_first_version() {
        let lock = parse(&format!(
            "[[package]]\nname = \"itoa\"\nversion = \"0.4.0\"\nsource = \"{CRATES_IO}\"\n[metadata]\n\
             \"checksum itoa 0.4.0 ({CRATES_IO})\" = \"{SUM}\"\n"
        ));
        let checksum = SUM.parse().unwrap();
        assert_eq!(
            lock.unwrap().packages[0].origin,
            Origin::Registry {
                index: CRATES_IO.to_owned(),
                checksum
            }
        );
    }

    #[test]
    fn refuses_what_cannot_be_checked() {
        let registry = |name: &str, rest: &str| {
            parse(&format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{CRATES_IO}\"\n{rest}\n"
            ))
        };
        assert_eq!(
            registry("a", ""),
            Err(LockfileError::NoChecksum("a@1.0.0".to_owned()))
        );
        assert!(matches!(
            registry("a", "checksum = \"00\""),
            Err(LockfileError::Digest { .. })
        ));
        for name in ["../a", "a/b", ".a", ""] {
            let checksum = format!("checksum = \"{SUM}\"");
            assert!(
                matches!(registry(name, &checksum), Err(LockfileError::Name(_))),
                "{name}"
            );
        }
        let elsewhere =
            parse("[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"directory+/x\"\n");
        assert!(matches!(elsewhere, Err(LockfileError::Origin { .. })));
        let short = parse(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://h/r#abc\"\n",
        );
        assert!(matches!(short, Err(LockfileError::Digest { .. })));
    }

    #[test]
    fn refuses_what_is_no_lockfile() {
        assert_eq!(Lock::parse(b"\xff"), Err(LockfileError::Encoding));
        assert!(matches!(parse("foo"), Err(LockfileError::Shape(_))));
        assert_eq!(
            parse("version = 5"),
            Err(LockfileError::Version {
                newest: 4,
                actual: 5
            })
        );
    }
}
