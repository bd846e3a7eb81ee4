//! Records the influence of build scripts on the linker: `rustc-link-arg` and similar instructions,
//! directories and names of libraries that the linker reads as more than that, and the variables of
//! `rustc-env` by which the linker is found.
//!
//! * In: cargo's own output while it builds: the commands that it runs (`cargo build --verbose`,
//!   standard error), and its message about each build script.
//! * Out: a record for each package.
//! * Never: the files in which cargo keeps the output of build scripts; any process of the build
//!   can change those.
//!
//! A build script cannot forge or hide a command: cargo does not print the script's output. A macro
//! can print a line like cargo's, and so add a record of arguments that were not given; it cannot
//! remove one, and a line that cannot be read fails the build. A process that attacks cargo can
//! hide arguments. It has the artifact's object files too, and needs no linker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::provenance::LinkRecord;
use crate::provenance::link::{
    can_displace_linker, is_linker_variable, is_search_path_an_argument,
};
use crate::sandbox::paths::SOURCE;

use super::CargoError;
use super::metadata::Metadata;

/// The most bytes of arguments and variables that are recorded, for all packages together.
const MAX_LINK_BYTES: usize = 64 << 10;

/// The beginnings of rustc's options for arguments of the linker, after `-C`.
const OPTIONS: [&str; 2] = ["link-arg=", "link-args="];

/// The prefixes that a directory can have in which rustc looks for libraries (rustc book,
/// "Command-line Arguments", `-L`).
const SEARCH_KINDS: [&str; 5] = ["all=", "crate=", "dependency=", "framework=", "native="];

/// The influence on the linker that was found so far.
pub struct Links<'a> {
    metadata: &'a Metadata,
    found: BTreeMap<String, Found>,
    bytes: usize,
    is_unreadable: bool,
}

#[derive(Default)]
struct Found {
    arguments: BTreeSet<String>,
    environment: BTreeMap<String, String>,
}

impl<'a> Links<'a> {
    pub(super) fn new(metadata: &'a Metadata) -> Self {
        Self {
            metadata,
            found: BTreeMap::new(),
            bytes: 0,
            is_unreadable: false,
        }
    }

    /// Takes note that cargo printed something that could not be read.
    pub(super) fn note_unreadable(&mut self) {
        self.is_unreadable = true;
    }

    /// Takes the arguments of a compiler, as cargo prints them.
    pub(super) fn take_command(&mut self, shown: &[u8]) {
        let Some(words) = std::str::from_utf8(shown).ok().and_then(words) else {
            self.is_unreadable = true;
            return;
        };
        let pairs = words.iter().zip(words.iter().skip(1));
        let given: Vec<String> = pairs
            .filter_map(|(flag, value)| given(flag, value))
            .collect();
        if given.is_empty() {
            return;
        }
        let package = self.package_of(&words);
        for argument in given {
            self.take(&package, argument.len(), |found| {
                found.arguments.insert(argument);
            });
        }
    }

    /// Takes the variables that a build script set for the compiler of its package.
    pub(super) fn take_variables(&mut self, package: &str, variables: Vec<(String, String)>) {
        let known = self
            .metadata
            .packages
            .iter()
            .find(|known| known.id == package);
        let package = known.map_or_else(|| package.to_owned(), |package| package.spec());
        for (name, value) in variables
            .into_iter()
            .filter(|(name, _)| is_linker_variable(name))
        {
            self.take(&package, name.len() + value.len(), |found| {
                found.environment.insert(name, value);
            });
        }
    }

    /// Returns the records, sorted by package.
    ///
    /// # Errors
    /// There are more arguments than a statement records, or some could not be read.
    pub fn records(self) -> Result<Vec<LinkRecord>, CargoError> {
        if self.is_unreadable {
            return Err(CargoError::Commands);
        }
        if self.bytes > MAX_LINK_BYTES {
            return Err(CargoError::LinkArguments {
                limit: MAX_LINK_BYTES,
            });
        }
        let found = self.found.into_iter();
        Ok(found
            .map(|(package, found)| LinkRecord {
                package,
                arguments: found.arguments.into_iter().collect(),
                environment: found.environment,
            })
            .collect())
    }

    /// Counts `bytes`, and keeps nothing more once the limit is exceeded.
    fn take(&mut self, package: &str, bytes: usize, keep: impl FnOnce(&mut Found)) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MAX_LINK_BYTES {
            keep(self.found.entry(package.to_owned()).or_default());
        }
    }

    /// Returns the package of the crate that a command compiles; the crate's name if no package is
    /// known for it.
    fn package_of(&self, words: &[String]) -> String {
        let after = |flag: &str| {
            words
                .iter()
                .position(|word| word == flag)
                .and_then(|at| words.get(at + 1))
        };
        let name = after("--crate-name").map_or("", String::as_str);
        let source = words
            .iter()
            .find(|word| word.ends_with(".rs") && !word.starts_with('-'));
        let source = source.map(|source| Path::new(SOURCE).join(source));
        let package = source.and_then(|source| self.metadata.package_of(name, &source));
        package.map_or_else(|| name.to_owned(), |package| package.spec())
    }
}

/// Returns the argument that an option of rustc gives to the linker, unless it is only a library or
/// a directory that has libraries.
///
/// The value is the word after the option, or the rest of the option's own word.
fn given(flag: &str, value: &str) -> Option<String> {
    let of = |option: &str| {
        if flag == option {
            Some(value)
        } else {
            flag.strip_prefix(option)
        }
    };
    if let Some(option) = of("-C") {
        return OPTIONS
            .iter()
            .find_map(|start| option.strip_prefix(start))
            .map(str::to_owned);
    }
    if let Some(path) = of("-L") {
        let directory = SEARCH_KINDS
            .iter()
            .find_map(|kind| path.strip_prefix(kind))
            .unwrap_or(path);
        return is_search_path_an_argument(directory).then(|| directory.to_owned());
    }
    let name = of("-l")?.rsplit('=').next()?;
    Some(format!("-l{name}")).filter(|argument| can_displace_linker(argument))
}

/// Returns the words of a command as cargo prints it; `None` when a quote has no end.
///
/// A word that is not plain stands in single quotes; outside of them, a backslash precedes each
/// single quote and exclamation mark (`shell_escape`).
fn words(shown: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = shown.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => is_quoted = !is_quoted,
            '\\' if !is_quoted => word.push(characters.next()?),
            ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
            character => word.push(character),
        }
    }
    words.push(word);
    (!is_quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages":[{"id":"id","name":"my-app","version":"0.1.0","manifest_path":"/kettle/source/Cargo.toml",
        "targets":[{"name":"my-tool","kind":["bin"],"crate_types":["bin"],"src_path":"/kettle/source/src/main.rs"}]}],
        "workspace_default_members":["id"],"workspace_root":"/kettle/source"}"#;

    fn records(take: impl FnOnce(&mut Links<'_>)) -> Result<Vec<LinkRecord>, CargoError> {
        let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
        let mut links = Links::new(&metadata);
        take(&mut links);
        links.records()
    }

    #[test]
    fn arguments_are_read_as_cargo_shows_them() {
        let shown = br"--crate-name my_tool --edition=2021 src/main.rs -C opt-level=3 -C link-arg=-fuse-ld=x -C link-arg=-lm --cfg a -C 'link-arg=-Wl,-rpath,$ORIGIN/it'\''s x'\!'' -Clink-args=-lz -L x -C link-arg=-lm";
        let found = records(|links| links.take_command(shown)).unwrap();
        let arguments = ["-Wl,-rpath,$ORIGIN/it's x!", "-fuse-ld=x", "-lm", "-lz"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            found,
            [LinkRecord {
                package: "my-app@0.1.0".to_owned(),
                arguments,
                ..LinkRecord::default()
            }]
        );
    }

    /// GCC reads each argument that begins with `@` as a file of arguments, also after `-L`, which
    /// is how rustc passes on the directories that a build script names.
    #[test]
    fn folders_and_names_of_libraries_that_are_more_to_the_linker_are_recorded() {
        let shown = b"--crate-name my_tool src/main.rs -L dependency=/x -L native=@/x/arguments -L /y -Lnative=-B. \
            -l m -l static=x -l 'dylib:+verbatim=a\tb' -L 'native=/x y'";
        let found = records(|links| links.take_command(shown)).unwrap();
        assert_eq!(found[0].arguments, ["-B.", "-la\tb", "@/x/arguments"]);
        assert!(
            found[0]
                .arguments
                .iter()
                .all(|argument| can_displace_linker(argument))
        );
        let plain = b"--crate-name my_tool src/main.rs -L dependency=/x -L native=/kettle/target/out -l static=x -l c";
        assert_eq!(records(|links| links.take_command(plain)).unwrap(), []);
    }

    #[test]
    fn a_crate_that_nobody_knows_is_recorded_by_its_name() {
        for source in ["src/other.rs", "/elsewhere/src/main.rs"] {
            let shown = format!("--crate-name my_tool {source} -C link-arg=-B.");
            let found = records(|links| links.take_command(shown.as_bytes())).unwrap();
            assert_eq!(found[0].package, "my_tool");
        }
    }

    #[test]
    fn nothing_is_recorded_of_a_command_without_arguments_for_the_linker() {
        let shown =
            b"--crate-name my_tool src/main.rs -C linker=/usr/bin/cc -C metadata=x --cfg 'feature=\"-C link-arg=x\"'";
        assert_eq!(records(|links| links.take_command(shown)).unwrap(), []);
    }

    #[test]
    fn variables_that_lead_to_another_linker_are_recorded_and_no_others() {
        let variables = |name: &str| {
            vec![
                (name.to_owned(), "/x".to_owned()),
                ("VERSION".to_owned(), "1".to_owned()),
            ]
        };
        let found = records(|links| {
            links.take_variables("id", variables("COMPILER_PATH"));
            links.take_variables("other", variables("GIT_HASH"));
        });
        let found = found.unwrap();
        assert_eq!(
            (found.len(), found[0].package.as_str()),
            (1, "my-app@0.1.0")
        );
        assert_eq!(
            found[0].environment,
            BTreeMap::from([("COMPILER_PATH".to_owned(), "/x".to_owned())])
        );
    }

    #[test]
    fn what_cannot_be_read_or_is_too_much_fails() {
        for shown in [&b"--crate-name 'x"[..], b"--crate-name \xff", b"x \\"] {
            assert!(matches!(
                records(|links| links.take_command(shown)),
                Err(CargoError::Commands)
            ));
        }
        let much = format!(
            "--crate-name x y.rs -C link-arg={}",
            "x".repeat(MAX_LINK_BYTES)
        );
        let twice = |links: &mut Links<'_>| {
            links.take_command(much.as_bytes());
            links.take_command(b"--crate-name x y.rs -C link-arg=y");
        };
        assert!(matches!(
            records(twice),
            Err(CargoError::LinkArguments { .. })
        ));
    }
}
