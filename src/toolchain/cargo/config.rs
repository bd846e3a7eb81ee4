//! Reads a project's own cargo configuration, which cargo itself never reads.
//!
//! * In: `.cargo/config.toml` at the tree's root.
//! * Out: the settings that are carried over, as arguments of `--config` that provenance then
//!   records, and a line for each setting that is not.
//! * Never: a setting that replaces the recorded toolchain, a tool, or the origin of a dependency.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::CargoError;
use super::rustflags;
use super::variables::is_reserved;
use crate::presence::{first_file, there};
use crate::sandbox::paths::SOURCE;
use crate::toolchain::ToolchainError;

/// The size of the largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The paths at which cargo looks for its configuration, in this order.
const FILES: [&str; 2] = [".cargo/config", ".cargo/config.toml"];

/// The files with which a project chooses another toolchain.
const TOOLCHAIN_FILES: [&str; 2] = ["rust-toolchain.toml", "rust-toolchain"];

/// The members of a profile that name a program, or that only nightly toolchains know.
const PROFILE_LEFT_OUT: [&str; 3] = ["codegen-backend", "rustflags", "trim-paths"];

/// The part of a project's configuration that is used, and notes about the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The arguments of `--config`, each `key=value`, in the order of the file's keys.
    pub arguments: Vec<String>,
    /// The sources that the project replaces with a directory of its own.
    pub vendored: Vec<Replaced>,
    /// The lines of the build log about settings that are not used.
    pub notes: Vec<String>,
    /// The platforms that the project builds for.
    pub targets: Vec<String>,
}

/// A source that a directory of the tree replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The public registry of cargo, crates.io.
    CratesIo,
    /// Another registry, by its index URL.
    Registry(String),
    /// A git repository: its URL, then `branch=…`, `tag=…`, `rev=…` or nothing.
    Git(String, String),
}

/// Reads the configuration of the tree at `root`.
pub(super) fn read(root: &Path) -> Result<Settings, ToolchainError> {
    let mut settings = Settings::default();
    for name in TOOLCHAIN_FILES {
        if there(root.join(name).symlink_metadata())?.is_some() {
            settings.notes.push(format!(
                "{name} is not used: the toolchain is the appliance's"
            ));
        }
    }
    let Some(path) = file(root)? else {
        return Ok(settings);
    };
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_string(&mut text);
    if read.is_err() || text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(CargoError::Configuration.into());
    }
    settings.add(&text, root)?;
    Ok(settings)
}

/// Returns the first configuration file that exists, in cargo's own order.
fn file(root: &Path) -> io::Result<Option<PathBuf>> {
    first_file(FILES.map(|name| root.join(name)))
}

impl Settings {
    /// Adds the settings of the configuration `text` of the tree at `root`.
    ///
    /// # Errors
    /// The text is not TOML, or a directory that it names cannot be looked up.
    pub fn add(&mut self, text: &str, root: &Path) -> Result<(), ToolchainError> {
        let table = text
            .parse::<Table>()
            .map_err(|_| CargoError::Configuration)?;
        Ok(self.take(&table, root)?)
    }

    fn take(&mut self, table: &Table, root: &Path) -> io::Result<()> {
        for (key, value) in table {
            match (key.as_str(), value) {
                ("build", Value::Table(build)) => self.take_build(build),
                ("target", Value::Table(targets)) => self.take_targets(targets),
                ("profile", Value::Table(profiles)) => {
                    self.take_profile(&quoted(&["profile"]), profiles)
                }
                ("env", Value::Table(variables)) => self.take_environment(variables),
                ("registries", Value::Table(registries)) => self.take_registries(registries),
                ("patch", Value::Table(patches)) => self.take_patches(patches, root)?,
                ("source", Value::Table(sources)) => self.take_sources(sources, root)?,
                (key, value) => self.leave_out(&quoted(&[key]), value),
            }
        }
        Ok(())
    }

    /// Carries over a setting, unless its value is of a kind that no known setting has.
    fn set(&mut self, key: &str, value: &Value) {
        match literal(value) {
            Some(literal) => self.arguments.push(format!("{key}={literal}")),
            None => self.leave_out(key, value),
        }
    }

    /// Adds a note for each setting at and below `key`, which are not used.
    fn leave_out(&mut self, key: &str, value: &Value) {
        match value {
            Value::Table(members) if !members.is_empty() => {
                for (name, value) in members {
                    self.leave_out(&format!("{key}.{}", quoted(&[name])), value);
                }
            }
            _ => self
                .notes
                .push(format!("cargo configuration: {key} is not used")),
        }
    }

    fn take_build(&mut self, build: &Table) {
        for (name, value) in build {
            let key = quoted(&["build", name]);
            match (name.as_str(), value) {
                ("rustflags", value) => self.take_flags(&key, value),
                ("target", Value::String(target)) => self.targets.push(target.clone()),
                ("target", Value::Array(targets)) if targets.iter().all(Value::is_str) => {
                    let targets = targets.iter().filter_map(Value::as_str);
                    self.targets.extend(targets.map(str::to_owned));
                }
                (_, value) => self.leave_out(&key, value),
            }
        }
    }

    fn take_targets(&mut self, targets: &Table) {
        for (target, members) in targets {
            for (name, value) in members.as_table().into_iter().flatten() {
                let key = quoted(&["target", target, name]);
                if name == "rustflags" {
                    self.take_flags(&key, value)
                } else {
                    self.leave_out(&key, value)
                }
            }
        }
    }

    fn take_flags(&mut self, key: &str, value: &Value) {
        let words: Vec<String> = match value {
            Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
            Value::Array(words) => words
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        let (kept, dropped) = rustflags::divide(&words);
        if !kept.is_empty() {
            self.set(key, &Value::from(kept));
        }
        if !dropped.is_empty() {
            self.notes.push(format!(
                "cargo configuration: {key}: {} is not used",
                dropped.join(" ")
            ));
        }
    }

    fn take_profile(&mut self, key: &str, members: &Table) {
        for (name, value) in members {
            let key = format!("{key}.{}", quoted(&[name]));
            match value {
                _ if PROFILE_LEFT_OUT.contains(&name.as_str()) => self.leave_out(&key, value),
                Value::Table(members) => self.take_profile(&key, members),
                value => self.set(&key, value),
            }
        }
    }

    fn take_environment(&mut self, variables: &Table) {
        for (name, value) in variables {
            let key = quoted(&["env", name]);
            match variable(value).filter(|_| !is_reserved(name)) {
                Some(text) => self.set(&key, &Value::String(text)),
                None => self
                    .notes
                    .push(format!("cargo configuration: {key} is not used")),
            }
        }
    }

    fn take_registries(&mut self, registries: &Table) {
        for (registry, members) in registries {
            for (name, value) in members.as_table().into_iter().flatten() {
                let key = quoted(&["registries", registry, name]);
                let index = value
                    .as_str()
                    .filter(|index| name == "index" && registry != "crates-io" && is_remote(index));
                if index.is_some() {
                    self.set(&key, value)
                } else {
                    self.leave_out(&key, value)
                }
            }
        }
    }

    fn take_patches(&mut self, patches: &Table, root: &Path) -> io::Result<()> {
        for (source, packages) in patches {
            for (package, patch) in packages.as_table().into_iter().flatten() {
                self.take_patch(&quoted(&["patch", source, package]), patch, root)?;
            }
        }
        Ok(())
    }

    /// Carries over a patch that is a directory inside the tree.
    fn take_patch(&mut self, key: &str, patch: &Value, root: &Path) -> io::Result<()> {
        let known = ["path", "package"];
        let members = patch
            .as_table()
            .filter(|patch| patch.keys().all(|key| known.contains(&key.as_str())));
        let path = members.and_then(|patch| patch.get("path")?.as_str());
        let directory = inside_tree(path, root)?;
        match (members, directory) {
            (Some(members), Some(directory)) => {
                self.set(&format!("{key}.path"), &Value::String(directory));
                if let Some(name) = members.get("package") {
                    self.set(&format!("{key}.package"), name);
                }
            }
            _ => self.leave_out(key, patch),
        }
        Ok(())
    }

    /// Carries over the settings that `cargo vendor` prints: sources that a directory inside the
    /// tree replaces, and those directories.
    fn take_sources(&mut self, sources: &Table, root: &Path) -> io::Result<()> {
        for (name, source) in sources {
            let key = quoted(&["source", name]);
            if let Some(replaced) = vendored(sources, name, root)? {
                self.vendored.push(replaced);
                for (name, value) in source.as_table().into_iter().flatten() {
                    self.set(&format!("{key}.{}", quoted(&[name])), value);
                }
                continue;
            }
            let has_one_member = source.as_table().is_some_and(|members| members.len() == 1);
            match inside_tree(member(sources, name, "directory"), root)? {
                Some(directory) if has_one_member => {
                    self.set(&format!("{key}.directory"), &Value::String(directory));
                }
                _ => self.leave_out(&key, source),
            }
        }
        Ok(())
    }
}

/// Returns what the source `name` stands for, if a directory inside the tree replaces it.
fn vendored(sources: &Table, name: &str, root: &Path) -> io::Result<Option<Replaced>> {
    let Some(stand_in) = member(sources, name, "replace-with") else {
        return Ok(None);
    };
    let directory = inside_tree(member(sources, stand_in, "directory"), root)?;
    Ok(directory.and_then(|_| Replaced::of(name, sources.get(name)?)))
}

/// Returns the text of a member of the source `name`.
fn member<'a>(sources: &'a Table, name: &str, member: &str) -> Option<&'a str> {
    sources.get(name)?.get(member)?.as_str()
}

impl Replaced {
    /// Returns what a `source` table stands for, if it has only the members that such a table has.
    fn of(name: &str, source: &Value) -> Option<Self> {
        let members = source.as_table()?;
        let known = ["replace-with", "registry", "git", "branch", "tag", "rev"];
        let is_known =
            |(key, value): (&String, &Value)| known.contains(&key.as_str()) && value.is_str();
        if !members.iter().all(is_known) {
            return None;
        }
        let text = |key: &str| members.get(key).and_then(Value::as_str);
        match (text("registry"), text("git")) {
            (None, None) => (name == "crates-io").then_some(Self::CratesIo),
            (Some(index), None) => Some(Self::Registry(index.to_owned())),
            (None, Some(url)) => {
                let kinds = ["branch", "tag", "rev"];
                let query = kinds
                    .iter()
                    .find_map(|kind| Some(format!("{kind}={}", text(kind)?)));
                Some(Self::Git(url.to_owned(), query.unwrap_or_default()))
            }
            (Some(_), Some(_)) => None,
        }
    }
}

/// Returns a dotted TOML key, each part quoted where it has to be.
fn quoted(parts: &[&str]) -> String {
    let bare = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let quote = |part: &&str| {
        if bare(part) {
            (*part).to_owned()
        } else {
            string(part)
        }
    };
    parts.iter().map(quote).collect::<Vec<_>>().join(".")
}

/// Returns a TOML literal; `None` for the kinds of value that no known setting has.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(string(text)),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(yes) => Some(yes.to_string()),
        Value::Array(values) => {
            let literals: Option<Vec<_>> = values.iter().map(literal).collect();
            Some(format!("[{}]", literals?.join(", ")))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Returns a TOML basic string: JSON's escapes are all among TOML's.
pub(super) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns the value of a variable in `[env]`; a relative path becomes one of the tree in the
/// sandbox.
fn variable(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Table(members) => {
            let text = members.get("value")?.as_str()?;
            let relative = members
                .get("relative")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            Some(if relative {
                Path::new(SOURCE).join(text).to_string_lossy().into_owned()
            } else {
                text.to_owned()
            })
        }
        _ => None,
    }
}

/// Returns whether the index of a registry is a URL of http or https without credentials.
fn is_remote(index: &str) -> bool {
    let plain = index.strip_prefix("sparse+").unwrap_or(index);
    (plain.starts_with("https://") || plain.starts_with("http://")) && !plain.contains('@')
}

/// Returns the path in the sandbox of a directory of the tree, if `path` names one.
///
/// It must be relative to the root, without `..`, and pass no link.
fn inside_tree(path: Option<&str>, root: &Path) -> io::Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let mut machine = root.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => continue,
            Component::Normal(name) => machine.push(name),
            _ => return Ok(None),
        }
        if !there(machine.symlink_metadata())?.is_some_and(|found| found.is_dir()) {
            return Ok(None);
        }
    }
    let relative = machine.strip_prefix(root).ok();
    Ok(relative.map(|relative| {
        Path::new(SOURCE)
            .join(relative)
            .to_string_lossy()
            .into_owned()
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn settings(text: &str) -> Settings {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(".cargo")).unwrap();
        fs::create_dir_all(root.path().join("vendor")).unwrap();
        std::os::unix::fs::symlink("/usr", root.path().join("usr")).unwrap();
        fs::write(root.path().join(".cargo/config.toml"), text).unwrap();
        read(root.path()).unwrap()
    }

    #[test]
    fn carries_over_flags_profiles_and_variables() {
        let settings = settings(
            "build.rustflags = '--cfg foo'\n\
             target.'cfg(unix)'.rustflags = ['-C', 'target-cpu=x86-64-v3']\n\
             profile.release.package.'*'.opt-level = 1\n\
             env.GREETING = 'hi'\n\
             env.CARGO_WORKSPACE_DIR = { value = '', relative = true }\n\
             env.DATA = { value = 'data', relative = true, force = true }\n\
             registries.own.index = 'sparse+https://crates.example/'\n",
        );
        assert_eq!(
            settings.arguments,
            [
                r#"build.rustflags=["--cfg", "foo"]"#,
                r#"env.CARGO_WORKSPACE_DIR="/kettle/source/""#,
                r#"env.DATA="/kettle/source/data""#,
                r#"env.GREETING="hi""#,
                r#"profile.release.package."*".opt-level=1"#,
                r#"registries.own.index="sparse+https://crates.example/""#,
                r#"target."cfg(unix)".rustflags=["-C", "target-cpu=x86-64-v3"]"#,
            ]
        );
        assert_eq!(settings.notes, [""; 0]);
    }

    #[test]
    fn nothing_displaces_the_toolchain() {
        for attack in [
            "build.rustc = './evil'",
            "build.rustc-wrapper = './evil'",
            "build.rustc-workspace-wrapper = './evil'",
            "build.rustdoc = './evil'",
            "build.target-dir = 'target'",
            "build.rustflags = ['-Clinker=./evil']",
            "target.x86_64-unknown-linux-gnu.linker = './evil'",
            "target.x86_64-unknown-linux-gnu.runner = './evil'",
            "target.x86_64-unknown-linux-gnu.foo.rustc-link-search = ['/x']",
            "env.PATH = { value = 'bin', relative = true, force = true }",
            "env.LD_PRELOAD = './evil.so'",
            "env.CC = './evil'",
            "env.CC_x86_64_unknown_linux_gnu = './evil'",
            "env.HOST_CFLAGS = '-B.'",
            "env.RUSTC_WRAPPER = './evil'",
            "env.RUSTC_BOOTSTRAP = '1'",
            "env.CARGO_ENCODED_RUSTFLAGS = 'x'",
            "env.PKG_CONFIG = './evil'",
            "env.GCC_EXEC_PREFIX = '/x'",
            "env.COMPILER_PATH = '/x'",
            "env.LPATH = { value = 'evil', relative = true }",
            "env.BINUTILS_ROOT = '/x'",
            "env.CCC_OVERRIDE_OPTIONS = '+-B.'",
            "env.LOCPATH = '/x'",
            "env.SOURCE_DATE_EPOCH = '1'",
            "unstable.codegen-backend = true",
            "profile.release.codegen-backend = './evil.so'",
            "profile.release.rustflags = ['-Clinker=./evil']",
            "registry.credential-provider = './evil'",
            "registries.own.credential-provider = './evil'",
            "registries.own.index = 'file:///x'",
            "registries.crates-io.index = 'https://evil.example'",
            "credential-alias.x = './evil'",
            "paths = ['vendor']",
            "include = 'evil.toml'",
            "alias.build = 'run'",
            "http.proxy = 'evil:1'",
            "net.git-fetch-with-cli = true",
            "source.crates-io.replace-with = 'mirror'\nsource.mirror.registry = 'https://evil.example'",
            "source.crates-io.replace-with = 'v'\nsource.v.directory = '/usr'",
            "source.crates-io.replace-with = 'v'\nsource.v.directory = '../x'",
            "source.crates-io.replace-with = 'v'\nsource.v.directory = 'usr'",
            "source.crates-io.replace-with = 'v'\nsource.v.local-registry = 'vendor'",
            "patch.crates-io.a = { git = 'https://evil.example' }",
            "patch.crates-io.a = { path = '/usr' }",
        ] {
            let settings = settings(attack);
            assert_eq!(
                (settings.arguments.len(), settings.vendored.len()),
                (0, 0),
                "{attack}"
            );
            assert!(!settings.notes.is_empty(), "{attack}");
        }
    }

    #[test]
    fn a_target_is_kept_apart_and_refused_or_built_for() {
        for (text, expected) in [
            ("build.target = 'evil.json'", &["evil.json"][..]),
            ("build.target = ['a', 'b']", &["a", "b"]),
        ] {
            let settings = settings(text);
            assert_eq!(settings.targets, expected);
            assert!(settings.arguments.is_empty() && settings.notes.is_empty());
        }
    }

    #[test]
    fn a_vendored_directory_inside_the_tree_is_used_where_it_is() {
        let settings = settings(
            "[source.crates-io]\nreplace-with = 'vendored-sources'\n\
             [source.'git+https://h/r?rev=a']\ngit = 'https://h/r'\nrev = 'a'\nreplace-with = 'vendored-sources'\n\
             [source.vendored-sources]\ndirectory = 'vendor'\n\
             [patch.crates-io]\na = { path = 'vendor' }\n",
        );
        let git = Replaced::Git("https://h/r".to_owned(), "rev=a".to_owned());
        assert_eq!(settings.vendored, [Replaced::CratesIo, git]);
        assert!(
            settings.arguments.contains(
                &r#"source.vendored-sources.directory="/kettle/source/vendor""#.to_owned()
            )
        );
        assert!(
            settings
                .arguments
                .contains(&r#"patch.crates-io.a.path="/kettle/source/vendor""#.to_owned())
        );
        assert_eq!(settings.notes, [""; 0]);
    }

    #[test]
    fn what_is_not_used_is_said_by_name() {
        let notes = settings("build.rustc-wrapper = 'sccache'\nterm.color = 'always'").notes;
        assert_eq!(
            notes,
            [
                "cargo configuration: build.rustc-wrapper is not used",
                "cargo configuration: term.color is not used"
            ]
        );
    }

    #[test]
    fn a_toolchain_file_is_said_not_to_be_used() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("rust-toolchain.toml"), "").unwrap();
        assert!(read(root.path()).unwrap().notes[0].starts_with("rust-toolchain.toml is not used"));
    }

    #[test]
    fn an_unreadable_configuration_ends_the_job() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".cargo")).unwrap();
        fs::write(root.path().join(".cargo/config"), "not toml").unwrap();
        assert!(matches!(
            read(root.path()),
            Err(ToolchainError::Cargo(CargoError::Configuration))
        ));
    }
}
