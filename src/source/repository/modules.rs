//! Reads the settings of `.gitmodules`.
//!
//! * In: the settings, as git lists them.
//! * Out: a URL for each path.
//! * Never: any other setting.

use std::collections::BTreeMap;

use super::super::archive::Label;
use super::url::{ParseUrlError, RepositoryUrl};

/// Why a `.gitmodules` is refused. Keys and paths are escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ModulesError {
    #[error("it is not a list of settings in UTF-8")]
    Malformed,
    /// A setting that occurs twice: readers disagree on which one counts.
    #[error("`{key}` is set twice")]
    Repeated { key: Label },
    #[error("two submodules are at `{path}`")]
    SamePath { path: Label },
    /// The tree has a submodule at a path that has no URL here.
    #[error("the submodule at `{path}` has no URL")]
    NoUrl { path: Label },
    #[error("the submodule at `{path}`: {reason}")]
    Url { path: Label, reason: ParseUrlError },
}

/// The URLs of submodules by their paths, both as they are written.
pub struct Modules(BTreeMap<String, String>);

impl Modules {
    /// Reads records of `KEY\nVALUE\0`.
    ///
    /// # Errors
    /// The text has no such records, or contradicts itself about a submodule.
    pub fn parse(listing: &[u8]) -> Result<Self, ModulesError> {
        let text = std::str::from_utf8(listing).map_err(|_| ModulesError::Malformed)?;
        let (mut paths, mut urls) = (BTreeMap::new(), BTreeMap::new());
        for record in text.split_terminator('\0') {
            let (key, value) = record.split_once('\n').unwrap_or((record, ""));
            let module_key = key.strip_prefix("submodule.");
            let Some((name, setting)) = module_key.and_then(|rest| rest.rsplit_once('.')) else {
                continue;
            };
            let values = match setting {
                "path" => &mut paths,
                "url" => &mut urls,
                _ => continue,
            };
            if values.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(ModulesError::Repeated {
                    key: Label::of(key.as_bytes()),
                });
            }
        }
        Self::join(paths, urls)
    }

    /// Joins the paths and the URLs of submodules by their names.
    fn join(
        paths: BTreeMap<String, String>,
        mut urls: BTreeMap<String, String>,
    ) -> Result<Self, ModulesError> {
        let mut by_path = BTreeMap::new();
        for (name, path) in paths {
            let Some(url) = urls.remove(&name) else {
                continue;
            };
            if by_path.insert(path.clone(), url).is_some() {
                return Err(ModulesError::SamePath {
                    path: Label::of(path.as_bytes()),
                });
            }
        }
        Ok(Self(by_path))
    }

    /// Returns the URL of the submodule at `path`, for a superproject at `base`.
    ///
    /// # Errors
    /// The submodule has no URL, or one that is refused.
    pub fn url(&self, path: &str, base: &RepositoryUrl) -> Result<RepositoryUrl, ModulesError> {
        let label = || Label::of(path.as_bytes());
        let text = self
            .0
            .get(path)
            .ok_or_else(|| ModulesError::NoUrl { path: label() })?;
        base.join(text).map_err(|reason| ModulesError::Url {
            path: label(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(listing: &str) -> Result<String, ModulesError> {
        let base = RepositoryUrl::parse("https://example.org/a/b").unwrap();
        Modules::parse(listing.as_bytes())?
            .url("lib/x", &base)
            .map(|url| url.as_str().to_owned())
    }

    #[test]
    fn finds_urls_by_path() {
        let listing = "submodule.a.b.path\nlib/x\0submodule.a.b.url\n../c\0submodule.a.b.update\n!id\0core.pager\nid\0";
        assert_eq!(url(listing).unwrap(), "https://example.org/a/c");
    }

    #[test]
    fn refuses_ambiguous_and_option_like_settings() {
        let label = |text: &str| Label::of(text.as_bytes());
        let path = "submodule.a.path\nlib/x\0";
        assert_eq!(
            url(path),
            Err(ModulesError::NoUrl {
                path: label("lib/x")
            })
        );
        assert_eq!(
            url(&path.repeat(2)),
            Err(ModulesError::Repeated {
                key: label("submodule.a.path")
            })
        );
        let twice = "submodule.b.path\nlib/x\0submodule.a.url\nu\0submodule.b.url\nu\0";
        assert_eq!(
            url(&format!("{path}{twice}")),
            Err(ModulesError::SamePath {
                path: label("lib/x")
            })
        );
        for hostile in [
            "--upload-pack=touch /tmp/x",
            "ext::sh -c id",
            "file:///etc",
            "/etc",
            "git@example.org:x",
        ] {
            let refused = ModulesError::Url {
                path: label("lib/x"),
                reason: ParseUrlError::Scheme,
            };
            assert_eq!(
                url(&format!("{path}submodule.a.url\n{hostile}\0")),
                Err(refused),
                "{hostile}"
            );
        }
    }
}
