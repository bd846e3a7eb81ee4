//! Copies a directory tree of files, directories and links.
//!
//! * In: a directory that a sandbox could write.
//! * Out: a copy with modes reduced to 0644 and 0755, links as they are, and the same time for
//!   every file.
//! * Never: a device, a FIFO, a `.git` at any depth, which no tree id would cover, or more than the
//!   limits.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::FileType;

use crate::source::plain_file;
use crate::source::tree::is_git;
use crate::toolchain::untrusted::Untrusted;

/// The most bytes that one copy may have.
const MAX_COPY_BYTES: u64 = 2 << 30;

/// The most files, directories and links in one copy.
const MAX_COPY_FILES: usize = 200_000;

/// The most levels of directories in a copy.
const MAX_COPY_DEPTH: usize = 64;

/// Copies the content of `source` into the directory `target`, except the names `left_out` at its
/// top.
pub(super) fn directory(
    source: &Untrusted,
    target: &Path,
    left_out: &[&str],
    epoch: u64,
) -> io::Result<()> {
    Copy {
        left_out,
        epoch,
        files: 0,
        bytes: 0,
    }
    .directory(source, target, 0)
}

struct Copy<'a> {
    left_out: &'a [&'a str],
    epoch: u64,
    files: usize,
    bytes: u64,
}

impl Copy<'_> {
    fn directory(&mut self, source: &Untrusted, target: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_COPY_DEPTH {
            return Err(refused("the directory is nested too deeply"));
        }
        for (name, kind) in source.entries()? {
            let left_out = depth == 0 && self.left_out.iter().any(|left_out| name == *left_out);
            if left_out || is_git(name.as_bytes()) {
                continue;
            }
            self.files += 1;
            if self.files > MAX_COPY_FILES {
                return Err(refused("the directory has too many files"));
            }
            self.entry(source, &name, kind, &target.join(&name), depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        source: &Untrusted,
        name: &OsStr,
        kind: FileType,
        target: &Path,
        depth: usize,
    ) -> io::Result<()> {
        match kind {
            FileType::Directory => {
                fs::create_dir(target)?;
                self.directory(&source.directory(name)?, target, depth + 1)
            }
            FileType::Symlink => symlink(source.link(name)?, target),
            _ => self.file(&source.file(name)?, target),
        }
    }

    fn file(&mut self, source: &File, target: &Path) -> io::Result<()> {
        let executable = source.metadata()?.permissions().mode() & 0o100 != 0;
        let mut target = plain_file::create(target, executable)?;
        let room = MAX_COPY_BYTES - self.bytes;
        self.bytes += io::copy(&mut source.take(room + 1), &mut target)?;
        if self.bytes > MAX_COPY_BYTES {
            return Err(refused("the directory is too large"));
        }
        plain_file::set_time(&target, self.epoch)
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn copies_all_but_what_is_left_out_at_the_top() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir(&to).unwrap();
        for name in ["out", "kept", "sub/out"] {
            fs::write(from.join(name), name).unwrap();
        }
        symlink("kept", from.join("link")).unwrap();
        directory(&Untrusted::open(&from).unwrap(), &to, &["out"], 7).unwrap();
        assert!(!to.join("out").exists());
        assert_eq!(fs::read(to.join("sub/out")).unwrap(), b"sub/out");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("kept"));
        assert_eq!(
            fs::metadata(to.join("kept")).unwrap().modified().unwrap(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(7)
        );
    }

    #[test]
    fn nothing_that_the_tree_id_leaves_out_is_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for hidden in [".git", ".Git", "sub/.git"] {
            fs::create_dir_all(from.path().join(hidden)).unwrap();
            fs::write(from.path().join(hidden).join("lib.rs"), "").unwrap();
        }
        fs::write(from.path().join("sub/lib.rs"), "").unwrap();
        directory(&Untrusted::open(from.path()).unwrap(), to.path(), &[], 0).unwrap();
        let names = |directory: &Path| Untrusted::open(directory).unwrap().names().unwrap();
        assert_eq!(
            (names(to.path()), names(&to.path().join("sub"))),
            (vec!["sub".into()], vec!["lib.rs".into()])
        );
    }

    #[test]
    fn refuses_a_fifo() {
        let scratch = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            scratch.path().join("fifo"),
            FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        let target = tempfile::tempdir().unwrap();
        let refusal = directory(
            &Untrusted::open(scratch.path()).unwrap(),
            target.path(),
            &[],
            0,
        )
        .unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidData);
    }
}
