//! Lets git read objects that another program fetched: cargo, for a git dependency.
//!
//! * In: a directory that a fetch phase left, and the path of a checkout in it.
//! * Out: commands of git on the objects of the checkout, or of a submodule in it.
//! * Never: a setting or an attribute of the repositories that the fetch phase left.

use std::fs;
use std::io;
use std::path::Path;

use super::RepositoryError;
use super::plan::{ATTRIBUTES, Git};
use crate::sandbox::paths::CARGO_HOME;
use crate::sandbox::{Access, Mount};

/// The objects of a checkout of cargo's: those of the commit are in `.git`, those of a submodule in
/// the `.git` at its path.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    /// The `CARGO_HOME` that the fetch phase left, on this machine.
    pub home: &'a Path,
    /// The path of the checkout below it.
    pub checkout: &'a Path,
}

impl Objects<'_> {
    /// Creates a bare repository in `directory` that has no objects of its own, and uses those at
    /// `prefix`.
    pub(super) fn git(&self, directory: &Path, prefix: &[String]) -> Result<Git, RepositoryError> {
        for name in ["info", "objects/info", "refs"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let mut objects = Path::new(CARGO_HOME).join(self.checkout);
        objects.extend(prefix);
        objects.push(".git/objects");
        let objects = objects.into_os_string().into_string();
        // Names of the tree were checked before: none has a line break.
        let objects = objects.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        for (name, content) in [
            ("HEAD", "ref: refs/heads/none\n"),
            ("info/attributes", ATTRIBUTES),
            ("objects/info/alternates", &format!("{objects}\n")),
        ] {
            fs::write(directory.join(name), content)?;
        }
        let home = Mount::new(self.home, CARGO_HOME, Access::ReadOnly);
        Ok(Git::new(directory)?.with(home))
    }

    /// Returns whether the fetch phase left a repository at `prefix`. What it left decides nothing
    /// else.
    pub(super) fn have(&self, prefix: &[String]) -> bool {
        let mut path = self.home.join(self.checkout);
        path.extend(prefix);
        path.join(".git").is_dir()
    }
}
