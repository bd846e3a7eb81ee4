//! What the targets for archives share.

use std::fs;
use std::path::Path;

use kettle::source::archive::unpack;

/// Unpacks `data`: no hostile archive looks like a fault of ours, and nothing appears outside of the given folder.
pub fn check(data: &[u8]) {
    let folder = tempfile::TempDir::new().expect("no temporary folder");
    let (archive, tree) = (folder.path().join("archive"), folder.path().join("tree"));
    fs::write(&archive, data).expect("the archive was not written");
    match unpack(&archive, Some("fuzz"), &tree) {
        Ok(unpacked) => check_folder(unpacked.root()),
        Err(error) => assert!(!error.is_fault(), "{error:?}"),
    }
    check_names(folder.path(), &["archive", "tree"]);
}

/// A folder has these entries and no others.
pub fn check_names(folder: &Path, expected: &[&str]) {
    for entry in fs::read_dir(folder).expect("the folder is gone") {
        let name = entry.expect("the folder cannot be read").file_name();
        assert!(
            expected.iter().any(|expected| name == *expected),
            "{name:?} appeared outside"
        );
    }
}

/// Only regular files, folders, and links that stay inside.
pub fn check_folder(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder cannot be read") {
        let path = entry.expect("a folder cannot be read").path();
        let found = fs::symlink_metadata(&path).expect("a file is gone");
        if found.is_dir() {
            check_folder(&path);
        } else if found.is_symlink() {
            let target = fs::read_link(&path).expect("a link cannot be read");
            assert!(target.is_relative(), "{path:?} leads to {target:?}");
        } else {
            assert!(found.is_file(), "{path:?} is {:?}", found.file_type());
        }
    }
}
