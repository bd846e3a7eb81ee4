//! Any bytes as the output of nix with its messages.

use std::collections::BTreeMap;

use kettle::sandbox::{OutputSink as _, Stream};
use kettle::toolchain::nix::progress::{LogFilter, Progress};

use super::kept::Kept;

/// The most bytes of its errors that are kept.
const MAX_ERROR_BYTES: usize = 64 << 10;

#[derive(Debug, PartialEq)]
struct Seen {
    log: Vec<u8>,
    caches: BTreeMap<String, String>,
    errors: String,
    realises: bool,
}

/// Every cut gives the same; a cache is believed of a path that nix named beside it; errors have a
/// limit.
pub fn target(data: &[u8]) {
    let whole = run(data, data.len().max(1));
    for path in whole.caches.keys() {
        let base = path
            .strip_prefix("/nix/store/")
            .expect("a path of the store");
        assert!(!base.contains(['/', '\n', '\u{1b}']), "{path:?}");
    }
    assert!(
        whole.errors.len() <= MAX_ERROR_BYTES && !whole.errors.contains('\u{1b}'),
        "{:?}",
        whole.errors
    );
    assert_eq!(run(data, 1), whole);
    assert_eq!(run(data, 7), whole);
}

fn run(data: &[u8], size: usize) -> Seen {
    let mut log = Kept(Vec::new());
    let mut progress = Progress::new(&mut log, LogFilter::Plain);
    for chunk in data.chunks(size) {
        progress
            .chunk(Stream::Stderr, chunk)
            .expect("memory takes it");
    }
    progress.finish().expect("memory takes it");
    let caches = progress
        .caches()
        .iter()
        .map(|(path, cache)| (path.to_string(), cache.clone()))
        .collect();
    let (errors, realises) = (progress.error_text(), progress.has_begun_to_realise());
    Seen {
        log: log.0,
        caches,
        errors,
        realises,
    }
}
