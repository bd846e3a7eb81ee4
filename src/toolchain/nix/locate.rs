//! Finds nix, once, when the service starts.
//!
//! * In: the root of a system that has nix, and a directory with its configuration.
//! * Out: [`Nix`].
//! * Never: a configuration of the machine's users, or one that was not read when the service
//!   started.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::presence::is_file;
use crate::sandbox::{Access, Mount};

use super::key::{TrustedKeys, TrustedKeysError};

/// The programs that are required in `/usr/bin`: the client, the daemon, and the one that adds
/// inputs to the store.
const PROGRAMS: [&str; 3] = ["nix", "nix-daemon", "nix-store"];

/// The files of the configuration: settings, and the users that builders run as.
pub(super) const CONFIGURATION: [&str; 3] = ["nix.conf", "passwd", "group"];

/// The directory of nix's configuration, below the root of its system.
pub const CONFIGURATION_DIRECTORY: &str = "etc/nix";

/// The setting that lists the keys whose signatures count.
const KEYS: &str = "trusted-public-keys";

/// Why nix cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FindNixError {
    /// The system lacks a program.
    #[error("the system in {} has no usr/bin/{program}", root.display())]
    NoProgram {
        /// The root that was searched.
        root: PathBuf,
        /// The name of the missing program.
        program: &'static str,
    },
    /// A program could not be looked up.
    #[error("cannot use {}", path.display())]
    Look {
        /// The path of the program.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// The configuration cannot be read.
    #[error("nix's configuration {} cannot be read", path.display())]
    Configuration {
        /// The path of the file.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// A trusted key cannot be read.
    #[error("{KEYS} in nix.conf cannot be used")]
    Keys(#[from] TrustedKeysError),
}

/// A nix that can be used: 2.34.8 or newer.
///
/// Older versions do not know the format that the ledger requests, and have published faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nix {
    root: PathBuf,
    configuration: PathBuf,
    keys: TrustedKeys,
}

impl Nix {
    /// Returns the nix of the system in `root`, with the directory `configuration` in place of its
    /// `/etc/nix`.
    ///
    /// # Errors
    /// A program is missing, or the configuration cannot be used.
    pub fn find(root: &Path, configuration: &Path) -> Result<Self, FindNixError> {
        for program in PROGRAMS {
            let path = root.join("usr/bin").join(program);
            if !is_file(&path).map_err(|source| FindNixError::Look { path, source })? {
                return Err(FindNixError::NoProgram {
                    root: root.to_owned(),
                    program,
                });
            }
        }
        // The other files are read too: a service whose configuration is incomplete does not start.
        let mut settings = String::new();
        for name in CONFIGURATION {
            let path = configuration.join(name);
            settings = match fs::read_to_string(&path) {
                Ok(text) if name == CONFIGURATION[0] => text,
                Ok(_) => settings,
                Err(source) => return Err(FindNixError::Configuration { path, source }),
            };
        }
        let keys = TrustedKeys::parse(setting(&settings, KEYS))?;
        Ok(Self {
            root: root.to_owned(),
            configuration: configuration.to_owned(),
            keys,
        })
    }

    /// Returns the directory of the configuration on this machine.
    pub(super) fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Returns the path on this machine of a file of the system, by its absolute path there.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Returns the keys whose signatures count.
    pub(super) fn keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Returns the mounts that every sandbox with nix has.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let see = |source: PathBuf, target: &str| Mount::new(source, target, Access::ReadOnly);
        let system = (!self.is_the_machines()).then(|| see(self.root.join("usr"), "/usr"));
        system
            .into_iter()
            .chain([see(self.configuration.clone(), "/etc/nix")])
            .collect()
    }

    /// Returns whether nix is part of this machine's own system.
    fn is_the_machines(&self) -> bool {
        self.root == Path::new("/")
    }
}

#[cfg(feature = "host")]
impl Nix {
    /// Returns the paths on this machine of the system that has nix, and of its configuration.
    pub fn places(&self) -> [&Path; 2] {
        [&self.root, &self.configuration]
    }

    /// Records that the machine now has the system and the configuration at other paths (private
    /// mounts).
    ///
    /// The machine's own system keeps its path.
    #[must_use]
    pub fn seen_at(mut self, root: PathBuf, configuration: PathBuf) -> Self {
        if !self.is_the_machines() {
            self.root = root;
        }
        self.configuration = configuration;
        self
    }
}

/// Returns the value of the last line that sets `name`, as nix reads it; empty if none does.
fn setting<'a>(text: &'a str, name: &str) -> &'a str {
    let mut last = "";
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        if let Some((left, value)) = line.split_once('=')
            && left.trim() == name
        {
            last = value.trim();
        }
    }
    last
}

#[cfg(test)]
impl Nix {
    /// Returns a nix that exists nowhere, for comparing plans.
    pub(super) fn test_only_at(root: &str, configuration: &str) -> Self {
        Self {
            root: root.into(),
            configuration: configuration.into(),
            keys: TrustedKeys::parse("").unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_nix_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = Nix::find(folder.path(), folder.path()).unwrap_err();
        assert!(
            matches!(refusal, FindNixError::NoProgram { program: "nix", .. }),
            "{refusal}"
        );
    }

    #[test]
    fn a_configuration_without_users_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        for program in PROGRAMS {
            fs::write(folder.path().join("usr/bin").join(program), "").unwrap();
        }
        fs::write(folder.path().join("nix.conf"), "").unwrap();
        let refusal = Nix::find(folder.path(), folder.path()).unwrap_err();
        assert!(
            matches!(refusal, FindNixError::Configuration { .. }),
            "{refusal}"
        );
    }

    #[test]
    fn the_last_line_of_a_setting_counts_and_comments_do_not() {
        let text = "keys = a:b # c:d\n# keys = e\nother = x\nkeys=f:g=\n";
        assert_eq!(setting(text, "keys"), "f:g=");
        assert_eq!(setting(text, "none"), "");
    }

    #[test]
    fn the_machines_own_nix_needs_no_other_system() {
        let targets = |nix: &Nix| {
            nix.mounts()
                .into_iter()
                .map(|mount| mount.target)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            targets(&Nix::test_only_at("/", "/etc/nix")),
            [Path::new("/etc/nix")]
        );
        assert_eq!(
            targets(&Nix::test_only_at("/r", "/c")),
            [Path::new("/usr"), Path::new("/etc/nix")]
        );
    }
}
