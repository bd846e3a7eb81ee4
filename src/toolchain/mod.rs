//! Builds a source tree with the toolchain that its lockfile, or its client, names.
//!
//! * In: a [`SourceTree`], and the [`Options`] that the client chose.
//! * Out: [`Built`], the artifacts and everything that provenance says about how they came to be.
//! * Never: a process that is not a plan given to the sandbox, or a dependency whose bytes were not
//!   compared with the lockfile.
//!
//! The order of the stages is in their types:
//!
//! ```
//! use kettle::source::SourceTree;
//! use kettle::toolchain::{Attempt, Built, Context, Log, Options, ToolchainError};
//! use kettle::toolchain::{build, detect, fetch};
//!
//! async fn build_tree(
//!     tree: SourceTree,
//!     context: &Context<'_>,
//!     log: &mut dyn Log,
//! ) -> Result<Built, ToolchainError> {
//!     let has_nix = context.toolchain.nix().is_some();
//!     let mut detected = detect(tree, Options::default(), has_nix)?;
//!     loop {
//!         let fetched = fetch(detected, context, log).await?;
//!         match build(fetched, context, log).await? {
//!             Attempt::Built(built) => return Ok(*built),
//!             Attempt::GivesWay(cargo) => detected = *cargo,
//!         }
//!     }
//! }
//! ```
//!
//! Without the fetch, which checks the dependencies, there is no build:
//!
//! ```compile_fail,E0308
//! use kettle::toolchain::{Context, Detected, Log, build};
//!
//! async fn skip_the_fetch(detected: Detected, context: &Context<'_>, log: &mut dyn Log) {
//!     let built = build(detected, context, log).await;
//! }
//! ```
//!
//! What was fetched is built once:
//!
//! ```compile_fail,E0382
//! use kettle::toolchain::{Context, Fetched, Log, build};
//!
//! async fn build_again(fetched: Fetched, context: &Context<'_>, log: &mut dyn Log) {
//!     let built = build(fetched, context, log).await;
//!     let again = build(fetched, context, log).await;
//! }
//! ```

mod artifact;
pub mod cargo;
mod complaint;
mod detect;
mod error;
mod exit;
mod lfs;
pub mod libraries;
mod lines;
mod listed;
mod locate;
mod measure;
pub mod nix;
pub mod options;
#[cfg(feature = "host")]
mod search;
mod untrusted;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blocking::blocking;
use crate::digest::Sha256Digest;
pub use crate::provenance::Commands;
use crate::provenance::{LibraryRecord, LinkRecord, OutputRecord, ResourceDescriptor};
use crate::sandbox::{Run, Stream};
use crate::source::SourceTree;

pub use artifact::{ARTIFACTS_FOLDER, MAX_ARTIFACTS_BYTES};
pub use detect::{DetectError, Detected, check, detect};
pub use error::{Phase, ToolchainError};
pub use listed::ListedDigests;
pub use locate::{FindToolchainError, Toolchain};
pub use measure::{Part, Versions};
pub use options::Options;
#[cfg(feature = "host")]
pub use search::SearchError;

/// The longest time that fetching the dependencies may take.
pub const FETCH_TIME: Duration = Duration::from_secs(20 * 60);

/// The longest time that a build may take.
pub const BUILD_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// The kind of a project, which is the toolchain that builds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A project with a `Cargo.lock`.
    Cargo,
    /// A flake with a `flake.lock`.
    Nix,
}

impl Kind {
    /// Returns the name of the toolchain, as clients choose it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Nix => "nix",
        }
    }

    /// Returns the name of the lockfile of such a project.
    const fn lockfile(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo.lock",
            Self::Nix => "flake.lock",
        }
    }

    /// Returns the other one of the two toolchains.
    const fn other(self) -> Self {
        match self {
            Self::Cargo => Self::Nix,
            Self::Nix => Self::Cargo,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A source tree with every dependency that it locks, checked: the receipt of [`fetch`].
///
/// ```compile_fail,E0423
/// use kettle::toolchain::Fetched;
///
/// let fetched = Fetched(todo!());
/// ```
#[derive(Debug)]
pub struct Fetched(FetchedBy);

#[derive(Debug)]
enum FetchedBy {
    Cargo(cargo::Fetched),
    Nix(nix::Fetched),
}

/// Fetches and checks what the lockfile names, with a network for the last time.
///
/// # Errors
/// The lockfile or an option cannot be used, or a dependency cannot be fetched or is not what the
/// lockfile says.
pub async fn fetch(
    detected: Detected,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Fetched, ToolchainError> {
    refuse_pointers(detected.tree.root()).await?;
    Ok(Fetched(match detected.kind() {
        Kind::Cargo => FetchedBy::Cargo(cargo::fetch(detected, context, log).await?),
        Kind::Nix => FetchedBy::Nix(nix::fetch(detected, context, log).await?),
    }))
}

/// Refuses a source with a file that git LFS keeps elsewhere: the build would take the pointer for
/// the file.
async fn refuse_pointers(root: &Path) -> Result<(), ToolchainError> {
    let root = root.to_owned();
    match blocking(move || lfs::first_pointer(&root)).await? {
        Some(path) => Err(ToolchainError::pointer(&path, None)),
        None => Ok(()),
    }
}

/// The end of a build that did not fail.
#[derive(Debug)]
pub enum Attempt {
    /// The build has made artifacts.
    Built(Box<Built>),
    /// The flake has no default package, and the same source is a project for cargo.
    GivesWay(Box<Detected>),
}

/// Builds, and copies what was made.
///
/// # Errors
/// The build failed, or made nothing that can be delivered.
pub async fn build(
    fetched: Fetched,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Attempt, ToolchainError> {
    match fetched.0 {
        FetchedBy::Cargo(fetched) => {
            let built = cargo::build(fetched, context, log).await?;
            Ok(Attempt::Built(Box::new(built)))
        }
        FetchedBy::Nix(fetched) => nix::build(fetched, context, log).await,
    }
}

/// A receiver of the lines that a client sees while the work is done; an error ends the job.
pub trait Log {
    /// Takes a line of the appliance's own, without its end.
    ///
    /// # Errors
    /// The line cannot be kept.
    fn note(&mut self, line: &str) -> io::Result<()>;

    /// Takes the next bytes that a tool printed: any length, cut anywhere.
    ///
    /// # Errors
    /// The bytes cannot be kept.
    fn output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()>;
}

/// Wall-clock limits of the phases that can be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest time of the fetch phase.
    pub fetch: Duration,
    /// The longest time of the build, and of packing a library.
    pub build: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fetch: FETCH_TIME,
            build: BUILD_TIME,
        }
    }
}

/// The values that every step of a job needs.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The sandbox that runs commands.
    pub runner: &'a dyn Run,
    /// The programs that build projects.
    pub toolchain: &'a Toolchain,
    /// The job's directory on this machine, which exists. Further directories are created in it.
    pub folder: &'a Path,
    /// The wall-clock limits of the phases.
    pub limits: Limits,
}

/// A file that the build made, in a directory that no sandbox sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The name, relative to `artifacts/` and `/`-separated.
    pub name: String,
    /// The path of the copy on this machine.
    pub path: PathBuf,
    /// The digest of the copy's bytes.
    pub sha256: Sha256Digest,
    /// The size of the copy, in bytes.
    pub size: u64,
    /// Whether anybody may execute it: mode 0755, else 0644.
    pub executable: bool,
}

/// A program that took part in the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The name, for instance `rustc`.
    pub name: String,
    /// The version line as the tool prints it.
    pub version: String,
    /// The digest of the file that ran.
    pub sha256: Sha256Digest,
}

/// The result of a build, after everything that took part in it is dead: the receipt of [`build`].
///
/// It can be read, and only this room can make one:
///
/// ```
/// fn names(built: &kettle::toolchain::Built) -> Vec<&str> {
///     built.artifacts().iter().map(|artifact| &*artifact.name).collect()
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn smuggle(built: &mut kettle::toolchain::Built, artifact: kettle::toolchain::Artifact) {
///     built.artifacts.push(artifact);
/// }
/// ```
///
/// ```compile_fail,E0451
/// use kettle::toolchain::Built;
///
/// let built = Built {
///     tree: todo!(),
///     kind: todo!(),
///     artifacts: todo!(),
///     libraries: todo!(),
///     link_arguments: todo!(),
///     imported: todo!(),
///     outputs: todo!(),
///     lockfile: todo!(),
///     dependencies: todo!(),
///     commands: todo!(),
///     environment: todo!(),
///     network: todo!(),
/// };
/// ```
#[derive(Debug)]
pub struct Built {
    tree: SourceTree,
    kind: Kind,
    artifacts: Vec<Artifact>,
    libraries: Vec<LibraryRecord>,
    link_arguments: Vec<LinkRecord>,
    imported: Vec<String>,
    outputs: Vec<OutputRecord>,
    lockfile: Lockfile,
    dependencies: Vec<ResourceDescriptor>,
    commands: Commands,
    environment: BTreeMap<String, String>,
    network: Vec<&'static str>,
}

impl Built {
    /// Returns the source that it was built from.
    pub fn tree(&self) -> &SourceTree {
        &self.tree
    }

    /// Returns the toolchain that built it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the artifacts: sorted by name, and at least one.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    /// Returns the shared libraries that the artifacts need when they start; none for a flake.
    pub fn libraries(&self) -> &[LibraryRecord] {
        &self.libraries
    }

    /// Returns what build scripts gave to the linker.
    pub fn link_arguments(&self) -> &[LinkRecord] {
        &self.link_arguments
    }

    /// Returns the recipes from which the evaluation of a flake imported, sorted; none for cargo.
    pub fn imported(&self) -> &[String] {
        &self.imported
    }

    /// Returns the outputs of a flake, from which the artifacts were taken; none for cargo.
    pub fn outputs(&self) -> &[OutputRecord] {
        &self.outputs
    }

    /// Returns the lockfile as it was used.
    pub fn lockfile(&self) -> &Lockfile {
        &self.lockfile
    }

    /// Returns every dependency that the build used, without the source itself.
    pub fn dependencies(&self) -> &[ResourceDescriptor] {
        &self.dependencies
    }

    /// Returns the commands that were run.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Returns every variable that the build saw, with its value.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Returns the phases that had a network.
    pub fn network(&self) -> &[&'static str] {
        &self.network
    }

    /// Returns the files, when everything else was recorded.
    pub fn into_files(self) -> (Vec<Artifact>, Lockfile) {
        (self.artifacts, self.lockfile)
    }
}

/// The lockfile as it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockfile {
    /// The name: `Cargo.lock` or `flake.lock`.
    pub name: &'static str,
    /// The bytes of the file.
    pub bytes: Vec<u8>,
}

impl Lockfile {
    /// Reads a lockfile at the top of a source tree. Of one over the limit, it reads one byte more
    /// than the limit.
    fn read(root: &Path, name: &'static str, limit: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(root.join(name))?
            .take(limit + 1)
            .read_to_end(&mut bytes)?;
        Ok(Self { name, bytes })
    }
}

#[cfg(test)]
pub(crate) mod test_only {
    use super::*;
    use crate::provenance::{BUILT, sha256_set};

    /// A log that keeps everything.
    #[derive(Default)]
    pub struct Recorded {
        pub notes: Vec<String>,
        pub output: Vec<u8>,
    }

    /// What `kind` made of `tree`, as far as a statement says it: the same each time, and nothing
    /// of it is empty.
    pub fn built(tree: SourceTree, kind: Kind) -> Built {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let artifact = |name: &str, executable| Artifact {
            name: name.to_owned(),
            path: PathBuf::from("/nonexistent"),
            sha256: Sha256Digest::of(name.as_bytes()),
            size: 7,
            executable,
        };
        let dependency = ResourceDescriptor {
            name: Some("dependency".to_owned()),
            uri: Some("pkg:cargo/dependency@1.0.0".to_owned()),
            digest: sha256_set(&Sha256Digest::of(b"dependency")),
            annotations: BTreeMap::from([("checked".to_owned(), true.into())]),
        };
        let output = OutputRecord {
            name: "out".to_owned(),
            path: "/nix/store/00000000000000000000000000000000-hello".to_owned(),
            digest: sha256_set(&Sha256Digest::of(b"output")),
            realised: BUILT,
            copied_from: words("/nix/store/11111111111111111111111111111111-download"),
        };
        let link = LinkRecord {
            package: "hello@0.1.0".to_owned(),
            arguments: words("-lz -pie"),
            environment: BTreeMap::from([("COMPILER_PATH".to_owned(), "/elsewhere".to_owned())]),
        };
        let library = LibraryRecord {
            name: "libz.so.1".to_owned(),
            package: Some("zlib1g".to_owned()),
            version: Some("1:1.3.1".to_owned()),
        };
        Built {
            tree,
            kind,
            artifacts: vec![artifact("hello", true), artifact("data/words", false)],
            libraries: vec![library],
            link_arguments: vec![link],
            imported: Vec::new(),
            outputs: vec![output],
            lockfile: Lockfile {
                name: "Cargo.lock",
                bytes: b"version = 4\n".to_vec(),
            },
            dependencies: vec![dependency],
            commands: Commands {
                fetch: words("cargo vendor"),
                evaluate: words("nix eval"),
                substitute: words("nix build --max-jobs 0"),
                build: words("cargo build --release"),
                package: words("cargo package"),
            },
            environment: BTreeMap::from([("HOME".to_owned(), "/home".to_owned())]),
            network: vec!["fetch", "daemon"],
        }
    }

    impl Log for Recorded {
        fn note(&mut self, line: &str) -> io::Result<()> {
            self.notes.push(line.to_owned());
            Ok(())
        }

        fn output(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<()> {
            self.output.extend_from_slice(bytes);
            Ok(())
        }
    }
}
