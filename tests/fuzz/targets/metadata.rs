//! Any bytes as the output of `cargo metadata` and `cargo tree`, with a zero byte between them.

use kettle::toolchain::cargo::metadata::Metadata;

/// Every used package is one of the listed packages.
pub fn target(data: &[u8]) {
    let (answer, tree) = data.split_at(
        data.iter()
            .position(|byte| *byte == 0)
            .unwrap_or(data.len()),
    );
    let Ok(metadata) = Metadata::parse(answer) else {
        return;
    };
    assert!(metadata.default_members().count() <= metadata.packages.len());
    let Ok(used) = metadata.used(tree.get(1..).unwrap_or_default()) else {
        return;
    };
    assert!(used.len() <= metadata.packages.len());
    assert!(used.iter().all(|package| !package.spec().is_empty()
        && package.directory().as_os_str().len() < data.len() + 1));
}
