//! Reads `Cargo.lock`. Comes in: its bytes, versions 1 to 4. Goes out: each package with where it comes from and what
//! its bytes must be. Never: a registry's package without a checksum, or a name that is no single path component.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::{GitOid, ParseDigestError, Sha256Digest};

/// Newest version of the format that is read here.
const MAX_LOCKFILE_VERSION: u32 = 4;

/// How a lockfile names the registry that cargo knows by itself.
pub(super) const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Why a lockfile cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LockfileError {
    /// Too long.
    #[error("the lockfile has more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// It is not UTF-8.
    #[error("the lockfile is not UTF-8")]
    Encoding,
    /// It is no TOML, or not of this shape.
    #[error("the lockfile is not what cargo writes: {0}")]
    Shape(String),
    /// A newer format.
    #[error("the lockfile has version {actual}, the newest known is {newest}")]
    Version {
        /// The newest known.
        newest: u32,
        /// The lockfile's.
        actual: u32,
    },
    /// A name or version that cannot be one.
    #[error("the lockfile has a package with an impossible name or version: {0:?}")]
    Name(String),
    /// A package of a registry has no checksum.
    #[error("the lockfile has no checksum for {0}")]
    NoChecksum(String),
    /// A checksum or commit is no digest.
    #[error("the lockfile has a bad digest for {package}")]
    Digest {
        /// `NAME@VERSION`.
        package: String,
        /// Why.
        source: ParseDigestError,
    },
    /// A package comes from somewhere unknown.
    #[error(
        "the lockfile takes {package} from {origin:?}, which is neither a registry nor a git repository"
    )]
    Origin {
        /// `NAME@VERSION`.
        package: String,
        /// As the lockfile says it.
        origin: String,
    },
}

/// What a lockfile locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// In the lockfile's order.
    pub packages: Vec<Locked>,
    /// Git sources of patches that nothing uses: cargo looks at them all the same.
    pub unused: Vec<GitSource>,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// One path component, if a registry has it.
    pub name: String,
    /// Likewise.
    pub version: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A folder of the source.
    Folder,
    /// A registry, as the lockfile writes it (`registry+URL`, `sparse+URL`).
    Registry {
        /// As written.
        index: String,
        /// Of the package's archive.
        checksum: Sha256Digest,
    },
    /// A commit of a git repository.
    Git(GitSource),
}

/// `git+URL?branch=NAME#COMMIT`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// Without `git+`, query and fragment.
    pub url: String,
    /// `branch=…`, `tag=…` or `rev=…` as written; empty for the default branch.
    pub query: String,
    /// The fragment.
    pub commit: GitOid,
}

impl Locked {
    /// `NAME@VERSION`.
    pub fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The name of its archive, if a registry has it.
    pub fn archive(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

impl Lock {
    /// Reads a lockfile.
    ///
    /// # Errors
    /// It is none, or something in it could not be checked.
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
    /// The registry, as the lockfile writes it.
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
    fn locked(&self, metadata: &BTreeMap<String, String>) -> Result<Locked, LockfileError> {
        let (name, version) = (self.name.clone(), self.version.clone());
        let spec = format!("{name}@{version}");
        let origin = match &self.source {
            None => Origin::Folder,
            Some(index) if index.starts_with("registry+") || index.starts_with("sparse+") => {
                if !is_component(&name) || !is_component(&version) {
                    return Err(LockfileError::Name(spec));
                }
                let old = format!("checksum {name} {version} ({index})");
                let checksum = self.checksum.as_ref().or_else(|| metadata.get(&old));
                let checksum = checksum.ok_or_else(|| LockfileError::NoChecksum(spec.clone()))?;
                let checksum = checksum.parse().map_err(|source| LockfileError::Digest {
                    package: spec,
                    source,
                })?;
                Origin::Registry {
                    index: index.clone(),
                    checksum,
                }
            }
            Some(origin) => match self.git() {
                Some(git) => Origin::Git(git?),
                None => {
                    return Err(LockfileError::Origin {
                        package: spec,
                        origin: origin.clone(),
                    });
                }
            },
        };
        Ok(Locked {
            name,
            version,
            origin,
        })
    }

    fn git(&self) -> Option<Result<GitSource, LockfileError>> {
        let rest = self.source.as_deref()?.strip_prefix("git+")?;
        let (place, commit) = rest.split_once('#').unwrap_or((rest, ""));
        let (url, query) = place.split_once('?').unwrap_or((place, ""));
        let source = |commit| GitSource {
            url: url.to_owned(),
            query: query.to_owned(),
            commit,
        };
        let package = || format!("{}@{}", self.name, self.version);
        Some(
            commit
                .parse()
                .map(source)
                .map_err(|source| LockfileError::Digest {
                    package: package(),
                    source,
                }),
        )
    }
}

/// Registries allow these characters and no others, so that `NAME-VERSION` is a file name.
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
