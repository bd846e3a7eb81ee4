//! The git tree id of a folder. Comes in: a folder of files, folders and links. Goes out: the id that git would give
//! it. Never: a claim of the folder about itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::digest::GitOid;

/// Why a folder has no tree id.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It could not be read.
    #[error("the folder could not be read")]
    Io(#[from] io::Error),
}

/// The tree id of the folder `root`; empty folders are left out, as git does.
///
/// # Errors
/// What the file system reports.
pub fn hash(root: &Path) -> Result<GitOid, TreeError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let path = entry.path();
        let found = entry.metadata()?;
        let name = entry.file_name().as_bytes().to_vec();
        if found.is_dir() {
            let id = hash(&path)?;
            if id != GitOid::of_object("tree", b"") {
                entries.push(([name.as_slice(), b"/"].concat(), "40000", name, id));
            }
        } else if found.is_symlink() {
            let id = GitOid::of_object("blob", fs::read_link(&path)?.as_os_str().as_bytes());
            entries.push((name.clone(), "120000", name, id));
        } else {
            let mode = if found.permissions().mode() & 0o100 != 0 { "100755" } else { "100644" };
            entries.push((name.clone(), mode, name, GitOid::of_blob(File::open(&path)?, found.len())?));
        }
    }
    entries.sort();
    let mut content = Vec::new();
    for (_, mode, name, id) in entries {
        content.extend_from_slice(mode.as_bytes());
        content.push(b' ');
        content.extend_from_slice(&name);
        content.push(0);
        content.extend_from_slice(id.as_bytes());
    }
    Ok(GitOid::of_object("tree", &content))
}
