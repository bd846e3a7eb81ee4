//! Any bytes as the tar inside a `.crate`, and as a `.crate`.

use std::fs::{self, File};
use std::io::Write as _;

use kettle::digest::Sha256Digest;
use kettle::toolchain::cargo::crate_archive::unpack;

use super::{tar, unpacking};

const TOP: &str = "a-1.0.0";
/// The first bytes of every gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Nothing is written beside the package's directory, and the digest is that of the archive's
/// bytes.
pub fn target(data: &[u8]) {
    if data.starts_with(&GZIP) {
        check(data);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&tar::with_checksums(data))
        .expect("memory takes it");
    check(&gzip.finish().expect("memory takes it"));
}

fn check(archive: &[u8]) {
    let directory = tempfile::TempDir::new().expect("no temporary directory");
    let (file, packages) = (
        directory.path().join("archive"),
        directory.path().join("packages"),
    );
    fs::write(&file, archive).expect("the archive was not written");
    fs::create_dir(&packages).expect("no directory");
    match unpack(
        File::open(&file).expect("the archive is gone"),
        TOP,
        &packages,
        0,
    ) {
        Ok(digest) => assert_eq!(digest, Sha256Digest::of(archive)),
        // That would be an internal error: a name that the file system does not accept is refused
        // earlier.
        Err(error) if error.is_fault() => panic!("{error}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    unpacking::check_names(directory.path(), &["archive", "packages"]);
    unpacking::check_names(&packages, &[TOP]);
    unpacking::check_directory(&packages);
}
