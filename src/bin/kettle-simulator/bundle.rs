//! Packs a bundle for benchmarks, as the appliance would pack a directory.
//!
//! * In: a directory with the files of a bundle.
//! * Out: the archive, in the one encoding that a verifier accepts.
//! * Never: evidence about it, which `report` makes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kettle::bundle::{Entry, write};

/// Packs every file below `directory`, whose name becomes that of the top directory. All files get
/// the time `time`, in seconds since 1970.
pub fn pack(directory: &Path, time: u64, out: &Path) -> io::Result<()> {
    let top = directory.file_name().and_then(|name| name.to_str());
    let top = top.ok_or_else(|| not_text(directory))?;
    let mut entries = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(inner) = directories.pop() {
        for found in fs::read_dir(&inner)? {
            let path = found?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                entries.push(entry(directory, path)?);
            }
        }
    }
    let out = BufWriter::new(File::create(out)?);
    write(out, top, entries, time)?.flush()
}

fn entry(directory: &Path, path: PathBuf) -> io::Result<Entry<'static>> {
    let found = path.metadata()?;
    let name = path
        .strip_prefix(directory)
        .ok()
        .and_then(Path::to_str)
        .ok_or_else(|| not_text(&path))?;
    Ok(Entry {
        path: name.to_owned(),
        executable: found.permissions().mode() & 0o111 != 0,
        size: found.len(),
        recorded: None,
        content: Box::new(Unopened { path, file: None }),
    })
}

fn not_text(path: &Path) -> io::Error {
    let message = format!("{}: names in a bundle must be UTF-8", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// A file that is opened when it is read, because there may be more files than a process may open.
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
