//! (being written)

/// A git URL, `https://` or `http://`, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUrl(String);

/// Why text is no repository's URL.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseUrlError {
    /// Another scheme.
    #[error("a repository's URL starts with https:// or http://")]
    Scheme,
}

impl RepositoryUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Another scheme.
    pub fn parse(text: &str) -> Result<Self, ParseUrlError> {
        let known = text.starts_with("https://") || text.starts_with("http://");
        if known { Ok(Self(text.to_owned())) } else { Err(ParseUrlError::Scheme) }
    }

    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `HEAD`, a branch, a tag, `refs/…` or a full commit id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRef(String);

/// Why text is no ref.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseRefError {
    /// It starts with a dash.
    #[error("a ref does not start with a dash")]
    Dash,
}

impl GitRef {
    /// Reads a ref.
    ///
    /// # Errors
    /// A leading dash.
    pub fn parse(text: &str) -> Result<Self, ParseRefError> {
        if text.starts_with('-') { Err(ParseRefError::Dash) } else { Ok(Self(text.to_owned())) }
    }

    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
