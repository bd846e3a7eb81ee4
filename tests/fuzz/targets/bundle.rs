//! Any bytes as a bundle, and as the tar inside of one.

use std::io::Write as _;

use kettle::bundle::read::{MAX_BUNDLE_ENTRIES, stream};

/// What is read is within its limits, and its names are plain.
pub fn target(data: &[u8]) {
    check(data);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(data).expect("memory takes it");
    check(&gzip.finish().expect("memory takes it"));
}

fn check(data: &[u8]) {
    let Ok(bundle) = stream(data) else { return };
    assert!(bundle.artifacts.len() <= MAX_BUNDLE_ENTRIES);
    let names = bundle.artifacts.iter().chain(&bundle.build_config).map(|file| &file.name);
    for name in names {
        assert!(!name.split('/').any(|part| ["", ".", ".."].contains(&part)), "{name:?}");
    }
}
