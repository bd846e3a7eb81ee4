//! Any bytes as the settings of `.gitmodules`, as git lists them.

use kettle::source::RepositoryUrl;
use kettle::source::repository::modules::Modules;

const BASE: &str = "https://example.org/a/b";

/// A URL that a submodule gets is one that a client could have given; a relative one stays on the
/// host.
pub fn target(data: &[u8]) {
    let Ok(modules) = Modules::parse(data) else {
        return;
    };
    let base = RepositoryUrl::parse(BASE).expect("a URL");
    // Every value of the listing may be a path.
    for value in data
        .split(|byte| [0, b'\n'].contains(byte))
        .filter_map(|value| std::str::from_utf8(value).ok())
    {
        if let Ok(url) = modules.url(value, &base) {
            assert_eq!(RepositoryUrl::parse(url.as_str()), Ok(url));
        }
    }
    for relative in ["./", "../"].map(|start| [start.as_bytes(), data].concat()) {
        let Ok(text) = String::from_utf8(relative) else {
            return;
        };
        if let Ok(url) = base.join(&text) {
            assert!(url.as_str().starts_with("https://example.org/"), "{url}");
        }
    }
}
