//! The name of a bundle's top directory.
//!
//! - Comes in: the names that a submission carries, or a name that a bundle has.
//! - Goes out: one path component that every system and program takes alike.
//! - Never: a component that starts with a dot or a dash, or is longer than the limit.

use std::fmt;

/// Longest project name, in bytes.
pub const MAX_PROJECT_NAME_BYTES: usize = 64;

/// What the folder is called when nothing gives a name.
const FALLBACK: &str = "source";

/// Characters that a name does not start with: a dot hides it, and a dash makes it an option.
const UNFIT_AT_THE_START: [char; 2] = ['.', '-'];

/// Endings that are cut from the file name of an archive.
const ARCHIVE_ENDINGS: [&str; 5] = [".tar.gz", ".tgz", ".tar", ".zip", ".crate"];

/// `[A-Za-z0-9._-]`, 1 to 64 bytes, not starting with a dot, nor with a dash, which programs would
/// take for an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectName(String);

impl ProjectName {
    /// Takes a name that a bundle has, if it is one that a bundle can have.
    #[cfg(any(test, feature = "appraisal"))]
    pub fn parse(name: &str) -> Option<Self> {
        let is_plain = !name.is_empty()
            && name.len() <= MAX_PROJECT_NAME_BYTES
            && !name.starts_with(UNFIT_AT_THE_START)
            && name.chars().all(is_fit);
        is_plain.then(|| Self(name.to_owned()))
    }

    /// From the last path component of a repository's URL.
    pub fn of_repository(url: &str) -> Self {
        let path = url
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or_default();
        Self::reduce(last.strip_suffix(".git").unwrap_or(last))
    }

    /// From an archive's single top folder, else its file name, else a fixed name.
    pub fn of_archive(top_folder: Option<&str>, file_name: Option<&str>) -> Self {
        match (top_folder, file_name) {
            (Some(folder), _) => Self::reduce(folder),
            (None, Some(name)) => Self::reduce(Self::without_ending(name)),
            (None, None) => Self(FALLBACK.to_owned()),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn without_ending(name: &str) -> &str {
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let cut = ARCHIVE_ENDINGS.iter().find(|ending| {
            name.len() > ending.len()
                && name.is_char_boundary(name.len() - ending.len())
                && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
        });
        cut.map_or(name, |ending| &name[..name.len() - ending.len()])
    }

    fn reduce(name: &str) -> Self {
        let replaced: String = name
            .chars()
            .map(|c| if is_fit(c) { c } else { '-' })
            .collect();
        let plain = replaced.trim_start_matches(UNFIT_AT_THE_START);
        let cut = &plain[..plain.len().min(MAX_PROJECT_NAME_BYTES)];
        Self(if cut.is_empty() { FALLBACK } else { cut }.to_owned())
    }
}

fn is_fit(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-".contains(character)
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_last_component_of_a_repository() {
        for (url, name) in [
            ("https://example.org/a/ripgrep.git", "ripgrep"),
            ("https://example.org/a/ripgrep/", "ripgrep"),
            ("http://127.0.0.1:8000/.git", "source"),
            ("https://example.org/a/b c?x=/y", "b-c"),
        ] {
            assert_eq!(ProjectName::of_repository(url).as_str(), name, "{url}");
        }
    }

    #[test]
    fn prefers_the_top_folder_then_the_file_name() {
        let name = |top, file| ProjectName::of_archive(top, file).as_str().to_owned();
        assert_eq!(
            name(Some("ripgrep-14.1.1"), Some("x.zip")),
            "ripgrep-14.1.1"
        );
        assert_eq!(name(None, Some("hello.tar.gz")), "hello");
        assert_eq!(name(None, Some("HELLO.ZIP")), "HELLO");
        assert_eq!(name(None, Some("../../etc/passwd")), "passwd");
        assert_eq!(name(None, None), "source");
    }

    #[test]
    fn never_gives_an_unsafe_component() {
        let long = "x".repeat(300);
        for hostile in [
            "", "..", ".", "...", "/", "é", ".tar.gz", "-rf", "--", ".-.-x", "éx", " x", &long,
        ] {
            let names = [
                ProjectName::of_archive(Some(hostile), None),
                ProjectName::of_archive(None, Some(hostile)),
                ProjectName::of_repository(&format!("https://example.org/{hostile}.git")),
            ];
            for name in names {
                let text = name.as_str();
                assert!(
                    !text.is_empty() && text.len() <= MAX_PROJECT_NAME_BYTES,
                    "{hostile:?}"
                );
                assert!(!text.starts_with(['.', '-']), "{hostile:?}: {text}");
                assert_eq!(
                    ProjectName::parse(text).as_ref(),
                    Some(&name),
                    "{hostile:?}"
                );
            }
        }
        assert_eq!(
            ProjectName::of_archive(Some("--config=x"), None).as_str(),
            "config-x"
        );
    }

    #[test]
    fn a_name_of_a_bundle_is_in_the_alphabet_within_the_limit_and_no_option() {
        for code in (0..=0x2_ffff).filter_map(char::from_u32) {
            let is_fit = matches!(code, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-');
            assert_eq!(
                ProjectName::parse(&format!("a{code}")).is_some(),
                is_fit,
                "{code:?}"
            );
            let may_start = is_fit && code != '.' && code != '-';
            assert_eq!(
                ProjectName::parse(&code.to_string()).is_some(),
                may_start,
                "{code:?}"
            );
        }
        let longest = "n".repeat(MAX_PROJECT_NAME_BYTES);
        assert!(ProjectName::parse(&longest).is_some());
        for name in ["", "..", "--", ".a", "-a", &format!("{longest}n")] {
            assert_eq!(ProjectName::parse(name), None, "{name:?}");
        }
    }
}
