//! Finds out which dependencies have to come over the network.
//!
//! * In: the lockfile, and the sources that the project replaces with its own directories.
//! * Out: [`Needs`].
//! * Never: a dependency that comes with the source.

use std::collections::BTreeSet;

use crate::source::redirect::Endpoint;

use super::config::Replaced;
use super::lockfile::{CRATES_IO, GitSource, Lock, Locked, Origin};

/// The dependencies that are fetched.
pub(super) struct Needs {
    /// The packages that registries have.
    pub registries: Vec<Locked>,
    /// The commits that repositories have.
    pub git: Vec<GitSource>,
    /// The commits of patches that no package uses: cargo fetches them too.
    pub unused: Vec<GitSource>,
}

impl Needs {
    /// Returns the dependencies that `lock` names, without those in `vendored`.
    pub fn of(lock: Lock, vendored: &[Replaced]) -> Self {
        let (mut registries, mut git) = (Vec::new(), Vec::new());
        for package in lock.packages {
            match &package.origin {
                Origin::Folder => {}
                Origin::Registry { index, .. } if is_vendored_registry(index, vendored) => {}
                Origin::Registry { .. } => registries.push(package),
                Origin::Git(source)
                    if is_vendored_git(source, vendored) || git.contains(source) => {}
                Origin::Git(source) => git.push(source.clone()),
            }
        }
        let unused = lock
            .unused
            .into_iter()
            .filter(|source| !git.contains(source))
            .collect();
        Self {
            registries,
            git,
            unused,
        }
    }

    /// Returns the URLs of everything that git fetches, once each: dependencies, and the indexes of
    /// registries that have one in a repository.
    pub fn repositories(&self) -> BTreeSet<&str> {
        let indexes = self
            .registries
            .iter()
            .filter_map(|package| package.origin.index());
        let indexes = indexes
            .filter(|index| *index != CRATES_IO)
            .filter_map(|index| index.strip_prefix("registry+"));
        self.git
            .iter()
            .chain(&self.unused)
            .map(|source| source.url.as_str())
            .chain(indexes)
            .collect()
    }

    /// Returns the hosts of registries that the lockfile names without TLS. Text that is neither a
    /// name nor an address is left out: the program that gets it could read it as every host.
    pub fn plain_hosts(&self) -> BTreeSet<String> {
        let indexes = self
            .registries
            .iter()
            .filter_map(|package| package.origin.index());
        let urls = indexes
            .filter_map(|index| index.split_once('+'))
            .map(|(_, url)| url);
        let plain = urls
            .filter_map(Endpoint::of)
            .filter(|endpoint| !endpoint.is_https());
        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || ".-_:".contains(character);
        let hosts = plain.map(|endpoint| endpoint.host().to_owned());
        hosts.filter(|host| host.chars().all(is_plain)).collect()
    }

    /// Returns whether nothing has to be fetched.
    pub fn is_empty(&self) -> bool {
        self.registries.is_empty() && self.git.is_empty() && self.unused.is_empty()
    }
}

/// Returns whether the project has its own copies of the packages of a registry.
pub(super) fn is_vendored_registry(index: &str, vendored: &[Replaced]) -> bool {
    let plain = index.strip_prefix("registry+").unwrap_or(index);
    vendored.iter().any(|replaced| match replaced {
        Replaced::CratesIo => index == CRATES_IO,
        Replaced::Registry(url) => url == plain,
        Replaced::Git(..) => false,
    })
}

fn is_vendored_git(source: &GitSource, vendored: &[Replaced]) -> bool {
    let same =
        |url: &String, query: &String| *url == source.url && *query == decoded(&source.query);
    vendored
        .iter()
        .any(|replaced| matches!(replaced, Replaced::Git(url, query) if same(url, query)))
}

/// Undoes the percent-encoding that version 4 of the lockfile has in the query of a git source.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| hex::decode(digits).ok())
            .filter(|_| *first == b'%');
        bytes.push(digits.as_ref().map_or(*first, |byte| byte[0]));
        rest = if digits.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_tls_are_those_of_registries_that_the_lockfile_names_so() {
        let sum = "02".repeat(32);
        let indexes = [
            CRATES_IO,
            "sparse+https://h/i/",
            "sparse+http://B:8/i/",
            "registry+http://[::1]/i",
            "registry+file:///i",
            "sparse+http://*/",
            "sparse+http://a,c/",
        ];
        let package = |index| {
            format!(
                "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{index}\"\nchecksum = \"{sum}\"\n"
            )
        };
        let lock: String = indexes.into_iter().map(package).collect();
        let needs = Needs::of(Lock::parse(lock.as_bytes()).unwrap(), &[]);
        assert_eq!(
            needs.plain_hosts(),
            BTreeSet::from(["::1".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn a_vendored_source_is_not_fetched() {
        let commit = "01".repeat(20);
        let sum = "02".repeat(32);
        let lock = format!(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{CRATES_IO}\"\nchecksum = \"{sum}\"\n\
             [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://h/r?branch=x%2Fy#{commit}\"\n"
        );
        let needs =
            |vendored: &[Replaced]| Needs::of(Lock::parse(lock.as_bytes()).unwrap(), vendored);
        assert_eq!((needs(&[]).registries.len(), needs(&[]).git.len()), (1, 1));
        let git = Replaced::Git("https://h/r".to_owned(), "branch=x/y".to_owned());
        assert!(needs(&[Replaced::CratesIo, git.clone()]).is_empty());
        assert!(needs(&[git]).git.is_empty());
    }
}
