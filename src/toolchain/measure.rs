//! Identifies the toolchain by the digests and the versions of its parts.
//!
//! * In: a [`Toolchain`].
//! * Out: the digest of each file that does the work, and the version line that each program
//!   prints in the sandbox.
//! * Never: the digest of a launcher in place of the program that it starts.
//!
//! | part | what is hashed |
//! |---|---|
//! | `rustc`, `cargo` | the program, links resolved |
//! | `librustc_driver…`, `libLLVM…` | the libraries that are the compiler, by file name |
//! | `rust-std` | `lib/rustlib/x86_64-unknown-linux-gnu`: the standard library, and a linker |
//! | `cc`, `cc1`, `collect2`, `as`, `ld`, `ar` | the system's C compiler and binutils |
//!
//! The digest of a directory is the SHA-256 of a text with one line for each file, sorted by path
//! in byte order: `SHA256  ./PATH`, two spaces between, as `sha256sum` prints it. Links to files
//! are read; other links have `link:TARGET` in place of the digest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Sha256Digest;
use crate::presence::{is_directory, is_file};
use crate::provenance::RUST_STD;
use crate::sandbox::{CommandSpec, OutputSink, Run, Stream};
use crate::source::output::Captured;

use super::cargo::probe;
use super::listed::ListedDigests;
use super::{Phase, Tool, Toolchain, ToolchainError};

/// The target that everything is built for; the appliance runs on it too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The directory in which distributions keep libraries.
const SYSTEM_LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// The directories in which gcc keeps its parts, each below a directory of its version.
const GCC_DIRECTORIES: [&str; 2] = [
    "/usr/libexec/gcc/x86_64-linux-gnu",
    "/usr/lib/gcc/x86_64-linux-gnu",
];

/// The most bytes that are kept of the version that a program prints.
const MAX_VERSION_BYTES: usize = 4096;

/// The program whose version line stands for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rustc,
    Cargo,
    Cc,
    As,
    Ld,
    Ar,
}

/// One part of the toolchain, with its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    name: String,
    family: Family,
    sha256: Sha256Digest,
}

/// The version lines, as the programs print them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    rustc: String,
    cargo: String,
    cc: String,
    r#as: String,
    ld: String,
    ar: String,
}

impl Versions {
    /// Returns the parts with their version lines, as provenance lists them.
    pub fn label(&self, parts: Vec<Part>) -> Vec<Tool> {
        let label = |part: Part| {
            let version = match part.family {
                Family::Rustc => &self.rustc,
                Family::Cargo => &self.cargo,
                Family::Cc => &self.cc,
                Family::As => &self.r#as,
                Family::Ld => &self.ld,
                Family::Ar => &self.ar,
            };
            Tool {
                name: part.name,
                version: version.clone(),
                sha256: part.sha256,
            }
        };
        parts.into_iter().map(label).collect()
    }
}

impl Toolchain {
    /// Runs each program in the sandbox to learn its version.
    ///
    /// # Errors
    /// A program cannot be run: the toolchain is not usable.
    pub async fn versions(&self, runner: &dyn Run) -> Result<Versions, ToolchainError> {
        Ok(Versions {
            rustc: version(probe(self, &self.program("rustc")), runner).await?,
            cargo: version(probe(self, &self.program("cargo")), runner).await?,
            cc: version(probe(self, "/usr/bin/cc"), runner).await?,
            r#as: version(probe(self, "/usr/bin/as"), runner).await?,
            ld: version(probe(self, "/usr/bin/ld"), runner).await?,
            ar: version(probe(self, "/usr/bin/ar"), runner).await?,
        })
    }

    /// Hashes every part of the toolchain.
    ///
    /// It reads some hundred megabytes: call it from a thread that may block.
    ///
    /// # Errors
    /// A part is missing or cannot be read.
    pub fn measure(&self) -> io::Result<Vec<Part>> {
        let (sysroot, hash) = (self.machine_sysroot(), Hash(self.listed()));
        let mut parts = vec![
            hash.part("rustc", Family::Rustc, &sysroot.join("bin/rustc"))?,
            hash.part("cargo", Family::Cargo, &sysroot.join("bin/cargo"))?,
        ];
        parts.extend(
            hash.compiler_libraries(&[sysroot.join("lib"), PathBuf::from(SYSTEM_LIBRARIES)])?,
        );
        parts.push(Part {
            name: RUST_STD.to_owned(),
            family: Family::Rustc,
            sha256: hash.directory(&sysroot.join("lib/rustlib").join(TARGET))?,
        });
        parts.extend(hash.system_parts()?);
        Ok(parts)
    }
}

/// Hashes files, or takes the digests that are listed.
struct Hash<'a>(&'a ListedDigests);

impl Hash<'_> {
    fn part(&self, name: &str, family: Family, path: &Path) -> io::Result<Part> {
        Ok(Part {
            name: name.to_owned(),
            family,
            sha256: self.0.file(path)?,
        })
    }

    /// Hashes the system's C compiler and binutils.
    fn system_parts(&self) -> io::Result<Vec<Part>> {
        let mut parts = vec![self.part("cc", Family::Cc, Path::new("/usr/bin/cc"))?];
        for name in ["cc1", "collect2"] {
            for path in gcc_program(name)? {
                parts.push(self.part(name, Family::Cc, &path)?);
            }
        }
        for (name, family) in [("as", Family::As), ("ld", Family::Ld), ("ar", Family::Ar)] {
            parts.push(self.part(name, family, &Path::new("/usr/bin").join(name))?);
        }
        Ok(parts)
    }

    /// Hashes the driver library, and each LLVM library beside it, of the first directory that has one.
    fn compiler_libraries(&self, directories: &[PathBuf]) -> io::Result<Vec<Part>> {
        for directory in directories {
            if !is_directory(directory)? {
                continue;
            }
            let drivers = named(directory, "librustc_driver-")?;
            if !drivers.is_empty() {
                let all = drivers.into_iter().chain(named(directory, "libLLVM")?);
                return all
                    .map(|(name, path)| self.part(&name, Family::Rustc, &path))
                    .collect();
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the compiler's driver library was not found",
        ))
    }

    /// Returns the digest of a directory, which the module documentation defines.
    fn directory(&self, root: &Path) -> io::Result<Sha256Digest> {
        let mut lines = Vec::new();
        self.list(root, Path::new("."), &mut lines)?;
        lines.sort();
        let text: String = lines
            .into_iter()
            .map(|(path, digest)| format!("{digest}  {path}\n"))
            .collect();
        Ok(Sha256Digest::of(text.as_bytes()))
    }

    /// Adds the path and the digest of each file at and below `root`/`below` to `lines`.
    fn list(&self, root: &Path, below: &Path, lines: &mut Vec<(String, String)>) -> io::Result<()> {
        for path in sorted(&root.join(below))? {
            let relative = below.join(path.file_name().unwrap_or_default());
            if path.symlink_metadata()?.is_dir() {
                self.list(root, &relative, lines)?;
                continue;
            }
            let digest = if is_file(&path)? {
                self.0.file(&path)?.to_string()
            } else {
                format!("link:{}", fs::read_link(&path)?.display())
            };
            lines.push((relative.to_string_lossy().into_owned(), digest));
        }
        Ok(())
    }
}

/// Returns the first line that a program prints about its version.
pub(super) async fn version(spec: CommandSpec, runner: &dyn Run) -> Result<String, ToolchainError> {
    let mut line = FirstLine(Captured::new(MAX_VERSION_BYTES));
    ToolchainError::of_exit(Phase::Inspect, runner.run(&spec, &mut line).await?)?;
    let text = String::from_utf8_lossy(line.0.bytes());
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

struct FirstLine(Captured);

impl OutputSink for FirstLine {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stdout {
            // Bytes after the limit do not belong to the first line.
            let _ = self.0.take(bytes);
        }
        Ok(())
    }
}

/// Returns name and path of each file in `directory` whose name begins with `start`, in order.
pub(super) fn named(directory: &Path, start: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for path in sorted(directory)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(start) && is_file(&path)? {
            found.push((name, path));
        }
    }
    Ok(found)
}

/// Returns the paths at which gcc keeps the program `name`, one for each of its versions.
fn gcc_program(name: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in GCC_DIRECTORIES.map(Path::new) {
        if !is_directory(directory)? {
            continue;
        }
        for version in sorted(directory)? {
            let path = version.join(name);
            if is_file(&path)? {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Returns the paths of everything in `directory`, sorted.
fn sorted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_digest_is_that_of_sha256sums_text() {
        let none = ListedDigests::default();
        let (hash, folder) = (Hash(&none), tempfile::tempdir().unwrap());
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/c"), "1").unwrap();
        fs::write(folder.path().join("a"), "2").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("z")).unwrap();
        let text = format!(
            "{}  ./a\n{}  ./b/c\nlink:nowhere  ./z\n",
            Sha256Digest::of(b"2"),
            Sha256Digest::of(b"1")
        );
        assert_eq!(
            hash.directory(folder.path()).unwrap(),
            Sha256Digest::of(text.as_bytes())
        );
        fs::write(folder.path().join("b/c"), "3").unwrap();
        assert_ne!(
            hash.directory(folder.path()).unwrap(),
            Sha256Digest::of(text.as_bytes())
        );
    }

    #[test]
    fn a_compiler_without_its_driver_library_is_not_measured() {
        let none = ListedDigests::default();
        let (hash, sysroot) = (Hash(&none), tempfile::tempdir().unwrap());
        assert!(
            hash.compiler_libraries(&[sysroot.path().to_owned()])
                .is_err()
        );
        fs::write(sysroot.path().join("librustc_driver-1.so"), "").unwrap();
        fs::write(sysroot.path().join("libLLVM.so.1"), "").unwrap();
        let parts = hash
            .compiler_libraries(&[PathBuf::from("/nowhere"), sysroot.path().to_owned()])
            .unwrap();
        assert_eq!(
            parts
                .iter()
                .map(|part| part.name.as_str())
                .collect::<Vec<_>>(),
            ["librustc_driver-1.so", "libLLVM.so.1"]
        );
    }

    #[test]
    fn every_part_gets_the_line_of_its_program() {
        let versions = Versions {
            rustc: "r".into(),
            cargo: "c".into(),
            cc: "g".into(),
            r#as: "a".into(),
            ld: "l".into(),
            ar: "x".into(),
        };
        let sha256 = Sha256Digest::of(b"");
        let part = |name: &str, family| Part {
            name: name.to_owned(),
            family,
            sha256,
        };
        let tools = versions.label(vec![
            part("rust-std", Family::Rustc),
            part("as", Family::As),
        ]);
        assert_eq!(
            tools[0],
            Tool {
                name: "rust-std".to_owned(),
                version: "r".to_owned(),
                sha256
            }
        );
        assert_eq!(tools[1].version, "a");
    }
}
