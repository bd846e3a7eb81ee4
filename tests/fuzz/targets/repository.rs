//! Any text as a client's repository: a URL, and a ref.

use kettle::source::{GitRef, ProjectName, RepositoryUrl};

/// Neither can be an option of git, or be more than one argument.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(url) = RepositoryUrl::parse(text) {
        assert_eq!(url.as_str(), text);
        assert!(text.starts_with("http://") || text.starts_with("https://"));
        assert!(
            text.bytes().all(|byte| byte.is_ascii_graphic())
                && !text.contains("/../")
                && !text.contains('?')
        );
    }
    if let Ok(reference) = GitRef::parse(text) {
        assert_eq!(reference.as_str(), text);
        assert!(
            !text.starts_with('-')
                && !text.contains(['\0', '\n', ' ', ':', '^'])
                && !text.contains("..")
        );
        assert!(
            reference
                .commit()
                .is_none_or(|commit| commit.to_string() == text.to_ascii_lowercase())
        );
    }
    for name in [
        ProjectName::of_repository(text),
        ProjectName::of_archive(None, Some(text)),
    ] {
        assert!(
            !name.as_str().is_empty()
                && !name.as_str().starts_with('.')
                && !name.as_str().contains('/')
        );
    }
}
