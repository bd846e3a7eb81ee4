//! Builds cargo's directory sources from the archives that the fetch phase left.
//!
//! * In: the locked packages, and the `CARGO_HOME` of the fetch phase.
//! * Out: a fresh directory with every locked package of a registry, unpacked from bytes that have
//!   the locked checksum.
//! * Never: a file that the fetch phase unpacked; each is unpacked again here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use crate::digest::Sha256Digest;
use crate::sandbox::paths::VENDOR;
use crate::source::archive::ArchiveError;
use crate::toolchain::ToolchainError;
use crate::toolchain::untrusted::Untrusted;

use super::CargoError;
use super::config;
use super::crate_archive::{self, MAX_CRATE_BYTES};
use super::lockfile::{CRATES_IO, Locked, Origin};

/// The last URL of each archive that was redirected, by the directory of its registry and its name.
pub(super) type Redirects = BTreeMap<(OsString, String), String>;

/// One registry, and the name of the directory that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registry {
    index: String,
    directory: String,
}

/// A package of a registry that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// The directory of the package in the sandbox.
    pub directory: PathBuf,
    /// The index of the registry, as the lockfile writes it.
    pub index: String,
    /// The digest of the archive's bytes.
    pub sha256: Sha256Digest,
    /// The last URL of the download, if the registry redirected it.
    pub fetched_from: Option<String>,
}

/// The packages to unpack, and their registries.
#[derive(Debug)]
pub(super) struct Vendor {
    registries: Vec<Registry>,
    packages: Vec<Locked>,
}

/// The directories that packages are unpacked from and to.
struct Unpacker<'a> {
    /// The directories of downloaded archives, by their names.
    caches: &'a [(OsString, Untrusted)],
    redirects: &'a Redirects,
    /// The directory that has one directory for each registry.
    vendor: &'a Path,
    epoch: u64,
}

impl Vendor {
    /// Returns the directory sources for `packages`.
    ///
    /// crates.io is always among the registries: cargo then asks no index, whatever it looks for.
    pub fn new(packages: Vec<Locked>) -> Self {
        let mut indexes: Vec<&str> = packages
            .iter()
            .filter_map(|package| package.origin.index())
            .collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.retain(|index| *index != CRATES_IO);
        let mut registries = vec![Registry {
            index: CRATES_IO.to_owned(),
            directory: "crates-io".to_owned(),
        }];
        for (number, index) in indexes.into_iter().enumerate() {
            registries.push(Registry {
                index: index.to_owned(),
                directory: format!("registry-{number}"),
            });
        }
        Self {
            registries,
            packages,
        }
    }

    /// Returns the settings that make cargo use the directories in place of the registries.
    ///
    /// A registry that `is_vendored` has none: the project itself replaces it.
    pub fn settings(&self, is_vendored: impl Fn(&str) -> bool) -> Vec<String> {
        self.registries
            .iter()
            .filter(|registry| !is_vendored(&registry.index))
            .flat_map(Registry::settings)
            .collect()
    }

    /// Creates the directory `vendor` from the archives below `fetched` (a `CARGO_HOME`).
    pub fn make(
        &self,
        fetched: &Path,
        redirects: &Redirects,
        vendor: &Path,
        epoch: u64,
    ) -> Result<Vec<Checked>, ToolchainError> {
        fs::create_dir(vendor)?;
        for registry in &self.registries {
            fs::create_dir(vendor.join(&registry.directory))?;
        }
        if self.packages.is_empty() {
            return Ok(Vec::new());
        }
        let caches = caches(fetched).map_err(|_| not_fetched(&self.packages[0]))?;
        let unpacker = Unpacker {
            caches: &caches,
            redirects,
            vendor,
            epoch,
        };
        self.packages
            .iter()
            .map(|package| {
                let (registry, checksum) = self.origin_of(package)?;
                unpacker.unpack(package, registry, checksum)
            })
            .collect()
    }

    /// Returns the registry and the locked checksum of a package.
    fn origin_of(&self, package: &Locked) -> Result<(&Registry, Sha256Digest), ToolchainError> {
        let Origin::Registry { index, checksum } = &package.origin else {
            return Err(not_fetched(package));
        };
        let registry = self
            .registries
            .iter()
            .find(|registry| registry.index == *index)
            .ok_or_else(|| not_fetched(package))?;
        Ok((registry, *checksum))
    }
}

impl Unpacker<'_> {
    /// Unpacks a package from the first cache whose archive has the locked checksum.
    ///
    /// Several registries can each have an archive of the package's name: only the checksum tells
    /// which one is locked.
    fn unpack(
        &self,
        package: &Locked,
        registry: &Registry,
        checksum: Sha256Digest,
    ) -> Result<Checked, ToolchainError> {
        let parent = self.vendor.join(&registry.directory);
        let top = format!("{}-{}", package.name, package.version);
        let mut refusal = not_fetched(package);
        for (cache, directory) in self.caches {
            let Ok(archive) = directory.file(package.archive()) else {
                continue;
            };
            let Some(error) = self.refusal_of(archive, package, checksum, &parent, &top)? else {
                crate_archive::mark(&parent.join(&top), checksum)?;
                let redirect = self.redirects.get(&(cache.clone(), package.archive()));
                return Ok(Checked {
                    directory: Path::new(VENDOR).join(&registry.directory).join(&top),
                    index: registry.index.clone(),
                    sha256: checksum,
                    fetched_from: redirect.cloned(),
                });
            };
            refusal = error.into();
            fs::remove_dir_all(parent.join(&top))?;
        }
        Err(refusal)
    }

    /// Unpacks an archive into `parent`/`top`, and returns why it is not the locked one, if it is
    /// not.
    fn refusal_of(
        &self,
        archive: File,
        package: &Locked,
        expected: Sha256Digest,
        parent: &Path,
        top: &str,
    ) -> io::Result<Option<CargoError>> {
        let again = archive.try_clone()?;
        match crate_archive::unpack(archive, top, parent, self.epoch) {
            Ok(actual) if actual == expected => Ok(None),
            Ok(actual) => Ok(Some(CargoError::Checksum {
                package: package.spec(),
                expected,
                actual,
            })),
            Err(ArchiveError::Io { source, .. }) => Err(source),
            Err(source) => refused(package.spec(), expected, again, source).map(Some),
        }
    }
}

impl Registry {
    /// Returns the settings that replace the registry by its directory.
    fn settings(&self) -> Vec<String> {
        let stand_in = format!("kettle-{}", self.directory);
        let directory = format!(
            "source.{stand_in}.directory=\"{VENDOR}/{}\"",
            self.directory
        );
        if self.index == CRATES_IO {
            return vec![
                format!("source.crates-io.replace-with=\"{stand_in}\""),
                directory,
            ];
        }
        let index = self.index.strip_prefix("registry+").unwrap_or(&self.index);
        vec![
            format!(
                "source.{}.registry={}",
                self.directory,
                config::string(index)
            ),
            format!("source.{}.replace-with=\"{stand_in}\"", self.directory),
            directory,
        ]
    }
}

/// Returns the directories of downloaded archives below `fetched` (a `CARGO_HOME`), one for each
/// registry, with their names.
pub(super) fn caches(fetched: &Path) -> io::Result<Vec<(OsString, Untrusted)>> {
    let all = Untrusted::open(fetched)?.directory("registry/cache")?;
    let mut caches = Vec::new();
    for name in all.names()? {
        let cache = all.directory(&name)?;
        caches.push((name, cache));
    }
    Ok(caches)
}

/// Returns why an archive was refused that cannot be unpacked.
///
/// If it is not the locked archive, that says more than the damage.
fn refused(
    package: String,
    expected: Sha256Digest,
    mut archive: File,
    source: ArchiveError,
) -> io::Result<CargoError> {
    archive.rewind()?;
    let (actual, _) = Sha256Digest::of_reader(archive.take(MAX_CRATE_BYTES))?;
    if actual == expected {
        return Ok(CargoError::Crate { package, source });
    }
    Ok(CargoError::Checksum {
        package,
        expected,
        actual,
    })
}

fn not_fetched(package: &Locked) -> ToolchainError {
    ToolchainError::NotFetched {
        dependency: package.spec(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn archive(content: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "a-1.0.0/src/lib.rs", content.as_bytes())
            .unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn locked(index: &str, bytes: &[u8]) -> Locked {
        let origin = Origin::Registry {
            index: index.to_owned(),
            checksum: Sha256Digest::of(bytes),
        };
        Locked {
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            origin,
        }
    }

    fn fetched(caches: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (cache, bytes) in caches {
            let cache = folder.path().join("registry/cache").join(cache);
            fs::create_dir_all(&cache).unwrap();
            fs::File::create(cache.join("a-1.0.0.crate"))
                .unwrap()
                .write_all(bytes)
                .unwrap();
        }
        folder
    }

    #[test]
    fn unpacks_the_archive_that_the_lockfile_means() {
        let (good, other) = (archive("good"), archive("other"));
        let home = fetched(&[("one", &other), ("two", &good)]);
        let vendor = home.path().join("vendor");
        let checked = Vendor::new(vec![locked(CRATES_IO, &good)])
            .make(home.path(), &Redirects::new(), &vendor, 0)
            .unwrap();
        assert_eq!(checked[0].sha256, Sha256Digest::of(&good));
        assert_eq!(
            checked[0].directory,
            Path::new("/kettle/vendor/crates-io/a-1.0.0")
        );
        assert_eq!(
            fs::read(vendor.join("crates-io/a-1.0.0/src/lib.rs")).unwrap(),
            b"good"
        );
    }

    #[test]
    fn a_tampered_archive_never_gets_in() {
        let home = fetched(&[("one", &archive("evil"))]);
        let vendor = home.path().join("vendor");
        let refusal = Vendor::new(vec![locked(CRATES_IO, &archive("good"))])
            .make(home.path(), &Redirects::new(), &vendor, 0)
            .unwrap_err();
        assert!(
            matches!(refusal, ToolchainError::Cargo(CargoError::Checksum { .. })),
            "{refusal}"
        );
        assert!(!vendor.join("crates-io/a-1.0.0").exists());
    }

    #[test]
    fn an_archive_that_is_a_link_or_missing_was_not_fetched() {
        let good = archive("good");
        let home = fetched(&[("one", &good)]);
        let file = home.path().join("registry/cache/one/a-1.0.0.crate");
        fs::rename(&file, home.path().join("elsewhere")).unwrap();
        for (n, link) in [true, false].into_iter().enumerate() {
            if link {
                std::os::unix::fs::symlink(home.path().join("elsewhere"), &file).unwrap();
            } else {
                fs::remove_file(&file).unwrap();
            }
            let vendor = home.path().join(format!("vendor-{n}"));
            let refusal = Vendor::new(vec![locked(CRATES_IO, &good)])
                .make(home.path(), &Redirects::new(), &vendor, 0)
                .unwrap_err();
            assert!(
                matches!(refusal, ToolchainError::NotFetched { .. }),
                "{refusal}"
            );
        }
    }

    #[test]
    fn every_registry_has_its_own_folder() {
        let other = "sparse+https://crates.example/";
        let vendor = Vendor::new(vec![locked(other, b""), locked(CRATES_IO, b"")]);
        assert_eq!(
            vendor.settings(|_| false),
            [
                r#"source.crates-io.replace-with="kettle-crates-io""#,
                r#"source.kettle-crates-io.directory="/kettle/vendor/crates-io""#,
                r#"source.registry-0.registry="sparse+https://crates.example/""#,
                r#"source.registry-0.replace-with="kettle-registry-0""#,
                r#"source.kettle-registry-0.directory="/kettle/vendor/registry-0""#,
            ]
        );
        assert_eq!(vendor.settings(|index| index == CRATES_IO).len(), 3);
    }
}
