//! Reads a bundle.
//!
//! * In: bytes, or a directory, from anybody.
//! * Out: the two documents, and the digest of every other file.
//! * Never: a file written, a link followed, more memory than the limits allow, a file passed over,
//!   or an archive in another encoding than the writer's.

use std::fs::File;
use std::io::{BufRead, BufReader};
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

pub use super::MAX_PROVENANCE_BYTES;
pub use super::contents::{
    Bundle, HashedFile, MAX_BUNDLE_BYTES, MAX_BUNDLE_ENTRIES, MAX_BUNDLE_PATH_BYTES,
    MAX_BUNDLE_PATHS_BYTES, MAX_ENVELOPE_BYTES, MAX_EVIDENCE_BYTES, MAX_PAX_BYTES,
    MAX_UNPACKED_BYTES, ReadError,
};
use super::contents::{Contents, within};
#[cfg(not(target_family = "wasm"))]
use super::directory;
use super::stream;
use super::stream::Packed;
use crate::digest::Sha256Reader;

/// Reads a bundle as it was downloaded, or the directory into which it was unpacked.
///
/// # Errors
/// As [`archive`].
#[cfg(not(target_family = "wasm"))]
pub fn open(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() {
        directory(path)
    } else {
        archive(File::open(path).map_err(ReadError::Open)?)
    }
}

/// Reads a bundle like [`open`], and computes the digest that bundles are compared by.
///
/// # Errors
/// As [`archive`].
#[cfg(not(target_family = "wasm"))]
pub fn open_with_digest(path: &Path) -> Result<Bundle, ReadError> {
    if path.is_dir() {
        return directory(path);
    }
    let file = File::open(path).map_err(ReadError::Open)?;
    let size = file.metadata().map_err(ReadError::Open)?.len();
    within("the bundle", size, MAX_BUNDLE_BYTES, "MAX_BUNDLE_BYTES")?;
    stream_with_digest(BufReader::new(file))
}

/// Reads a bundle as it was downloaded: a gzip tar.
///
/// # Errors
/// The file is not a bundle within the limits.
pub fn archive(file: File) -> Result<Bundle, ReadError> {
    let size = file.metadata().map_err(ReadError::Open)?.len();
    stream_of_size(BufReader::new(file), size)
}

/// Reads a bundle like [`archive`], from a reader of so many bytes.
///
/// # Errors
/// As [`archive`].
pub fn stream_of_size(packed: impl BufRead, size: u64) -> Result<Bundle, ReadError> {
    within("the bundle", size, MAX_BUNDLE_BYTES, "MAX_BUNDLE_BYTES")?;
    stream(packed)
}

/// Reads a bundle like [`archive`], from any reader.
///
/// # Errors
/// As [`archive`].
pub fn stream(packed: impl BufRead) -> Result<Bundle, ReadError> {
    let mut packed = Packed::open(packed)?;
    let mut contents = Contents::default();
    stream::read(&mut packed, &mut contents)?;
    packed.end()?;
    contents.finish()
}

/// Reads a bundle like [`stream()`], with the digest of the tar stream.
///
/// # Errors
/// As [`archive`].
pub fn stream_with_digest(packed: impl BufRead) -> Result<Bundle, ReadError> {
    let mut packed = Packed::open(packed)?;
    let mut contents = Contents::default();
    let mut hashed = Sha256Reader::new(&mut packed);
    stream::read(&mut hashed, &mut contents)?;
    let (tar_sha256, _) = hashed.finish();
    packed.end()?;
    Ok(Bundle {
        tar_sha256: Some(tar_sha256),
        ..contents.finish()?
    })
}

/// Reads a bundle that was unpacked: the top directory, or the directory that contains only that.
///
/// # Errors
/// As [`archive`].
#[cfg(not(target_family = "wasm"))]
pub fn directory(path: &Path) -> Result<Bundle, ReadError> {
    let mut contents = Contents::default();
    directory::read(path, &mut contents)?;
    contents.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Read as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::bundle::{Entry, write};
    use crate::digest::Sha256Digest;

    fn packed(paths: &[&str]) -> Vec<u8> {
        write(
            Vec::new(),
            "p",
            paths
                .iter()
                .map(|path| Entry::of_bytes(*path, b"{}\n"))
                .collect(),
            0,
        )
        .unwrap()
    }

    fn unpacked(packed: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(packed))
            .unpack(directory.path())
            .unwrap();
        directory
    }

    #[test]
    fn reads_back_what_was_written() {
        let long = format!("artifacts/{}", "n".repeat(200));
        let bundle = stream(
            &packed(&[
                "provenance.json",
                "build.log",
                "build-config/Cargo.lock",
                &long,
            ])[..],
        )
        .unwrap();
        assert_eq!(
            (bundle.provenance.as_slice(), bundle.evidence),
            (&b"{}\n"[..], None)
        );
        assert_eq!(bundle.artifacts[0].name, long["artifacts/".len()..]);
        assert_eq!(bundle.artifacts[0].sha256, Sha256Digest::of(b"{}\n"));
        assert_eq!(
            (bundle.build_config.len(), bundle.log.unwrap().size),
            (1, 3)
        );
        assert_eq!((bundle.time, bundle.tar_sha256), (Some(0), None));
    }

    #[test]
    fn a_bundle_without_provenance_or_with_a_foreign_file_is_refused() {
        assert!(matches!(
            stream(&packed(&["build.log"])[..]),
            Err(ReadError::NoProvenance)
        ));
        for foreign in ["x", "provenance.json/x", "artifacts"] {
            let refusal = stream(&packed(&["provenance.json", foreign])[..]).unwrap_err();
            assert!(
                matches!(refusal, ReadError::Unexpected { .. }),
                "{foreign}: {refusal}"
            );
        }
    }

    #[test]
    fn paths_have_a_limit_together() {
        let names: Vec<_> = (0..1100)
            .map(|number| format!("artifacts/{number:0990}"))
            .collect();
        let names: Vec<_> = names
            .iter()
            .map(String::as_str)
            .chain(["provenance.json"])
            .collect();
        let refusal = stream(&packed(&names)[..]).unwrap_err();
        assert!(
            matches!(
                refusal,
                ReadError::Limit {
                    name: "MAX_BUNDLE_PATHS_BYTES",
                    ..
                }
            ),
            "{refusal}"
        );
    }

    #[test]
    fn damage_and_trailing_bytes_are_refused() {
        let good = packed(&["provenance.json"]);
        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(stream(&longer[..]), Err(ReadError::Trailing)));
        assert!(matches!(
            stream(&good[..good.len() - 1]),
            Err(ReadError::Damaged(_))
        ));
        assert!(matches!(
            stream(&b"no gzip"[..]),
            Err(ReadError::Damaged(_))
        ));
        assert!(matches!(
            stream(&b"PK\x03\x04 a ZIP archive"[..]),
            Err(ReadError::NotCanonical { .. })
        ));
    }

    #[test]
    fn the_digest_is_of_the_tar_stream_and_not_of_its_compression() {
        let good = packed(&["provenance.json", "artifacts/a"]);
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&good[..])
            .read_to_end(&mut tar)
            .unwrap();
        let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
        io::Write::write_all(&mut stored, &tar).unwrap();
        let mut other = stored.finish().unwrap();
        other[8] = 0;
        assert_ne!(other, good);
        for packed in [good, other] {
            let bundle = stream_with_digest(&packed[..]).unwrap();
            assert_eq!(bundle.tar_sha256, Some(Sha256Digest::of(&tar)));
            assert_eq!(
                Bundle {
                    tar_sha256: None,
                    ..bundle
                },
                stream(&packed[..]).unwrap()
            );
        }
    }

    #[test]
    fn a_directory_reads_like_its_archive() {
        let packed = packed(&["provenance.json", "artifacts/a", "artifacts/b/c"]);
        let unpacked = unpacked(&packed);
        let expected = Bundle {
            time: None,
            project: None,
            ..stream(&packed[..]).unwrap()
        };
        assert_eq!(directory(unpacked.path()).unwrap(), expected);
        assert_eq!(directory(&unpacked.path().join("p")).unwrap(), expected);
    }

    /// What a reader says of a directory that was changed.
    fn changed(change: impl FnOnce(&Path)) -> ReadError {
        let unpacked = unpacked(&packed(&[
            "provenance.json",
            "artifacts/a",
            "artifacts/b/c",
        ]));
        change(&unpacked.path().join("p"));
        directory(unpacked.path()).unwrap_err()
    }

    #[test]
    fn a_directory_has_regular_files_of_one_name_and_nothing_else() {
        for name in [
            "artifacts/link",
            "artifacts/b/link",
            "build.log",
            "build-config/Cargo.lock",
            "link",
        ] {
            let refusal = changed(|directory| {
                fs::create_dir_all(directory.join("build-config")).unwrap();
                symlink("/etc/passwd", directory.join(name)).unwrap();
            });
            assert!(
                matches!(refusal, ReadError::Kind { .. }),
                "{name}: {refusal}"
            );
        }
        let refusal = changed(|directory| symlink("b", directory.join("artifacts/link")).unwrap());
        assert!(
            matches!(refusal, ReadError::Kind { .. }),
            "a link to a directory: {refusal}"
        );
        let refusal = changed(|directory| {
            fs::hard_link(directory.join("artifacts/a"), directory.join("artifacts/z")).unwrap()
        });
        assert!(
            matches!(refusal, ReadError::Kind { .. }),
            "a second name: {refusal}"
        );
        let refusal = changed(|directory| {
            let fifo = directory.join("artifacts/fifo");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                fifo,
                rustix::fs::FileType::Fifo,
                0o600.into(),
                0,
            )
            .unwrap();
        });
        assert!(
            matches!(refusal, ReadError::Kind { .. }),
            "a FIFO: {refusal}"
        );
        for name in ["x", "artifacts.txt", "build-config", "evidence.json.bak"] {
            let refusal = changed(|directory| fs::write(directory.join(name), "x").unwrap());
            assert!(
                matches!(refusal, ReadError::Unexpected { .. }),
                "{name}: {refusal}"
            );
        }
        for name in [
            "empty",
            "artifacts/empty",
            "artifacts/b/d/e",
            "build-config",
        ] {
            let refusal = changed(|directory| fs::create_dir_all(directory.join(name)).unwrap());
            assert!(
                matches!(refusal, ReadError::Unexpected { .. }),
                "{name}: {refusal}"
            );
        }
    }

    #[test]
    fn a_directory_has_no_file_with_special_rights() {
        let of_mode = |name: &'static str, mode: u32| {
            changed(|directory| {
                fs::set_permissions(directory.join(name), fs::Permissions::from_mode(mode)).unwrap()
            })
        };
        for mode in [0o4755, 0o2755, 0o1755, 0o4644, 0o2644, 0o1644, 0o7777] {
            for name in ["artifacts/a", "artifacts/b/c", "provenance.json"] {
                let refusal = of_mode(name, mode);
                assert!(
                    matches!(refusal, ReadError::Mode { mode: found, .. } if found == mode),
                    "{name}: {refusal}"
                );
            }
        }
        for mode in [0o755, 0o700, 0o654, 0o645] {
            let refusal = of_mode("provenance.json", mode);
            assert!(
                matches!(refusal, ReadError::Mode { .. }),
                "{mode:o}: {refusal}"
            );
        }
    }

    #[test]
    fn an_artifact_in_a_folder_is_executable_where_anybody_may_execute_it() {
        let packed = packed(&["provenance.json", "artifacts/a"]);
        for (mode, executable) in [
            (0o755, true),
            (0o700, true),
            (0o611, true),
            (0o644, false),
            (0o600, false),
        ] {
            let unpacked = unpacked(&packed);
            fs::set_permissions(
                unpacked.path().join("p/artifacts/a"),
                fs::Permissions::from_mode(mode),
            )
            .unwrap();
            assert_eq!(
                directory(unpacked.path()).unwrap().artifacts[0].executable,
                executable,
                "{mode:o}"
            );
        }
    }
}
