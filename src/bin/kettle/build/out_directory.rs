//! Manages the directory of `--out`.
//!
//! * In: the directory, and the bundle that is downloaded.
//! * Out: the bundle and its files once it is accepted, or a rejected bundle under a name that says
//!   so.
//! * Never: an artifact of a bundle that was not accepted, or a file that replaces another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use kettle::bundle::names;

/// The name of the bundle until it is accepted.
const UNFINISHED_BUNDLE: &str = ".unfinished.tar.gz";

/// The directory that it is unpacked to before its files get their names.
const UNFINISHED_FILES: &str = ".unfinished";

/// The name of a rejected bundle.
const REJECTED_BUNDLE: &str = "rejected.tar.gz";

/// The bits of a mode that let the owner, the group or others execute a file.
const EXECUTABLE_BITS: u32 = 0o111;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum OutDirectoryError {
    #[error("{path} is not empty: name another --out, or remove what is in it")]
    NotEmpty { path: PathBuf },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("the bundle cannot be unpacked")]
    Unpack(#[source] io::Error),
}

/// A directory that was empty or missing before. What is unfinished is removed on drop.
#[derive(Debug)]
pub struct OutDirectory {
    out: PathBuf,
    is_new: bool,
}

/// The files of an accepted bundle.
#[derive(Debug)]
pub struct PlacedFiles {
    /// The path of the bundle as it was downloaded.
    pub bundle: PathBuf,
    /// The directory that it was unpacked to.
    pub directory: PathBuf,
    /// The paths of the artifacts.
    pub artifacts: Vec<PathBuf>,
}

impl PlacedFiles {
    /// Returns the paths of the bundle and of the artifacts as text.
    pub fn shown(&self) -> Vec<String> {
        let mut shown = vec![self.bundle.display().to_string()];
        for artifact in &self.artifacts {
            shown.push(artifact.display().to_string());
        }
        shown
    }
}

impl OutDirectory {
    /// Creates the directory, unless it exists and is empty. What a run left that was killed does
    /// not count, and is removed.
    pub fn reserve(out: &Path) -> Result<Self, OutDirectoryError> {
        let failed = |source| OutDirectoryError::Write {
            path: out.to_owned(),
            source,
        };
        let is_new = !out.exists();
        fs::create_dir_all(out).map_err(failed)?;
        let is_unfinished = |entry: &fs::DirEntry| {
            [UNFINISHED_BUNDLE, UNFINISHED_FILES]
                .iter()
                .any(|name| entry.file_name() == *name)
        };
        let entries: Vec<_> = fs::read_dir(out)
            .and_then(Iterator::collect)
            .map_err(failed)?;
        if entries.iter().all(is_unfinished) {
            remove_unfinished(out);
        } else {
            return Err(OutDirectoryError::NotEmpty {
                path: out.to_owned(),
            });
        }
        Ok(Self {
            out: out.to_owned(),
            is_new,
        })
    }

    /// Returns the path of the bundle until it is accepted.
    pub fn unfinished_bundle(&self) -> PathBuf {
        self.out.join(UNFINISHED_BUNDLE)
    }

    /// Opens the file that the bundle is downloaded to.
    pub fn file(&self) -> Result<File, OutDirectoryError> {
        let path = self.unfinished_bundle();
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|source| OutDirectoryError::Write { path, source })
    }

    /// Unpacks the bundle and gives the bundle and the directory their final names.
    pub fn accept(&self) -> Result<PlacedFiles, OutDirectoryError> {
        let (bundle, unfinished) = (self.unfinished_bundle(), self.out.join(UNFINISHED_FILES));
        let unpacked = unpack(&bundle, &unfinished).map_err(OutDirectoryError::Unpack)?;
        let top = unpacked.top.as_str();
        let directory = self.out.join(top);
        let mut artifacts = Vec::new();
        for path in &unpacked.files {
            if path.starts_with(names::ARTIFACTS) {
                artifacts.push(directory.join(path));
            }
        }
        let placed = PlacedFiles {
            bundle: self.out.join(format!("{top}.tar.gz")),
            directory,
            artifacts,
        };
        rename(&unfinished.join(top), &placed.directory)?;
        rename(&bundle, &placed.bundle)?;
        Ok(placed)
    }

    /// Gives the bundle a name that says that it was rejected. Returns its path.
    pub fn reject(&self) -> Result<PathBuf, OutDirectoryError> {
        let path = self.out.join(REJECTED_BUNDLE);
        rename(&self.unfinished_bundle(), &path)?;
        Ok(path)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), OutDirectoryError> {
    fs::rename(from, to).map_err(|source| OutDirectoryError::Write {
        path: to.to_owned(),
        source,
    })
}

impl Drop for OutDirectory {
    /// Removes what is unfinished, and the directory if it is new and empty.
    fn drop(&mut self) {
        remove_unfinished(&self.out);
        if self.is_new {
            let _ = fs::remove_dir(&self.out);
        }
    }
}

fn remove_unfinished(out: &Path) {
    // Some of these do not exist; then there is nothing to remove.
    let _ = fs::remove_file(out.join(UNFINISHED_BUNDLE));
    let _ = fs::remove_dir_all(out.join(UNFINISHED_FILES));
}

/// The names of the files that were unpacked.
pub struct Unpacked {
    /// The name of the bundle's top directory.
    pub top: String,
    /// The paths of the files below it.
    pub files: Vec<PathBuf>,
}

/// Divides the path of a bundle's entry into the top directory and the path below it. Returns
/// `None` if either is missing or is not plain.
fn split_top(path: &Path) -> Option<(String, PathBuf)> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !path.components().all(is_plain) {
        return None;
    }
    let mut parts = path.iter();
    let top = parts.next()?.to_str()?.to_owned();
    let below: PathBuf = parts.collect();
    (!below.as_os_str().is_empty()).then_some((top, below))
}

/// Unpacks a bundle that `kettle::bundle::read` has accepted into the new directory `into`.
///
/// # Errors
/// A file cannot be written, or an entry is not a file below a directory.
pub fn unpack(bundle: &Path, into: &Path) -> io::Result<Unpacked> {
    fs::create_dir(into)?;
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(bundle)?));
    let mut unpacked = Unpacked {
        top: String::new(),
        files: Vec::new(),
    };
    for result in archive.entries()? {
        let mut entry = result?;
        let path = entry.path()?.into_owned();
        let is_file = entry.header().entry_type() == tar::EntryType::Regular;
        let Some((top, below)) = split_top(&path).filter(|_| is_file) else {
            let message = format!("{} is not a file below a directory", path.display());
            return Err(io::Error::other(message));
        };
        let is_executable = entry.header().mode()? & EXECUTABLE_BITS != 0;
        write_file(&into.join(&path), is_executable, &mut entry)?;
        unpacked.top = top;
        unpacked.files.push(below);
    }
    Ok(unpacked)
}

/// Writes a new file, with its directories if they do not exist yet.
fn write_file(path: &Path, is_executable: bool, content: &mut impl io::Read) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mode = if is_executable { 0o755 } else { 0o644 };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    io::copy(content, &mut file)?;
    Ok(())
}
