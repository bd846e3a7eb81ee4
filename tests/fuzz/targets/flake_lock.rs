//! Any bytes as `flake.lock`.

use std::collections::BTreeSet;

use kettle::toolchain::nix::lockfile::FlakeLock;
use serde_json::Value;

/// Every input is locked, or is a directory of the source or of one that is; no name and no
/// directory leads elsewhere.
pub fn target(data: &[u8]) {
    let Ok(lock) = FlakeLock::parse(data) else {
        return;
    };
    assert!(
        lock.inputs().is_sorted_by(|one, next| one.name < next.name),
        "an input is there twice"
    );
    let locked: BTreeSet<_> = lock
        .inputs()
        .iter()
        .filter(|input| input.nar_hash.is_some())
        .map(|input| input.name.as_str())
        .collect();
    for input in lock.inputs() {
        assert!(
            !input.name.contains(['/', '\0', '\n', '\u{1b}']),
            "{:?}",
            input.name
        );
        match &input.path {
            None => assert!(
                input.nar_hash.is_some() && input.tree.is_none(),
                "{:?} is not locked",
                input.name
            ),
            Some(path) => assert!(
                path.is_empty() || path.split('/').all(is_directory),
                "{path:?} leads elsewhere"
            ),
        }
        if let Some(tree) = &input.tree {
            assert!(locked.contains(tree.as_str()), "{tree:?} is not locked");
        }
        assert_ne!(
            input.locked.get("type").and_then(Value::as_str),
            Some("indirect")
        );
        let text = |key: &str| {
            input
                .locked
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        assert!(
            !text("url").starts_with("file:") && !text("path").starts_with('/'),
            "{:?}",
            input.locked
        );
        assert!(!text("url").contains("://secret@"), "{:?}", input.locked);
    }
}

fn is_directory(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
}
