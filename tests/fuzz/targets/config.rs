//! Any text as a project's own cargo configuration.

use std::path::Path;

use kettle::toolchain::cargo::config::Settings;
use toml::{Table, Value};

/// Tables whose settings cargo may get.
const ALLOWED: [&str; 7] = [
    "build",
    "env",
    "patch",
    "profile",
    "registries",
    "source",
    "target",
];
/// Last parts of keys that would select another program.
const TOOLS: [&str; 8] = [
    "ar",
    "credential-provider",
    "linker",
    "runner",
    "rustc",
    "rustc-wrapper",
    "rustc-workspace-wrapper",
    "rustdoc",
];

/// Each argument is one setting, of one of the tables that are carried over, and none that names a
/// tool.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut settings = Settings::default();
    if settings.add(text, Path::new("/nonexistent")).is_err() {
        return;
    }
    for argument in &settings.arguments {
        let table: Table = argument
            .parse()
            .unwrap_or_else(|error| panic!("{argument:?} is no setting: {error}"));
        let path = only_path(&Value::Table(table));
        assert!(ALLOWED.contains(&path[0].as_str()), "{argument:?}");
        let names_a_tool = path
            .last()
            .is_some_and(|name| TOOLS.contains(&name.as_str()));
        let is_free = ["env", "patch", "profile", "source"].contains(&path[0].as_str());
        assert!(!names_a_tool || is_free, "{argument:?}");
    }
    assert!(settings.notes.iter().all(|note| !note.is_empty()));
}

/// Returns the names on the path to the only setting.
fn only_path(value: &Value) -> Vec<String> {
    let Value::Table(members) = value else {
        return Vec::new();
    };
    assert_eq!(members.len(), 1, "more than one setting");
    members
        .iter()
        .flat_map(|(name, value)| [vec![name.clone()], only_path(value)].concat())
        .collect()
}
