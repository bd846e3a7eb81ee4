//! Describes the packages that a build used, as provenance records them.
//!
//! * In: the packages that the build compiles according to cargo, and everything that was checked.
//! * Out: a resource descriptor for each package.
//! * Never: a digest for a package whose directory was not filled or hashed here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::provenance::{ResourceDescriptor, fetched_from, sha256_set};
use crate::sandbox::paths::SOURCE;
use crate::source::tree;
use crate::toolchain::ToolchainError;

use super::CargoError;
use super::lockfile::{CRATES_IO, GitSource};
use super::metadata::Package;
use super::plan::Moved;
use super::{git, vendor};

/// Everything that this job checked.
#[derive(Debug)]
pub(super) struct Checked {
    /// The packages that registries have.
    pub registries: Vec<vendor::Checked>,
    /// The checkouts of git dependencies, each with its locked source.
    pub git: Vec<(GitSource, git::Checked)>,
    /// The repositories that were fetched from the URL to which their server moved them.
    pub moved: Vec<Moved>,
}

/// The checked directory that a package is in.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// The directory of a package of a registry.
    Registry(&'a vendor::Checked),
    /// A directory of the checkout of a git dependency.
    Git(&'a GitSource, &'a git::Checked),
    /// A directory of the source tree, relative to it.
    Source(PathBuf),
}

impl Checked {
    /// Returns the checked directory that `package` is in.
    ///
    /// # Errors
    /// The package lies outside of everything that was checked.
    pub fn place(&self, package: &Package) -> Result<Place<'_>, CargoError> {
        let directory = package.directory();
        let mut registries = self.registries.iter();
        if let Some(checked) = registries.find(|checked| checked.directory == directory) {
            return Ok(Place::Registry(checked));
        }
        let mut checkouts = self.git.iter();
        if let Some((source, checked)) =
            checkouts.find(|(_, checked)| is_below(directory, &checked.directory))
        {
            return Ok(Place::Git(source, checked));
        }
        match directory.strip_prefix(SOURCE) {
            Ok(relative) if is_below(directory, Path::new(SOURCE)) => {
                Ok(Place::Source(relative.to_owned()))
            }
            _ => Err(CargoError::Outside {
                package: package.spec(),
            }),
        }
    }

    /// Returns the descriptor of a package that the build uses; `root` is the source tree on this
    /// machine.
    pub fn descriptor(
        &self,
        package: &Package,
        root: &Path,
    ) -> Result<ResourceDescriptor, ToolchainError> {
        let descriptor = match self.place(package)? {
            Place::Registry(checked) => registry_descriptor(package, checked),
            Place::Git(source, checked) => self.git_descriptor(source, checked),
            Place::Source(relative) => source_descriptor(&relative, root)?,
        };
        Ok(ResourceDescriptor {
            name: Some(package.spec()),
            ..descriptor
        })
    }

    fn git_descriptor(&self, source: &GitSource, checked: &git::Checked) -> ResourceDescriptor {
        let moved = self.moved.iter().find(|moved| moved.from == source.url);
        let (commit, tree) = (checked.commit.to_string(), checked.tree.to_string());
        ResourceDescriptor {
            uri: Some(format!("git+{}#{commit}", source.url)),
            digest: BTreeMap::from([
                ("gitCommit".to_owned(), commit),
                ("gitTree".to_owned(), tree),
            ]),
            annotations: fetched_from(moved.map(|moved| moved.to.as_str())),
            ..ResourceDescriptor::default()
        }
    }
}

fn registry_descriptor(package: &Package, checked: &vendor::Checked) -> ResourceDescriptor {
    ResourceDescriptor {
        uri: Some(purl(package, &checked.index)),
        digest: sha256_set(&checked.sha256),
        annotations: fetched_from(checked.fetched_from.as_deref()),
        ..ResourceDescriptor::default()
    }
}

fn source_descriptor(relative: &Path, root: &Path) -> Result<ResourceDescriptor, ToolchainError> {
    let tree = tree::hash(&resolved(relative, root)?)?.to_string();
    let shown = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    Ok(ResourceDescriptor {
        uri: Some(format!("path:{}", shown.display())),
        digest: BTreeMap::from([("gitTree".to_owned(), tree)]),
        ..ResourceDescriptor::default()
    })
}

/// Returns a directory of the source tree, with its links resolved.
///
/// It may be named through links, as long as they lead to directories of the tree.
fn resolved(relative: &Path, root: &Path) -> Result<PathBuf, ToolchainError> {
    let (directory, root) = (root.join(relative).canonicalize()?, root.canonicalize()?);
    if !directory.starts_with(root) {
        return Err(ToolchainError::Io(io::ErrorKind::InvalidInput.into()));
    }
    Ok(directory)
}

/// Returns the package URL (purl-spec, type `cargo`); a registry other than crates.io is its
/// qualifier `repository_url`.
fn purl(package: &Package, index: &str) -> String {
    let plain = format!("pkg:cargo/{}@{}", package.name, encoded(&package.version));
    match index.strip_prefix("registry+").unwrap_or(index) {
        _ if index == CRATES_IO => plain,
        index => format!("{plain}?repository_url={}", encoded(index)),
    }
}

/// Percent-encodes the bytes that purl-spec does not leave as they are.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Returns whether `path` is `directory` or below it, without any `..`.
fn is_below(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory)
        && path
            .components()
            .all(|component| component != Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{GitOid, Sha256Digest};
    use crate::toolchain::cargo::metadata::Metadata;

    fn package(folder: &str, version: &str) -> Package {
        let metadata = serde_json::json!({"packages":[{"id":"a","name":"a","version":version,
            "manifest_path":format!("{folder}/Cargo.toml"),"targets":[]}],"workspace_default_members":[],"workspace_root":"/kettle/source"});
        Metadata::parse(metadata.to_string().as_bytes())
            .unwrap()
            .packages
            .remove(0)
    }

    fn checked(index: &str) -> Checked {
        let commit = GitOid::from_bytes([1; 20]);
        let source = GitSource {
            url: "https://h/r".into(),
            query: "branch=m".into(),
            commit,
        };
        let git = git::Checked {
            directory: "/kettle/cargo/git/checkouts/r-1/0101010".into(),
            commit,
            tree: commit,
        };
        let registry = vendor::Checked {
            directory: "/kettle/vendor/crates-io/a-1.0.0".into(),
            index: index.into(),
            sha256: Sha256Digest::of(b"a"),
            fetched_from: None,
        };
        Checked {
            registries: vec![registry],
            git: vec![(source, git)],
            moved: Vec::new(),
        }
    }

    fn uri(checked: &Checked, folder: &str) -> Result<String, ToolchainError> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("vendor/a")).unwrap();
        checked
            .descriptor(&package(folder, "1.0.0+x"), root.path())
            .map(|descriptor| descriptor.uri.unwrap())
    }

    #[test]
    fn a_package_is_recorded_as_what_its_folder_was_filled_from() {
        let (ours, other) = (checked(CRATES_IO), checked("sparse+https://c.example/"));
        let registry = "/kettle/vendor/crates-io/a-1.0.0";
        assert_eq!(uri(&ours, registry).unwrap(), "pkg:cargo/a@1.0.0%2Bx");
        assert_eq!(
            uri(&other, registry).unwrap(),
            "pkg:cargo/a@1.0.0%2Bx?repository_url=sparse%2Bhttps://c.example/"
        );
        let commit = "01".repeat(20);
        assert_eq!(
            uri(&ours, "/kettle/cargo/git/checkouts/r-1/0101010/sub").unwrap(),
            format!("git+https://h/r#{commit}")
        );
        assert_eq!(
            uri(&ours, "/kettle/source/vendor/a").unwrap(),
            "path:vendor/a"
        );
        assert_eq!(uri(&ours, "/kettle/source").unwrap(), "path:.");
    }

    #[test]
    fn a_package_behind_a_link_is_recorded_with_what_the_link_leads_to() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(root.path().join("real")).unwrap();
        std::fs::write(root.path().join("real/lib.rs"), "x").unwrap();
        std::os::unix::fs::symlink("real", root.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        let digest = |folder| {
            let package = package(folder, "1.0.0");
            checked(CRATES_IO)
                .descriptor(&package, root.path())
                .map(|descriptor| descriptor.digest)
        };
        assert_eq!(
            digest("/kettle/source/link").unwrap(),
            digest("/kettle/source/real").unwrap()
        );
        assert!(matches!(
            digest("/kettle/source/out"),
            Err(ToolchainError::Io(_))
        ));
    }

    #[test]
    fn a_package_elsewhere_is_refused() {
        for folder in [
            "/usr/share/cargo/a",
            "/kettle/vendor/crates-io/b-1.0.0",
            "/kettle/vendor/crates-io/a-1.0.0/inner",
            "/kettle/source/../x",
            "/kettle/sourcery",
            "/kettle/cargo/git/checkouts/r-1/0101010/../../x",
            "/toolchain/lib",
        ] {
            assert!(
                matches!(
                    uri(&checked(CRATES_IO), folder),
                    Err(ToolchainError::Cargo(CargoError::Outside { .. }))
                ),
                "{folder}"
            );
        }
    }
}
