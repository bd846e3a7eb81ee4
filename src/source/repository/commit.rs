//! Reads commit objects.
//!
//! * In: the raw object and the id that it should have.
//! * Out: its tree and its time.
//! * Never: an object that does not hash to its id.

use super::RepositoryError;
use crate::digest::GitOid;

/// Largest commit object, in bytes: messages and signatures are text.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// Latest time of a commit, in seconds since 1970: the last that a tar header can express, in the
/// year 2242. A later one could be beyond the times that files can have.
const LATEST_TIME: u64 = 0o777_7777_7777;

/// The parts of a commit object that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The id, computed from the object's bytes.
    pub id: GitOid,
    /// The id of the tree that the commit names.
    pub tree: GitOid,
    /// The committer's time in seconds since 1970, at most 8589934591.
    pub time: u64,
}

impl Commit {
    /// Reads the object that should have the id `id`.
    ///
    /// # Errors
    /// The object has another id, or is not a commit.
    pub fn parse(id: GitOid, object: &[u8]) -> Result<Self, RepositoryError> {
        let actual = GitOid::of_object("commit", object);
        if actual != id {
            return Err(RepositoryError::CommitHash {
                expected: id,
                actual,
            });
        }
        let malformed = || RepositoryError::CommitFormat { commit: id };
        let tree = tree(object).ok_or_else(malformed)?;
        let time = committer_time(object).ok_or_else(malformed)?;
        Ok(Self { id, tree, time })
    }
}

/// Returns the tree, which the first line names: `tree ID`.
fn tree(object: &[u8]) -> Option<GitOid> {
    let after_key = object.strip_prefix(b"tree ")?;
    let (digits, rest) = after_key.split_at_checked(40)?;
    if !rest.starts_with(b"\n") {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Returns the time of the first header `committer NAME <MAIL> SECONDS ZONE`.
fn committer_time(object: &[u8]) -> Option<u64> {
    let headers = object
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty());
    let mut committers = headers.filter_map(|line| line.strip_prefix(b"committer "));
    let committer = committers.next()?;
    let mail_end = committer.iter().rposition(|byte| *byte == b'>')?;
    let time_and_zone = std::str::from_utf8(&committer[mail_end + 1..]).ok()?;
    let (digits, _zone) = time_and_zone.strip_prefix(' ')?.split_once(' ')?;
    let seconds = digits.parse().ok()?;
    (seconds <= LATEST_TIME).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b> 1 +0000\n\
        committer > C <c@d> 1700000000 -0130\ngpgsig x\n committer no\n\ncommitter X <x@y> 5 +0000\n";

    #[test]
    fn reads_tree_and_committer_time() {
        let commit = Commit::parse(GitOid::of_object("commit", OBJECT), OBJECT).unwrap();
        assert_eq!(
            (commit.tree, commit.time),
            (GitOid::of_object("tree", b""), 1_700_000_000)
        );
    }

    #[test]
    fn rejects_an_object_with_another_id() {
        let id = GitOid::from_bytes([7; 20]);
        let error = Commit::parse(id, OBJECT).unwrap_err();
        assert!(matches!(error, RepositoryError::CommitHash { expected, .. } if expected == id));
    }

    #[test]
    fn rejects_a_time_that_no_file_can_have() {
        let read = |time: &str| {
            let object = format!(
                "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ncommitter A <a@b> {time} +0000\n\n"
            );
            Commit::parse(
                GitOid::of_object("commit", object.as_bytes()),
                object.as_bytes(),
            )
            .map(|commit| commit.time)
        };
        assert_eq!(read("8589934591").unwrap(), LATEST_TIME);
        for time in [
            "8589934592",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-1",
            "",
        ] {
            assert!(
                matches!(read(time), Err(RepositoryError::CommitFormat { .. })),
                "{time}"
            );
        }
    }

    #[test]
    fn rejects_malformed_objects() {
        for object in [
            &b""[..],
            b"tree x\n",
            &OBJECT[..60],
            &OBJECT[..46],
            b"parent x\ntree y\n",
        ] {
            let error = Commit::parse(GitOid::of_object("commit", object), object).unwrap_err();
            assert!(
                matches!(error, RepositoryError::CommitFormat { .. }),
                "{error}"
            );
        }
    }
}
