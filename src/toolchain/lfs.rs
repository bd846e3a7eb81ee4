//! Finds files that git LFS keeps elsewhere.
//!
//! * In: a directory of files as git has them.
//! * Out: the first file that is only a pointer to the real one.
//! * Never: a link that is followed.
//!
//! A pointer is text of up to 1,024 bytes with one `KEY VALUE` a line, `version` first (git-lfs,
//! `docs/spec.md`).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The size of the largest pointer, in bytes.
const MAX_POINTER_BYTES: u64 = 1024;

/// The first line of a pointer.
const VERSION: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// The beginning of the line of a pointer that names the real file.
const OBJECT: &[u8] = b"oid sha256:";

/// Returns the path, below `root`, of the first pointer in it.
///
/// # Errors
/// The directory, or a file in it, cannot be read.
pub(super) fn first_pointer(root: &Path) -> io::Result<Option<PathBuf>> {
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let file_type = entry.file_type()?;
            if file_type.is_dir() {
                directories.push(path);
            } else if file_type.is_file() && is_pointer(&entry)? {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

fn is_pointer(entry: &fs::DirEntry) -> io::Result<bool> {
    let bytes = entry.metadata()?.len();
    if bytes < VERSION.len() as u64 || bytes > MAX_POINTER_BYTES {
        return Ok(false);
    }
    let mut content = Vec::new();
    File::open(entry.path())?
        .take(MAX_POINTER_BYTES)
        .read_to_end(&mut content)?;
    let is_object = |line: &[u8]| line.starts_with(OBJECT);
    Ok(content.starts_with(VERSION) && content.split(|&byte| byte == b'\n').any(is_object))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";

    #[test]
    fn a_pointer_is_found_and_nothing_like_it() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        fs::create_dir(directory.path().join("assets")).unwrap();
        write("a", &POINTER[..40]);
        write("b", &POINTER.replace("oid", "id"));
        write("c", &format!("{POINTER}{}", " ".repeat(1024)));
        write("d", &format!("see {POINTER}"));
        assert_eq!(first_pointer(directory.path()).unwrap(), None);
        std::os::unix::fs::symlink("/", directory.path().join("link")).unwrap();
        write("assets/model", POINTER);
        assert_eq!(
            first_pointer(directory.path()).unwrap(),
            Some(PathBuf::from("assets/model"))
        );
    }
}
