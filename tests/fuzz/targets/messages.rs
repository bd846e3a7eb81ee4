//! Any bytes as what a build prints, among which cargo's own messages are.

use std::collections::BTreeSet;

use kettle::sandbox::{OutputSink as _, Stream};
use kettle::toolchain::cargo::messages::Messages;
use kettle::toolchain::cargo::metadata::Metadata;

use super::kept::Kept;

const METADATA: &[u8] = br#"{"packages":[{"id":"a","name":"a","version":"0.1.0","manifest_path":"/kettle/source/Cargo.toml",
    "targets":[{"name":"a","kind":["bin"],"crate_types":["bin"]},{"name":"c","kind":["cdylib"],"crate_types":["cdylib"]}]}],
    "workspace_default_members":["a"],"workspace_root":"/kettle/source"}"#;

/// Names are those of targets that exist; every cut gives the same; nothing is logged that was not printed.
pub fn target(data: &[u8]) {
    let metadata = Metadata::parse(METADATA).expect("metadata");
    let whole = run(&metadata, data, data.len().max(1));
    assert!(whole.0.iter().all(|name| name == "a" || name == "libc.so"), "{:?}", whole.0);
    assert!(whole.1.len() <= data.len());
    assert_eq!(run(&metadata, data, 1), whole);
    assert_eq!(run(&metadata, data, 7), whole);
}

fn run(metadata: &Metadata, data: &[u8], size: usize) -> (BTreeSet<String>, Vec<u8>) {
    let mut log = Kept(Vec::new());
    let mut messages = Messages::new(metadata, "rustc", &mut log);
    for chunk in data.chunks(size) {
        messages.chunk(Stream::Stdout, chunk).expect("memory takes it");
        messages.chunk(Stream::Stderr, b"").expect("memory takes it");
    }
    (messages.finish().expect("memory takes it").names, log.0)
}
