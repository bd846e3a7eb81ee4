//! Finds the toolchain of a host.
//!
//! * In: the host's `PATH`.
//! * Out: a [`Toolchain`].
//! * Never: a launcher that chooses a compiler later; rustup's proxies are resolved here.
//!
//! `rustc --print sysroot` runs with the machine's own environment, outside the sandbox and before
//! any job: the machine's owner decides which toolchain this is.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::presence::is_file;

use super::{FindToolchainError, Toolchain};

/// Why the host has no toolchain.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No directory of `PATH` has the program.
    #[error("{program} is not in PATH")]
    NotInPath {
        /// The name of the missing program.
        program: &'static str,
    },
    /// `rustc` did not print the path of its sysroot.
    #[error("`rustc --print sysroot` failed: {message}")]
    Sysroot {
        /// The standard error of `rustc`.
        message: String,
    },
    /// `rustc` could not be started, or a path could not be resolved.
    #[error("the toolchain's path could not be resolved")]
    Io(#[from] io::Error),
    /// The sysroot that was found cannot be used as the toolchain.
    #[error(transparent)]
    Found(#[from] FindToolchainError),
}

impl Toolchain {
    /// Returns the toolchain that the first `rustc` of `PATH` belongs to.
    ///
    /// # Errors
    /// A program is missing, or `rustc` does not print the path of its sysroot.
    pub fn search() -> Result<Self, SearchError> {
        let sysroot = sysroot_of(&in_path("rustc")?)?;
        Ok(Self::find(&sysroot)?)
    }

    /// Records that the machine now has the toolchain at `path` (a private mount).
    ///
    /// A toolchain that is part of the system keeps its path.
    #[must_use]
    pub fn seen_at(mut self, path: PathBuf) -> Self {
        if self.mount().is_some() {
            self.machine_sysroot = path;
        }
        self
    }
}

fn in_path(program: &'static str) -> Result<PathBuf, SearchError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for candidate in std::env::split_paths(&path).map(|folder| folder.join(program)) {
        match is_file(&candidate) {
            Ok(true) => return Ok(candidate),
            // A program in a directory that cannot be searched could not be started either:
            // shells skip the directory too.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Err(SearchError::NotInPath { program })
}

fn sysroot_of(rustc: &Path) -> Result<PathBuf, SearchError> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .current_dir("/")
        .output()?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || !Path::new(&sysroot).is_absolute() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(SearchError::Sysroot { message });
    }
    Ok(Path::new(&sysroot).canonicalize()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Access;

    #[test]
    fn a_system_toolchain_is_used_in_place() {
        let system = Toolchain::test_only_at("/usr").seen_at("/elsewhere".into());
        assert_eq!(system.mount(), None);
        assert_eq!(system.program("rustc"), "/usr/bin/rustc");
        assert_eq!(system.path_variable(), "/usr/bin:/bin");
    }

    #[test]
    fn another_toolchain_is_mounted_where_the_machine_has_it_now() {
        let other = Toolchain::test_only_at("/home/x/stable").seen_at("/private".into());
        let mount = other.mount().unwrap();
        assert_eq!(
            (mount.source.as_path(), mount.access),
            (Path::new("/private"), Access::ReadOnly)
        );
        assert_eq!(other.program("cargo"), "/toolchain/bin/cargo");
        assert_eq!(other.path_variable(), "/toolchain/bin:/usr/bin:/bin");
    }
}
