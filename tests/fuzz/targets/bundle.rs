//! Any bytes as a bundle, and as the tar inside of one.

use std::io::Write as _;

use kettle::bundle::read::{MAX_BUNDLE_ENTRIES, stream};
use kettle::inspect;

/// What is read is within its limits, its names are plain, and what a person is shown of it is inert.
pub fn target(data: &[u8]) {
    check(data);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(data).expect("memory takes it");
    check(&gzip.finish().expect("memory takes it"));
}

fn check(data: &[u8]) {
    let Ok(bundle) = stream(data) else { return };
    assert!(bundle.artifacts.len() <= MAX_BUNDLE_ENTRIES);
    let text = inspect::text(&bundle);
    assert!(!text.contains(|character: char| character.is_control() && character != '\n'), "{text:?}");
    let names = bundle.artifacts.iter().chain(&bundle.build_config).map(|file| &file.name);
    for name in names {
        assert!(!name.split('/').any(|part| ["", ".", ".."].contains(&part)), "{name:?}");
    }
}
