//! (being written)

/// A git URL, `https://` or `http://`, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUrl(String);

impl RepositoryUrl {
    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `HEAD`, a branch, a tag, `refs/…` or a full commit id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRef(String);

impl GitRef {
    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
