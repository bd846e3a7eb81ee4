//! Reads the directory of an image, as `scripts/build-image` leaves it.
//!
//! - In: the directory.
//! - Out: the paths of its files, the command line, and the page of kernel hashes.
//! - Never: a reference value: what the image should measure is the verifier's knowledge.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use kettle::snp::measurement::{KernelHashesPage, LaunchError};

use super::super::launch::{self, InputError};

/// Longest command line, in bytes. Linux on x86 takes 2047 (`COMMAND_LINE_SIZE`).
const MAX_COMMAND_LINE_BYTES: u64 = 2047;

/// Why an image cannot be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ImageError {
    #[error("{path} cannot be read: --image takes a directory as scripts/build-image makes it")]
    Open { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("the command line in {path} is not one line of text")]
    CommandLine { path: PathBuf },
    #[error("{path} cannot boot this kernel measured")]
    Page { path: PathBuf, source: LaunchError },
}

/// The files of an image, by absolute paths.
#[derive(Debug)]
pub struct Image {
    /// The firmware.
    pub firmware: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd with PID 1.
    pub initrd: PathBuf,
    /// The root file system.
    pub root: PathBuf,
    /// The kernel's command line, exactly.
    pub command_line: String,
    command_line_file: PathBuf,
}

impl Image {
    /// Opens each file of the image once, so that a missing one is found before anything starts.
    ///
    /// # Errors
    /// A file is missing or cannot be read.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let directory = directory
            .canonicalize()
            .map_err(|source| ImageError::Open {
                path: directory.to_owned(),
                source,
            })?;
        let file = |name: &str| {
            let path = directory.join(name);
            match File::open(&path) {
                Ok(_) => Ok(path),
                Err(source) => Err(ImageError::Open { path, source }),
            }
        };
        let command_line_file = file("cmdline")?;
        Ok(Self {
            firmware: file("firmware.fd")?,
            kernel: file("kernel")?,
            initrd: file("initrd")?,
            root: file("root.img")?,
            command_line: command_line(&command_line_file)?,
            command_line_file,
        })
    }

    /// Makes the page of kernel hashes that a launch with SEV-SNP would have put in place.
    ///
    /// # Errors
    /// The files cannot be read, or the firmware does not measure a kernel.
    pub fn kernel_hashes(&self) -> Result<KernelHashesPage, ImageError> {
        let (firmware, boot) = launch::of_files(
            &self.firmware,
            &self.kernel,
            &self.initrd,
            &self.command_line_file,
        )?;
        KernelHashesPage::new(&firmware, &boot).map_err(|source| ImageError::Page {
            path: self.firmware.clone(),
            source,
        })
    }
}

/// Reads the command line as QEMU's option takes it: one line, without control characters.
fn command_line(path: &Path) -> Result<String, ImageError> {
    let bytes = launch::read(path, MAX_COMMAND_LINE_BYTES, "MAX_COMMAND_LINE_BYTES")?;
    let text = String::from_utf8(bytes).ok();
    text.filter(|text| !text.chars().any(char::is_control))
        .ok_or_else(|| ImageError::CommandLine {
            path: path.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["firmware.fd", "kernel", "initrd", "root.img", "cmdline"];
        for name in names {
            fs::write(directory.path().join(name), "a b=c").unwrap();
        }
        let image = Image::open(directory.path()).unwrap();
        assert_eq!(image.command_line, "a b=c");
        for name in names {
            let path = directory.path().join(name);
            fs::rename(&path, path.with_extension("away")).unwrap();
            let error = Image::open(directory.path()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            fs::rename(path.with_extension("away"), &path).unwrap();
        }
    }

    #[test]
    fn a_command_line_of_two_lines_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmdline");
        for content in ["a\n", "a\0", "a\tb"] {
            fs::write(&path, content).unwrap();
            let refused = command_line(&path);
            assert!(matches!(refused, Err(ImageError::CommandLine { .. })));
        }
    }
}
