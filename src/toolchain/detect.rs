//! Finds out which toolchain builds a project.
//!
//! * In: the directory of the project, and the options that the client chose.
//! * Out: [`Detected`].
//! * Never: another toolchain than the one that the client chose, or an option that no tool would
//!   get.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::presence::there;
use crate::source::SourceTree;

use super::{Kind, Options};

/// The largest number of projects below a directory that a refusal names.
const MAX_NAMED_PROJECTS: usize = 8;

/// The largest number of directories that are searched for them.
const MAX_SEARCHED_DIRECTORIES: usize = 1000;

/// The depth down to which they are searched for.
const MAX_SEARCHED_DEPTH: usize = 4;

/// The reason why no toolchain builds a project.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The source has neither lockfile.
    #[error(
        "the source has neither a Cargo.lock nor a flake.lock{}{}",
        .link.map(not_followed).unwrap_or_default(),
        elsewhere(.projects)
    )]
    NoLockfile {
        /// A toolchain whose lockfile is there, as a symbolic link.
        link: Option<Kind>,
        /// The first directories below it that have a lockfile.
        projects: Vec<String>,
    },
    /// The lockfile of the chosen toolchain is missing.
    #[error(
        "the source has no {}, which toolchain={kind} needs; it has {}",
        .kind.lockfile(),
        .kind.other().lockfile()
    )]
    OtherLockfile {
        /// The toolchain that was chosen.
        kind: Kind,
    },
    /// An option is given that only the other toolchain knows.
    #[error(
        "{option} is for {}, and {kind} builds this source{}",
        .kind.other(),
        if *.has_both { ": with a flake.lock beside Cargo.lock, choose with toolchain" } else { "" }
    )]
    OtherOption {
        /// The option, by its name in the API.
        option: &'static str,
        /// The toolchain that builds the source.
        kind: Kind,
        /// Whether the source has both lockfiles.
        has_both: bool,
    },
    /// The tools of a toolchain are missing.
    #[error("the source is a {0} project, and this appliance has no {0}")]
    Unsupported(Kind),
    /// The lockfiles could not be looked for.
    #[error("the lockfiles could not be looked for")]
    Io(#[from] io::Error),
}

fn not_followed(kind: Kind) -> String {
    format!(
        " ({} is a symbolic link, and links are not followed)",
        kind.lockfile()
    )
}

fn elsewhere(projects: &[String]) -> String {
    if projects.is_empty() {
        return String::new();
    }
    let projects: Vec<_> = projects.iter().map(|path| format!("{path:?}")).collect();
    format!(
        " at its top; below it, path can be {}",
        projects.join(" or ")
    )
}

/// The lockfiles that a directory has. Only regular files count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lockfiles {
    cargo: bool,
    nix: bool,
}

impl Lockfiles {
    fn of(root: &Path) -> io::Result<Self> {
        let has = |kind: Kind| {
            let found = there(root.join(kind.lockfile()).symlink_metadata())?;
            Ok::<_, io::Error>(found.is_some_and(|found| found.is_file()))
        };
        Ok(Self {
            cargo: has(Kind::Cargo)?,
            nix: has(Kind::Nix)?,
        })
    }

    fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Cargo => self.cargo,
            Kind::Nix => self.nix,
        }
    }

    /// Returns the toolchain that comes first: nix, on a machine that has it.
    fn first(self, has_nix: bool) -> Option<Kind> {
        match (self.nix, self.cargo) {
            (true, true) if !has_nix => Some(Kind::Cargo),
            (true, _) => Some(Kind::Nix),
            (false, true) => Some(Kind::Cargo),
            (false, false) => None,
        }
    }
}

/// Returns the toolchain of the project in the directory `root`, on a machine with nix or without.
fn choose(root: &Path, options: &Options, has_nix: bool) -> Result<(Kind, Lockfiles), DetectError> {
    let lockfiles = Lockfiles::of(root)?;
    let Some(first) = lockfiles.first(has_nix) else {
        let is_link = |kind: &Kind| root.join(kind.lockfile()).is_symlink();
        return Err(DetectError::NoLockfile {
            link: [Kind::Cargo, Kind::Nix].into_iter().find(is_link),
            projects: projects_below(root),
        });
    };
    let kind = options.toolchain.unwrap_or(first);
    if !lockfiles.has(kind) {
        return Err(DetectError::OtherLockfile { kind });
    }
    match options.first_not_for(kind) {
        Some(option) => Err(DetectError::OtherOption {
            option,
            kind,
            has_both: lockfiles.has(kind.other()),
        }),
        None => Ok((kind, lockfiles)),
    }
}

/// Checks that a toolchain builds the project in the directory `root`, on a machine that has both.
///
/// # Errors
/// There is no lockfile that is known or chosen, or an option is given that no tool would get.
pub fn check(root: &Path, options: &Options) -> Result<(), DetectError> {
    choose(root, options, true).map(drop)
}

/// A source tree with the toolchain that will build it: the receipt of [`detect`].
///
/// ```compile_fail,E0451
/// use kettle::toolchain::Detected;
///
/// let detected = Detected { tree: todo!(), kind: todo!(), options: todo!(), gives_way: todo!() };
/// ```
#[derive(Debug)]
pub struct Detected {
    pub(super) tree: SourceTree,
    pub(super) kind: Kind,
    pub(super) options: Options,
    /// Whether cargo builds the project where its flake turns out to have no default package.
    pub(super) gives_way: bool,
}

impl Detected {
    /// Returns the toolchain that will build it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the same project for cargo, to which its flake gives way.
    pub(super) fn for_cargo(tree: SourceTree, options: Options) -> Self {
        Self {
            tree,
            kind: Kind::Cargo,
            options,
            gives_way: false,
        }
    }
}

/// Finds out which toolchain builds `tree`, on a machine with nix or without.
///
/// # Errors
/// There is no lockfile that is known or chosen, an option is given that no tool would get, or the
/// file system fails.
pub fn detect(tree: SourceTree, options: Options, has_nix: bool) -> Result<Detected, DetectError> {
    let (kind, lockfiles) = choose(tree.root(), &options, has_nix)?;
    if kind == Kind::Nix && !has_nix {
        return Err(DetectError::Unsupported(kind));
    }
    let is_first = options.toolchain.is_none() && options.nix == Default::default();
    Ok(Detected {
        tree,
        kind,
        gives_way: kind == Kind::Nix && lockfiles.cargo && is_first,
        options,
    })
}

/// Returns the directories below `root` that have a lockfile, nearest first. One that cannot be
/// read counts as having none.
fn projects_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = VecDeque::from([(PathBuf::new(), 0)]);
    let mut searched = 0;
    while let Some((relative, depth)) = queue.pop_front() {
        searched += 1;
        if searched > MAX_SEARCHED_DIRECTORIES || found.len() == MAX_NAMED_PROJECTS {
            break;
        }
        let directory = root.join(&relative);
        let lockfiles = Lockfiles::of(&directory);
        if lockfiles.is_ok_and(|lockfiles| lockfiles.first(true).is_some()) {
            found.extend(relative.to_str().map(str::to_owned));
            continue;
        }
        if depth < MAX_SEARCHED_DEPTH {
            let below = directories(&directory).into_iter();
            queue.extend(below.map(|name| (relative.join(name), depth + 1)));
        }
    }
    found
}

/// The names of the directories in one, sorted.
fn directories(directory: &Path) -> Vec<std::ffi::OsString> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let is_directory =
        |entry: &fs::DirEntry| entry.file_type().is_ok_and(|file_type| file_type.is_dir());
    let entries = entries
        .filter_map(Result::ok)
        .take(MAX_SEARCHED_DIRECTORIES);
    let mut names: Vec<_> = entries
        .filter(is_directory)
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::options::{Attribute, ItemName};

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    fn detected(
        files: &[&str],
        options: &Options,
        has_nix: bool,
    ) -> Result<(Kind, bool), DetectError> {
        let directory = directory(files);
        let tree = SourceTree::test_only_from_directory(directory.path().to_owned()).unwrap();
        let detected = detect(tree, options.clone(), has_nix)?;
        Ok((detected.kind, detected.gives_way))
    }

    fn choosing(kind: Kind) -> Options {
        Options {
            toolchain: Some(kind),
            ..Options::default()
        }
    }

    const BOTH: [&str; 2] = ["Cargo.lock", "flake.lock"];

    #[test]
    fn nix_comes_first_and_gives_way_to_cargo_unless_it_was_chosen() {
        let none = Options::default();
        let of = |files: &[&str], options: &Options| detected(files, options, true).unwrap();
        assert_eq!(of(&["Cargo.lock"], &none), (Kind::Cargo, false));
        assert_eq!(of(&["flake.lock"], &none), (Kind::Nix, false));
        assert_eq!(of(&BOTH, &none), (Kind::Nix, true));
        assert_eq!(of(&BOTH, &choosing(Kind::Nix)), (Kind::Nix, false));
        assert_eq!(of(&BOTH, &choosing(Kind::Cargo)), (Kind::Cargo, false));
        let mut attribute = Options::default();
        attribute.nix.attribute = Attribute::parse("x").ok();
        assert_eq!(of(&BOTH, &attribute), (Kind::Nix, false));
    }

    #[test]
    fn on_a_machine_without_nix_cargo_builds_at_once() {
        let none = Options::default();
        assert_eq!(detected(&BOTH, &none, false).unwrap(), (Kind::Cargo, false));
        for (files, options) in [(&["flake.lock"][..], none), (&BOTH, choosing(Kind::Nix))] {
            assert!(matches!(
                detected(files, &options, false),
                Err(DetectError::Unsupported(Kind::Nix))
            ));
        }
    }

    #[test]
    fn a_chosen_toolchain_needs_its_lockfile() {
        for (files, kind) in [(["Cargo.lock"], Kind::Nix), (["flake.lock"], Kind::Cargo)] {
            let refusal = check(directory(&files).path(), &choosing(kind)).unwrap_err();
            assert!(
                matches!(refusal, DetectError::OtherLockfile { .. }),
                "{refusal}"
            );
        }
    }

    #[test]
    fn an_option_of_the_other_toolchain_is_refused_by_name() {
        let mut options = Options::default();
        options.cargo.features = Some(vec![ItemName::parse("x").unwrap()]);
        assert!(check(directory(&["Cargo.lock"]).path(), &options).is_ok());
        let refusal = check(directory(&BOTH).path(), &options).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "features is for cargo, and nix builds this source: with a flake.lock beside \
             Cargo.lock, choose with toolchain"
        );
        options.toolchain = Some(Kind::Cargo);
        assert!(check(directory(&BOTH).path(), &options).is_ok());
    }

    #[test]
    fn a_source_without_a_lockfile_at_its_top_is_told_where_one_is() {
        let directory = directory(&["a/Cargo.lock", "a/b/Cargo.lock", "c/d/flake.lock", "README"]);
        let refusal = check(directory.path(), &Options::default()).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the source has neither a Cargo.lock nor a flake.lock at its top; below it, path can be \
             \"a\" or \"c/d\""
        );
    }
}
