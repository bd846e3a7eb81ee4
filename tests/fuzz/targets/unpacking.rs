//! Functions that the targets for archives share.

use std::fs;
use std::path::Path;

use kettle::source::archive::unpack;

/// Unpacks `data`: no hostile archive causes an internal error, and nothing appears outside the
/// given directory.
pub fn check(data: &[u8]) {
    let directory = tempfile::TempDir::new().expect("no temporary directory");
    let (archive, tree) = (
        directory.path().join("archive"),
        directory.path().join("tree"),
    );
    fs::write(&archive, data).expect("the archive was not written");
    match unpack(&archive, Some("fuzz"), &tree) {
        Ok(unpacked) => check_directory(unpacked.root()),
        Err(error) => assert!(!error.is_fault(), "{error:?}"),
    }
    check_names(directory.path(), &["archive", "tree"]);
}

/// Asserts that a directory has these entries and no others.
pub fn check_names(directory: &Path, expected: &[&str]) {
    for entry in fs::read_dir(directory).expect("the directory is gone") {
        let name = entry.expect("the directory cannot be read").file_name();
        assert!(
            expected.iter().any(|expected| name == *expected),
            "{name:?} appeared outside"
        );
    }
}

/// Asserts that a directory has only regular files, directories, and links that stay inside.
pub fn check_directory(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory cannot be read") {
        let path = entry.expect("a directory cannot be read").path();
        let found = fs::symlink_metadata(&path).expect("a file is gone");
        if found.is_dir() {
            check_directory(&path);
        } else if found.is_symlink() {
            let target = fs::read_link(&path).expect("a link cannot be read");
            assert!(target.is_relative(), "{path:?} leads to {target:?}");
        } else {
            assert!(found.is_file(), "{path:?} is {:?}", found.file_type());
        }
    }
}
