//! Finds the toolchain, once, when the service starts.
//!
//! * In: a sysroot.
//! * Out: a [`Toolchain`] whose programs have absolute paths.
//! * Never: a launcher that chooses a compiler later.

use std::io;
use std::path::{Path, PathBuf};

use crate::presence::{first_file, is_file};
use crate::sandbox::{Access, Mount};

use super::listed::ListedDigests;
use super::nix::Nix;

/// Mount point, in the sandbox, of a sysroot that is not part of the system.
const TOOLCHAIN: &str = "/toolchain";

/// The directory that every sandbox sees at its own path.
const SYSTEM: &str = "/usr";

/// Why a sysroot cannot be used as the toolchain.
#[derive(Debug, thiserror::Error)]
pub enum FindToolchainError {
    /// The sysroot lacks a program.
    #[error("the toolchain in {} has no bin/{program}", sysroot.display())]
    Incomplete {
        /// The directory that was searched.
        sysroot: PathBuf,
        /// The name of the missing program.
        program: &'static str,
    },
    /// The system lacks the C compiler, the linker or git.
    #[error("{program} is missing: a C compiler, a linker and git are needed")]
    NoTool {
        /// The name of the missing program.
        program: &'static str,
    },
    /// The file system failed while the path was resolved or a program was looked up.
    #[error("the toolchain's path could not be resolved")]
    Io(#[from] io::Error),
}

/// A Rust toolchain, together with the system's C compiler, linker and git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    sysroot: PathBuf,
    pub(super) machine_sysroot: PathBuf,
    git: PathBuf,
    nix: Option<Nix>,
    listed: ListedDigests,
}

impl Toolchain {
    /// Returns the toolchain in `sysroot`, with the system's C compiler, linker and git.
    ///
    /// # Errors
    /// A program is missing, or a path cannot be resolved.
    pub fn find(sysroot: &Path) -> Result<Self, FindToolchainError> {
        let machine_sysroot = sysroot.canonicalize()?;
        for program in ["rustc", "cargo"] {
            if !is_file(&machine_sysroot.join("bin").join(program))? {
                return Err(FindToolchainError::Incomplete {
                    sysroot: machine_sysroot,
                    program,
                });
            }
        }
        for program in ["cc", "ld"] {
            if !is_file(&Path::new("/usr/bin").join(program))? {
                return Err(FindToolchainError::NoTool { program });
            }
        }
        let git = first_file(["/usr/bin/git", "/usr/local/bin/git"].map(PathBuf::from))?
            .ok_or(FindToolchainError::NoTool { program: "git" })?;
        Ok(Self {
            sysroot: in_sandbox(&machine_sysroot),
            machine_sysroot,
            git,
            nix: None,
            listed: ListedDigests::default(),
        })
    }

    /// Adds a nix, which builds flakes, to the toolchain.
    #[must_use]
    pub fn with_nix(mut self, nix: Nix) -> Self {
        self.nix = Some(nix);
        self
    }

    /// Adds the digests that a measured root lists: its files are not hashed again.
    #[must_use]
    pub fn with_digests(mut self, listed: ListedDigests) -> Self {
        self.listed = listed;
        self
    }

    /// Returns the digests of files that need not be hashed.
    pub(crate) fn listed(&self) -> &ListedDigests {
        &self.listed
    }

    /// Returns the nix that builds flakes, if there is one.
    pub fn nix(&self) -> Option<&Nix> {
        self.nix.as_ref()
    }

    /// Returns the path of the sysroot on this machine.
    pub fn machine_sysroot(&self) -> &Path {
        &self.machine_sysroot
    }

    /// Returns the path of a program of the sysroot, as the sandbox sees it.
    pub fn program(&self, name: &str) -> String {
        self.sysroot
            .join("bin")
            .join(name)
            .to_string_lossy()
            .into_owned()
    }

    /// Returns the path of `git`, as the sandbox sees it.
    pub fn git(&self) -> String {
        self.git.to_string_lossy().into_owned()
    }

    /// Returns the value of `PATH` in the sandbox.
    pub fn path_variable(&self) -> String {
        match self.mount() {
            Some(_) => format!("{TOOLCHAIN}/bin:/usr/bin:/bin"),
            None if self.sysroot == Path::new(SYSTEM) => "/usr/bin:/bin".to_owned(),
            None => format!("{}/bin:/usr/bin:/bin", self.sysroot.display()),
        }
    }

    /// Returns the mount that shows a sandbox the toolchain; `None` when it is part of the system.
    pub fn mount(&self) -> Option<Mount> {
        (self.sysroot == Path::new(TOOLCHAIN)).then(|| Mount {
            source: self.machine_sysroot.clone(),
            target: self.sysroot.clone(),
            access: Access::ReadOnly,
        })
    }
}

/// Returns the path at which the sandbox sees a sysroot of this machine.
fn in_sandbox(machine_sysroot: &Path) -> PathBuf {
    if machine_sysroot.starts_with(SYSTEM) {
        machine_sysroot.to_owned()
    } else {
        PathBuf::from(TOOLCHAIN)
    }
}

#[cfg(test)]
impl Toolchain {
    /// Returns a toolchain that exists nowhere, for comparing plans.
    pub(super) fn test_only_at(machine_sysroot: &str) -> Self {
        let machine_sysroot = PathBuf::from(machine_sysroot);
        Self {
            sysroot: in_sandbox(&machine_sysroot),
            machine_sysroot,
            git: PathBuf::from("/usr/bin/git"),
            nix: None,
            listed: ListedDigests::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_cargo_is_no_toolchain() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = Toolchain::find(folder.path()).unwrap_err();
        assert!(
            matches!(
                refusal,
                FindToolchainError::Incomplete {
                    program: "rustc",
                    ..
                }
            ),
            "{refusal}"
        );
    }
}
