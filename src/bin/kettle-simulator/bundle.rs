//! A bundle for benchmarks: what the appliance would make of a folder.
//!
//! - Comes in: a folder with the files of a bundle.
//! - Goes out: the archive, in the one encoding that a verifier accepts.
//! - Never: evidence about it; `report` makes that.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kettle::bundle::{Entry, write};

/// Packs every file below `folder`, whose name is the top directory, with one time in seconds.
pub fn pack(folder: &Path, time: u64, out: &Path) -> io::Result<()> {
    let top = folder
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| no_text(folder))?;
    let mut entries = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for found in fs::read_dir(&inner)? {
            let path = found?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                entries.push(entry(folder, path)?);
            }
        }
    }
    let out = BufWriter::new(File::create(out)?);
    write(out, top, entries, time)?.flush()
}

fn entry(folder: &Path, path: PathBuf) -> io::Result<Entry<'static>> {
    let found = path.metadata()?;
    let name = path
        .strip_prefix(folder)
        .ok()
        .and_then(Path::to_str)
        .ok_or_else(|| no_text(&path))?;
    Ok(Entry {
        path: name.to_owned(),
        executable: found.permissions().mode() & 0o111 != 0,
        size: found.len(),
        recorded: None,
        content: Box::new(Unopened { path, file: None }),
    })
}

fn no_text(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{}: a bundle's names are text", path.display()),
    )
}

/// Opens its file when it is read: there are more files than a process may have open.
struct Unopened {
    path: PathBuf,
    file: Option<File>,
}

impl Read for Unopened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(File::open(&self.path)?);
        }
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        file.read(buffer)
    }
}
