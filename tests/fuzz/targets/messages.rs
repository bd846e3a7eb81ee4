//! Any bytes as a build's output with cargo's own messages.

use std::collections::BTreeSet;

use kettle::provenance::LinkRecord;
use kettle::sandbox::{OutputSink as _, Stream};
use kettle::toolchain::cargo::messages::Messages;
use kettle::toolchain::cargo::metadata::Metadata;

use super::kept::Kept;

const METADATA: &[u8] = br#"{"packages":[{"id":"a","name":"a","version":"0.1.0","manifest_path":"/kettle/source/Cargo.toml",
    "targets":[{"name":"a","kind":["bin"],"crate_types":["bin"]},{"name":"c","kind":["cdylib"],"crate_types":["cdylib"]}]}],
    "workspace_default_members":["a"],"workspace_root":"/kettle/source"}"#;

/// Names are those of existing targets; every cut gives the same; nothing is logged that was not
/// printed, and everything recorded about the linker was printed.
pub fn target(data: &[u8]) {
    let metadata = Metadata::parse(METADATA).expect("metadata");
    let whole = run(&metadata, data, data.len().max(1));
    assert!(
        whole.0.iter().all(|name| name == "a" || name == "libc.so"),
        "{:?}",
        whole.0
    );
    assert!(whole.1.len() <= data.len());
    assert_eq!(run(&metadata, data, 1), whole);
    assert_eq!(run(&metadata, data, 7), whole);
    let commands = run_commands(&metadata, data, data.len().max(1));
    assert!(
        commands
            .0
            .iter()
            .flatten()
            .map(|record| record.arguments.concat().len())
            .sum::<usize>()
            <= data.len()
    );
    assert!(commands.1.len() <= data.len());
    assert_eq!(run_commands(&metadata, data, 1), commands);
    assert_eq!(run_commands(&metadata, data, 7), commands);
}

/// Returns the record of the linker when the bytes come by standard error, and the log.
fn run_commands(
    metadata: &Metadata,
    data: &[u8],
    size: usize,
) -> (Option<Vec<LinkRecord>>, Vec<u8>) {
    let mut log = Kept(Vec::new());
    let mut messages = Messages::new(metadata, "rustc", &mut log);
    for chunk in data.chunks(size) {
        messages
            .chunk(Stream::Stderr, chunk)
            .expect("memory takes it");
    }
    (
        messages
            .finish()
            .expect("memory takes it")
            .links
            .records()
            .ok(),
        log.0,
    )
}

fn run(metadata: &Metadata, data: &[u8], size: usize) -> (BTreeSet<String>, Vec<u8>) {
    let mut log = Kept(Vec::new());
    let mut messages = Messages::new(metadata, "rustc", &mut log);
    for chunk in data.chunks(size) {
        messages
            .chunk(Stream::Stdout, chunk)
            .expect("memory takes it");
    }
    (messages.finish().expect("memory takes it").names, log.0)
}
