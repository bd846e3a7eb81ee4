//! Where what comes out is put.
//!
//! - Comes in: the directory of `--out`.
//! - Goes out: the bundle and its files, once it is accepted; a rejected bundle under a name that
//!   says so.
//! - Never: an artifact of a bundle that was not accepted, or a file over another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use kettle::bundle::names;

/// What a bundle is called until it is accepted.
const UNFINISHED_BUNDLE: &str = ".unfinished.tar.gz";

/// Where it is unpacked meanwhile.
const UNFINISHED_FILES: &str = ".unfinished";

/// What a rejected bundle is called.
const REJECTED_BUNDLE: &str = "rejected.tar.gz";

/// Whoever may execute a file.
const EXECUTABLE_BITS: u32 = 0o111;

/// Why files cannot be put there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum PlaceError {
    #[error("{path} is not empty: say another --out, or remove what is in it")]
    NotEmpty { path: PathBuf },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("the bundle cannot be unpacked")]
    Unpack(#[source] io::Error),
}

/// A directory that is ours.
#[derive(Debug)]
pub struct Place {
    out: PathBuf,
    is_new: bool,
}

/// The files of an accepted bundle.
#[derive(Debug)]
pub struct Placed {
    /// The bundle as it was downloaded.
    pub bundle: PathBuf,
    /// What it unpacks to.
    pub folder: PathBuf,
    /// The artifacts.
    pub artifacts: Vec<PathBuf>,
}

impl Placed {
    /// Returns all paths as text.
    pub fn shown(&self) -> Vec<String> {
        let paths = [&self.bundle].into_iter().chain(&self.artifacts);
        paths.map(|path| path.display().to_string()).collect()
    }
}

impl Place {
    /// Makes the directory, unless it is there and empty.
    pub fn reserve(out: &Path) -> Result<Self, PlaceError> {
        let failed = |source| PlaceError::Write {
            path: out.to_owned(),
            source,
        };
        let is_new = !out.exists();
        fs::create_dir_all(out).map_err(failed)?;
        if fs::read_dir(out).map_err(failed)?.next().is_some() {
            return Err(PlaceError::NotEmpty {
                path: out.to_owned(),
            });
        }
        Ok(Self {
            out: out.to_owned(),
            is_new,
        })
    }

    /// Returns where the bundle is until it is accepted.
    pub fn unfinished_bundle(&self) -> PathBuf {
        self.out.join(UNFINISHED_BUNDLE)
    }

    /// Opens the file that the bundle is downloaded to.
    pub fn file(&self) -> Result<File, PlaceError> {
        let path = self.unfinished_bundle();
        let mut options = File::options();
        let opened = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        opened.map_err(|source| PlaceError::Write { path, source })
    }

    /// Unpacks the bundle, and gives everything its name.
    pub fn accept(&self) -> Result<Placed, PlaceError> {
        let (bundle, unfinished) = (self.unfinished_bundle(), self.out.join(UNFINISHED_FILES));
        let unpacked = unpack(&bundle, &unfinished).map_err(PlaceError::Unpack)?;
        let top = unpacked.top.as_str();
        let placed = Placed {
            bundle: self.out.join(format!("{top}.tar.gz")),
            folder: self.out.join(top),
            artifacts: unpacked
                .files
                .iter()
                .filter(|path| path.starts_with(names::ARTIFACTS))
                .map(|path| self.out.join(top).join(path))
                .collect(),
        };
        for (from, to) in [
            (unfinished.join(top), &placed.folder),
            (bundle, &placed.bundle),
        ] {
            let failed = |source| PlaceError::Write {
                path: to.clone(),
                source,
            };
            fs::rename(from, to).map_err(failed)?;
        }
        Ok(placed)
    }

    /// Gives the bundle a name that says what it is.
    pub fn reject(&self) -> Result<PathBuf, PlaceError> {
        let path = self.out.join(REJECTED_BUNDLE);
        let renamed = fs::rename(self.unfinished_bundle(), &path);
        renamed
            .map(|()| path.clone())
            .map_err(|source| PlaceError::Write { path, source })
    }
}

impl Drop for Place {
    /// Leaves nothing unfinished, and no empty directory of its own.
    fn drop(&mut self) {
        // What is not there cannot be removed, which is as well.
        let _ = fs::remove_file(self.unfinished_bundle());
        let _ = fs::remove_dir_all(self.out.join(UNFINISHED_FILES));
        if self.is_new {
            let _ = fs::remove_dir(&self.out);
        }
    }
}

/// What was unpacked.
pub struct Unpacked {
    /// The bundle's top folder.
    pub top: String,
    /// The files below it.
    pub files: Vec<PathBuf>,
}

/// The top directory of a bundle's entry, and the path below it; none where either is missing or is not plain.
fn place_of(path: &Path) -> Option<(String, PathBuf)> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !path.components().all(is_plain) {
        return None;
    }
    let mut parts = path.iter();
    let top = parts.next()?.to_str()?.to_owned();
    let below: PathBuf = parts.collect();
    (!below.as_os_str().is_empty()).then_some((top, below))
}

/// Unpacks a bundle that `kettle::bundle::read` has accepted into the new folder `into`.
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
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_file = entry.header().entry_type() == tar::EntryType::Regular;
        let Some((top, below)) = place_of(&path).filter(|_| is_file) else {
            return Err(io::Error::other(format!("{} has no place", path.display())));
        };
        let target = into.join(&path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let is_executable = entry.header().mode()? & EXECUTABLE_BITS != 0;
        let mode = if is_executable { 0o755 } else { 0o644 };
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&target)?;
        io::copy(&mut entry, &mut file)?;
        unpacked.top = top;
        unpacked.files.push(below);
    }
    Ok(unpacked)
}
