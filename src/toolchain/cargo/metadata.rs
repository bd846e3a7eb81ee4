//! Reads cargo's description of a project, before any code of the project runs.
//!
//! * In: the output of `cargo metadata` and `cargo tree`.
//! * Out: the packages with their directories and targets, and which of them a build compiles.
//! * Never: a fact that code of the project could have printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::sandbox::paths::{SOURCE, TARGET};
use crate::toolchain::ToolchainError;

use super::CargoError;
use super::target;

/// The kinds of target whose files are delivered.
const DELIVERED: [&str; 4] = ["bin", "cdylib", "dylib", "staticlib"];

/// The kinds of target whose files are delivered when the project has no other.
const LIBRARIES: [&str; 3] = ["lib", "rlib", "proc-macro"];

/// The members of the output of `cargo metadata` that are used here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// All packages, including the dependencies.
    pub packages: Vec<Package>,
    #[serde(rename = "workspace_default_members")]
    pub(super) default_members: BTreeSet<String>,
    #[serde(default, rename = "workspace_members")]
    pub(super) members: BTreeSet<String>,
    workspace_root: PathBuf,
    #[serde(skip)]
    pub(super) selection: Selection,
}

/// One package of the project or one of its dependencies.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Cargo's own id, which is opaque.
    pub id: String,
    /// The name, as the manifest has it.
    pub name: String,
    /// The version, as the manifest has it.
    pub version: String,
    source: Option<String>,
    manifest_path: String,
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    pub(super) features: BTreeMap<String, Vec<String>>,
    pub(super) rust_version: Option<String>,
}

/// The parts of the selected packages that are built, and the platform.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub bins: Option<BTreeSet<String>>,
    pub features: Vec<String>,
    pub no_default_features: bool,
    /// The target platform, where the project's configuration names one.
    pub target: Option<String>,
}

/// A program, library, example or other target of a package.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub name: String,
    kind: BTreeSet<String>,
    crate_types: BTreeSet<String>,
    #[serde(default, rename = "required-features")]
    pub required_features: Vec<String>,
    /// The root of the crate, as the sandbox sees it.
    #[serde(default)]
    src_path: PathBuf,
}

impl Metadata {
    /// Reads the output of `cargo metadata`.
    ///
    /// Cargo takes the lockfile from the workspace's root: if that were not the source's, it would
    /// be another lockfile than the one that was read here.
    ///
    /// # Errors
    /// The output cannot be read, or is of a workspace with another root.
    pub fn parse(output: &[u8]) -> Result<Self, ToolchainError> {
        let metadata: Self =
            serde_json::from_slice(output).map_err(|_| ToolchainError::Answer {
                tool: "cargo metadata",
            })?;
        if metadata.workspace_root != Path::new(SOURCE) {
            return Err(CargoError::WorkspaceRoot.into());
        }
        Ok(metadata)
    }

    /// Returns whether the build is for `package` itself, and not only for what depends on it.
    pub fn is_default_member(&self, package: &Package) -> bool {
        self.default_members.contains(&package.id)
    }

    /// Returns the packages that the build is for.
    pub fn default_members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.is_default_member(package))
    }

    /// Returns the package that has a target with this crate's name and the root `source`.
    pub(super) fn package_of(&self, crate_name: &str, source: &Path) -> Option<&Package> {
        let is_target = |target: &Target| {
            target.name.replace('-', "_") == crate_name && target.src_path.as_path() == source
        };
        self.packages
            .iter()
            .find(|package| package.targets.iter().any(is_target))
    }

    /// Returns whether the build makes libraries for Rust and nothing else.
    pub fn is_library_only(&self) -> bool {
        !self
            .default_members()
            .flat_map(|package| package.targets.iter().map(move |target| (package, target)))
            .any(|(package, target)| target.is_delivered() && self.is_built(package, target))
    }

    /// Returns the packages that have a line `NAME vVERSION …` in the output of `cargo tree`.
    ///
    /// # Errors
    /// A line names no known package.
    pub fn used(&self, tree: &[u8]) -> Result<Vec<&Package>, ToolchainError> {
        let unreadable = || ToolchainError::Answer { tool: "cargo tree" };
        let tree = std::str::from_utf8(tree).map_err(|_| unreadable())?;
        // Blank lines separate the trees of several members.
        let lines: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
        let mut used = BTreeMap::new();
        for line in lines {
            let packages = self.packages.iter();
            let named: Vec<_> = packages
                .filter(|package| package.is_named_by(line))
                .collect();
            if named.is_empty() {
                return Err(unreadable());
            }
            for package in named {
                used.insert((&package.name, &package.version, &package.id), package);
            }
        }
        Ok(used.into_values().collect())
    }

    /// Returns the names of the files in `release` that a `compiler-artifact` message may announce.
    ///
    /// There are none when the message names an unknown target, or one that is not delivered.
    pub fn announced(&self, message: &CompilerArtifact) -> Vec<String> {
        let library_only = self.is_library_only();
        let triple = self.selection.target.as_deref();
        let Some(target) = self.target_of(message) else {
            return Vec::new();
        };
        let is_wanted = target.is_delivered() || (library_only && target.is_library());
        if !is_wanted {
            return Vec::new();
        }
        let possible = target.file_names(library_only, triple);
        let release = Path::new(TARGET).join(target::release(triple));
        let mut names = Vec::new();
        for path in message.filenames.iter().map(Path::new) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if path.parent() == Some(&release) && possible.iter().any(|possible| possible == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Returns the target of a default member that a message is about.
    fn target_of(&self, message: &CompilerArtifact) -> Option<&Target> {
        let package = self
            .default_members()
            .find(|package| package.id == message.package_id)?;
        let wanted = &message.target;
        package
            .targets
            .iter()
            .find(|target| target.name == wanted.name && target.kind == wanted.kind)
    }
}

impl Package {
    /// Returns the package as `NAME@VERSION`.
    pub fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Returns the directory of the package in the sandbox.
    pub fn directory(&self) -> &Path {
        Path::new(&self.manifest_path)
            .parent()
            .unwrap_or(Path::new("/"))
    }

    /// Returns whether a line of `cargo tree` means this package, and not another one of the same
    /// name and version.
    ///
    /// After the version, and after `(proc-macro)` if it is one, the line of a directory goes on
    /// with `(DIRECTORY)`, that of a repository with `(URL#COMMIT)`, the commit cut, and that of a
    /// registry with neither.
    fn is_named_by(&self, line: &str) -> bool {
        let rest = line.strip_prefix(&format!("{} v{}", self.name, self.version));
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
            return false;
        };
        let rest = rest.strip_prefix(" (proc-macro)").unwrap_or(rest);
        let origin = rest.strip_prefix(" (").unwrap_or_default();
        let Some(source) = self.source.as_deref() else {
            let directory = self.directory().to_string_lossy();
            return origin
                .strip_prefix(&*directory)
                .is_some_and(|rest| rest.starts_with(')'));
        };
        if origin.starts_with('/') {
            return false;
        }
        let commit = origin
            .split_once(')')
            .and_then(|(address, _)| address.rsplit_once('#'))
            .map(|(_, commit)| commit);
        match (source.strip_prefix("git+"), commit) {
            (None, commit) => commit.is_none(),
            (Some(_), None) => false,
            (Some(locked), Some(cut)) => locked
                .rsplit_once('#')
                .is_some_and(|(_, all)| all.starts_with(cut)),
        }
    }

    /// Returns the name of the file that `cargo package` creates.
    pub fn crate_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

impl Target {
    /// Returns whether the files of the target are always delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.kind
            .iter()
            .any(|kind| DELIVERED.contains(&kind.as_str()))
    }

    /// Returns whether the files of the target are delivered in a project of libraries only.
    pub(super) fn is_library(&self) -> bool {
        self.kind
            .iter()
            .any(|kind| LIBRARIES.contains(&kind.as_str()))
    }

    /// Returns whether the target is a program.
    pub(super) fn is_program(&self) -> bool {
        self.kind.contains("bin")
    }

    /// Returns the names that the delivered files of the target have, for the target platform
    /// `triple` or the machine's own.
    pub(super) fn file_names(&self, library_only: bool, triple: Option<&str>) -> Vec<String> {
        let stem = self.name.replace('-', "_");
        let is_wasm = triple.is_some_and(|triple| triple.starts_with("wasm32"));
        let of = |kind: &str| match kind {
            "bin" if is_wasm => Some(format!("{}.wasm", self.name)),
            "bin" => Some(self.name.clone()),
            "cdylib" if is_wasm => Some(format!("{stem}.wasm")),
            "cdylib" | "dylib" => Some(format!("lib{stem}.so")),
            "proc-macro" if library_only => Some(format!("lib{stem}.so")),
            "staticlib" => Some(format!("lib{stem}.a")),
            "lib" | "rlib" if library_only => Some(format!("lib{stem}.rlib")),
            _ => None,
        };
        self.crate_types
            .iter()
            .filter_map(|kind| of(kind))
            .collect()
    }
}

/// The members of cargo's message about one compiled target that are used here.
#[derive(Debug, Deserialize)]
pub struct CompilerArtifact {
    package_id: String,
    target: MessageTarget,
    filenames: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MessageTarget {
    name: String,
    kind: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages":[
        {"id":"app","name":"app","version":"0.1.0","manifest_path":"/kettle/source/Cargo.toml","targets":[
            {"name":"my-tool","kind":["bin"],"crate_types":["bin"]},
            {"name":"my-lib","kind":["cdylib","rlib"],"crate_types":["cdylib","rlib"]},
            {"name":"show","kind":["example"],"crate_types":["bin"]}]},
        {"id":"other","name":"other","version":"0.2.0","manifest_path":"/kettle/source/other/Cargo.toml","targets":[
            {"name":"other","kind":["bin"],"crate_types":["bin"]}]},
        {"id":"itoa","name":"itoa","version":"1.0.19","source":"registry+https://h/i","manifest_path":"/kettle/vendor/crates-io/itoa-1.0.19/Cargo.toml",
            "targets":[{"name":"itoa","kind":["lib"],"crate_types":["lib"]}]}],
        "workspace_default_members":["app"],"workspace_root":"/kettle/source","more":1}"#;

    fn announced(package: &str, name: &str, kind: &str, file: &str) -> Vec<String> {
        let message = serde_json::json!({"reason":"compiler-artifact","package_id":package,
            "target":{"name":name,"kind":kind.split(',').collect::<Vec<_>>()},"filenames":[file]});
        let message = serde_json::from_value(message).unwrap();
        Metadata::parse(METADATA.as_bytes())
            .unwrap()
            .announced(&message)
    }

    #[test]
    fn takes_programs_and_c_libraries_of_default_members() {
        assert_eq!(
            announced("app", "my-tool", "bin", "/kettle/target/release/my-tool"),
            ["my-tool"]
        );
        assert_eq!(
            announced(
                "app",
                "my-lib",
                "cdylib,rlib",
                "/kettle/target/release/libmy_lib.so"
            ),
            ["libmy_lib.so"]
        );
    }

    #[test]
    fn a_forged_message_adds_nothing() {
        for (package, name, kind, file) in [
            (
                "app",
                "my-lib",
                "cdylib,rlib",
                "/kettle/target/release/libmy_lib.rlib",
            ),
            ("app", "show", "example", "/kettle/target/release/show"),
            ("app", "show", "bin", "/kettle/target/release/show"),
            ("app", "my-tool", "bin", "/kettle/target/release/evil"),
            (
                "app",
                "my-tool",
                "bin",
                "/kettle/target/release/deps/my-tool",
            ),
            (
                "app",
                "my-tool",
                "bin",
                "/kettle/target/release/../release/my-tool",
            ),
            ("app", "my-tool", "bin", "/etc/passwd"),
            ("other", "other", "bin", "/kettle/target/release/other"),
            ("itoa", "itoa", "lib", "/kettle/target/release/libitoa.rlib"),
            ("nobody", "my-tool", "bin", "/kettle/target/release/my-tool"),
        ] {
            assert_eq!(announced(package, name, kind, file), [""; 0], "{file}");
        }
    }

    #[test]
    fn the_lockfile_that_cargo_uses_is_the_one_at_the_top() {
        for root in ["/kettle/source/sub", "/kettle", "/"] {
            let elsewhere =
                METADATA.replace(r#""/kettle/source","more""#, &format!(r#""{root}","more""#));
            assert!(
                matches!(
                    Metadata::parse(elsewhere.as_bytes()),
                    Err(ToolchainError::Cargo(CargoError::WorkspaceRoot))
                ),
                "{root}"
            );
        }
    }

    #[test]
    fn used_packages_are_those_of_the_tree() {
        let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
        let used = metadata
            .used(b"app v0.1.0 (/kettle/source)\nitoa v1.0.19\n\nitoa v1.0.19 (*)\n")
            .unwrap();
        assert_eq!(
            used.iter()
                .map(|package| package.spec())
                .collect::<Vec<_>>(),
            ["app@0.1.0", "itoa@1.0.19"]
        );
        assert!(metadata.used(b"strange").is_err());
        assert!(metadata.used(b"itoa v1.0.1").is_err());
    }

    #[test]
    fn packages_of_one_name_and_version_are_told_apart_by_their_place() {
        let sources = [
            ("folder", "null", "/kettle/source/it oa"),
            (
                "git",
                r#""git+https://h/r?rev=a#0123456789abcdef""#,
                "/kettle/cargo/git/checkouts/r-1/0123456",
            ),
            (
                "other-git",
                r#""git+https://h/r#1123456789abcdef""#,
                "/kettle/cargo/git/checkouts/r-1/1123456",
            ),
            (
                "registry",
                r#""registry+https://h/i""#,
                "/kettle/vendor/crates-io/itoa-1.0.0",
            ),
        ];
        let package = |(id, source, folder): &(&str, &str, &str)| {
            format!(
                r#"{{"id":"{id}","name":"itoa","version":"1.0.0","source":{source},
                "manifest_path":"{folder}/Cargo.toml","targets":[]}}"#
            )
        };
        let packages = sources.iter().map(package).collect::<Vec<_>>().join(",");
        let metadata = format!(
            r#"{{"packages":[{packages}],"workspace_default_members":[],"workspace_root":"/kettle/source"}}"#
        );
        let metadata = Metadata::parse(metadata.as_bytes()).unwrap();
        let used = |line: &str| {
            metadata
                .used(line.as_bytes())
                .unwrap()
                .iter()
                .map(|p| p.id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(used("itoa v1.0.0 (/kettle/source/it oa)"), ["folder"]);
        assert_eq!(
            used("itoa v1.0.0 (proc-macro) (/kettle/source/it oa)"),
            ["folder"]
        );
        assert_eq!(
            used("itoa v1.0.0 (https://h/r?rev=a#01234567) (*)"),
            ["git"]
        );
        assert_eq!(used("itoa v1.0.0 (https://h/r#11234567)"), ["other-git"]);
        for registry in [
            "itoa v1.0.0",
            "itoa v1.0.0 (proc-macro)",
            "itoa v1.0.0 (*)",
            "itoa v1.0.0 (registry `own`)",
        ] {
            assert_eq!(used(registry), ["registry"]);
        }
        assert!(
            metadata
                .used(b"itoa v1.0.0 (/kettle/source/other)")
                .is_err()
        );
    }
}
