//! What cargo says about a project before anything of it runs. Comes in: the answers of `cargo metadata` and `cargo
//! tree`. Goes out: the packages with their folders and targets, and which of them a build compiles. Never: a fact
//! that code of the project could have printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::sandbox::paths::{SOURCE, TARGET};
use crate::toolchain::ToolchainError;

use super::CargoError;
use super::target;

/// Kinds of target whose files are handed out.
const DELIVERED: [&str; 4] = ["bin", "cdylib", "dylib", "staticlib"];

/// Kinds of target that are handed out when there is no other.
const LIBRARIES: [&str; 3] = ["lib", "rlib", "proc-macro"];

/// The answer of `cargo metadata`, the members that we use.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// All of them, dependencies too.
    pub packages: Vec<Package>,
    #[serde(rename = "workspace_default_members")]
    pub(super) default_members: BTreeSet<String>,
    #[serde(default, rename = "workspace_members")]
    pub(super) members: BTreeSet<String>,
    workspace_root: PathBuf,
    #[serde(skip)]
    pub(super) selection: Selection,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Cargo's own, opaque.
    pub id: String,
    /// As the manifest has it.
    pub name: String,
    /// Likewise.
    pub version: String,
    source: Option<String>,
    manifest_path: String,
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    pub(super) features: BTreeMap<String, Vec<String>>,
    pub(super) rust_version: Option<String>,
}

/// What is built of the selected packages, and for which platform.
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
    /// In the sandbox.
    #[serde(default)]
    src_path: PathBuf,
}

impl Metadata {
    /// Reads the answer of `cargo metadata`. Cargo takes the lockfile from the workspace's root: elsewhere than at the
    /// source's, it would be another one than was read here.
    ///
    /// # Errors
    /// It is no such answer, or of another workspace.
    pub fn parse(answer: &[u8]) -> Result<Self, ToolchainError> {
        let metadata: Self =
            serde_json::from_slice(answer).map_err(|_| ToolchainError::Answer {
                tool: "cargo metadata",
            })?;
        if metadata.workspace_root != Path::new(SOURCE) {
            return Err(CargoError::WorkspaceRoot.into());
        }
        Ok(metadata)
    }

    /// Whether `package` is one that the build is asked for.
    pub fn is_default_member(&self, package: &Package) -> bool {
        self.default_members.contains(&package.id)
    }

    /// The packages that the build is asked for.
    pub fn default_members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.is_default_member(package))
    }

    /// The package that has a target of this crate's name, which starts at `source`.
    pub(super) fn package_of(&self, crate_name: &str, source: &Path) -> Option<&Package> {
        let is_target = |target: &Target| {
            target.name.replace('-', "_") == crate_name && target.src_path.as_path() == source
        };
        self.packages
            .iter()
            .find(|package| package.targets.iter().any(is_target))
    }

    /// Whether the build makes libraries for Rust and nothing else.
    pub fn is_library_only(&self) -> bool {
        !self
            .default_members()
            .flat_map(|package| package.targets.iter().map(move |target| (package, target)))
            .any(|(package, target)| target.is_delivered() && self.is_built(package, target))
    }

    /// The packages of which `tree` (the answer of `cargo tree`) has a line: `NAME vVERSION …`.
    ///
    /// # Errors
    /// A line names no package.
    pub fn used(&self, tree: &[u8]) -> Result<Vec<&Package>, ToolchainError> {
        let unreadable = || ToolchainError::Answer { tool: "cargo tree" };
        let tree = std::str::from_utf8(tree).map_err(|_| unreadable())?;
        // Blank lines stand between the trees of several members.
        let lines: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
        let mut used = BTreeMap::new();
        for line in lines {
            let mut named = self
                .packages
                .iter()
                .filter(|package| package.is_named_by(line))
                .peekable();
            named.peek().ok_or_else(unreadable)?;
            used.extend(
                named.map(|package| ((&package.name, &package.version, &package.id), package)),
            );
        }
        Ok(used.into_values().collect())
    }

    /// The names of the files in `release` that a `compiler-artifact` message may announce, none when the message is
    /// of no target that exists, or of one that is not handed out.
    pub fn announced(&self, message: &CompilerArtifact) -> Vec<String> {
        let library_only = self.is_library_only();
        let triple = self.selection.target.as_deref();
        let package = self
            .default_members()
            .find(|package| package.id == message.package_id);
        let target = package.and_then(|package| {
            package.targets.iter().find(|target| {
                target.name == message.target.name && target.kind == message.target.kind
            })
        });
        let Some(target) =
            target.filter(|target| target.is_delivered() || (library_only && target.is_library()))
        else {
            return Vec::new();
        };
        let possible = target.file_names(library_only, triple);
        let release = Path::new(TARGET).join(target::release(triple));
        let announced = message
            .filenames
            .iter()
            .map(Path::new)
            .filter(|path| path.parent() == Some(&release));
        let names = announced.filter_map(|path| path.file_name()?.to_str());
        names
            .filter(|name| possible.iter().any(|possible| possible == name))
            .map(str::to_owned)
            .collect()
    }
}

impl Package {
    /// `NAME@VERSION`.
    pub fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The package's folder in the sandbox.
    pub fn folder(&self) -> &Path {
        Path::new(&self.manifest_path)
            .parent()
            .unwrap_or(Path::new("/"))
    }

    /// Whether a line of `cargo tree` means this package, and not another one of the same name and version: a folder's
    /// goes on with `(FOLDER)`, a repository's with `(URL#COMMIT)`, the commit cut, a registry's with neither; each after
    /// `(proc-macro)`, if it is one.
    fn is_named_by(&self, line: &str) -> bool {
        let rest = line.strip_prefix(&format!("{} v{}", self.name, self.version));
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
            return false;
        };
        let rest = rest.strip_prefix(" (proc-macro)").unwrap_or(rest);
        let place = rest.strip_prefix(" (").unwrap_or_default();
        let commit = place
            .split_once(')')
            .and_then(|(place, _)| Some(place.rsplit_once('#')?.1));
        let is_folder = place.starts_with('/');
        match self.source.as_deref() {
            None => place
                .strip_prefix(&*self.folder().to_string_lossy())
                .is_some_and(|rest| rest.starts_with(')')),
            Some(source) => match source
                .strip_prefix("git+")
                .map(|source| source.rsplit_once('#'))
            {
                Some(locked) => {
                    !is_folder
                        && locked
                            .zip(commit)
                            .is_some_and(|((_, all), cut)| all.starts_with(cut))
                }
                None => !is_folder && commit.is_none(),
            },
        }
    }

    /// The name of the file that `cargo package` makes.
    pub fn crate_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

impl Target {
    pub(super) fn is_delivered(&self) -> bool {
        self.kind
            .iter()
            .any(|kind| DELIVERED.contains(&kind.as_str()))
    }

    pub(super) fn is_library(&self) -> bool {
        self.kind
            .iter()
            .any(|kind| LIBRARIES.contains(&kind.as_str()))
    }

    pub(super) fn is_program(&self) -> bool {
        self.kind.contains("bin")
    }

    /// The names of the files that are delivered of it, for the target platform `triple` or the machine's own.
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

/// Cargo's message about one compiled target, the members that we use.
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
