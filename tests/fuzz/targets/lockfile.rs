//! Any bytes as `Cargo.lock`.

use kettle::toolchain::cargo::lockfile::{Lock, Origin};

/// A package of a registry has a name that is one file name, and a checksum from the lockfile.
pub fn target(data: &[u8]) {
    let Ok(lock) = Lock::parse(data) else { return };
    let text = std::str::from_utf8(data).expect("accepted, and no text");
    for package in &lock.packages {
        match &package.origin {
            Origin::Folder => {}
            Origin::Registry { checksum, .. } => {
                assert!(!package.spec().contains(['/', '\0']) && !package.name.starts_with('.'));
                let is_said = text.to_ascii_lowercase().contains(&checksum.to_string())
                    || text.contains('\\');
                assert!(is_said, "{checksum} is not from the lockfile");
            }
            Origin::Git(source) => {
                assert!(!source.url.contains(['?', '#']) && !source.query.contains('#'))
            }
        }
    }
}
