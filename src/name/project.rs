//! Chooses the name of a bundle's top directory.
//!
//! * In: the names that a submission carries, or a name that a bundle has.
//! * Out: one path component that every system and program understands alike.
//! * Never: a component that starts with a dot or a dash, or is longer than the limit.

use std::fmt;

/// The length of the longest project name, in bytes.
pub const MAX_PROJECT_NAME_BYTES: usize = 64;

/// The name of the directory if the submission has no name.
const FALLBACK: &str = "source";

/// The characters with which a name does not start: a dot hides it, and a dash makes it an option.
const UNFIT_AT_THE_START: [char; 2] = ['.', '-'];

/// The endings that are cut from the file name of an archive.
const ARCHIVE_ENDINGS: [&str; 5] = [".tar.gz", ".tgz", ".tar", ".zip", ".crate"];

/// A name of `[A-Za-z0-9._-]`, 1 to 64 bytes, that does not start with a dot, nor with a dash,
/// which programs would take for an option.
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

    /// Derives a name from the last path component of a repository's URL.
    pub fn of_repository(url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let mut components = path.trim_end_matches('/').rsplit('/');
        let last = components.next().unwrap_or_default();
        Self::reduce(last.strip_suffix(".git").unwrap_or(last))
    }

    /// Derives a name from an archive's single top directory, or else from its file name. If it has
    /// neither, the name is a fixed one.
    pub fn of_archive(top_directory: Option<&str>, file_name: Option<&str>) -> Self {
        match (top_directory, file_name) {
            (Some(directory), _) => Self::reduce(directory),
            (None, Some(name)) => Self::reduce(Self::without_ending(name)),
            (None, None) => Self(FALLBACK.to_owned()),
        }
    }

    /// Returns the name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn without_ending(name: &str) -> &str {
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        for ending in ARCHIVE_ENDINGS {
            let split = name.len().checked_sub(ending.len());
            let split = split.and_then(|length| name.split_at_checked(length));
            if let Some((stem, last)) = split
                && !stem.is_empty()
                && last.eq_ignore_ascii_case(ending)
            {
                return stem;
            }
        }
        name
    }

    /// Replaces unfit characters, and cuts the name to its limit.
    fn reduce(name: &str) -> Self {
        let fit = |character| if is_fit(character) { character } else { '-' };
        let replaced: String = name.chars().map(fit).collect();
        let plain = replaced.trim_start_matches(UNFIT_AT_THE_START);
        let cut = &plain[..plain.len().min(MAX_PROJECT_NAME_BYTES)];
        if cut.is_empty() {
            return Self(FALLBACK.to_owned());
        }
        Self(cut.to_owned())
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
