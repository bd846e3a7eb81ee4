//! Commit objects. Comes in: the raw object and the id that it should have. Goes out: its tree and its time. Never: an
//! object that does not hash to its id.

use super::RepositoryError;
use crate::digest::GitOid;

/// Largest commit object, in bytes: messages and signatures are text.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// Latest time of a commit, in seconds: the last that the header of a tar can say, in the year 2242. A later one could be
/// beyond what the system has for the time of a file.
const LATEST_TIME: u64 = 0o777_7777_7777;

/// What a commit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Computed from its bytes.
    pub id: GitOid,
    /// As it says.
    pub tree: GitOid,
    /// The committer's time, in seconds, up to 8589934591.
    pub time: u64,
}

impl Commit {
    /// Reads the object that should have the id `id`.
    ///
    /// # Errors
    /// It has another id, or is no commit.
    pub fn parse(id: GitOid, object: &[u8]) -> Result<Self, RepositoryError> {
        let actual = GitOid::of_object("commit", object);
        if actual != id {
            return Err(RepositoryError::CommitHash {
                expected: id,
                actual,
            });
        }
        let malformed = || RepositoryError::CommitFormat { commit: id };
        let tree = object
            .strip_prefix(b"tree ")
            .and_then(|rest| rest.split_at_checked(40))
            .ok_or_else(malformed)?;
        let tree = std::str::from_utf8(tree.0)
            .ok()
            .filter(|_| tree.1.starts_with(b"\n"));
        let tree = tree
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(malformed)?;
        let headers = object
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.is_empty());
        let mut committers = headers.filter_map(|line| line.strip_prefix(b"committer "));
        let time = committers.next().and_then(time).ok_or_else(malformed)?;
        Ok(Self { id, tree, time })
    }
}

/// `NAME <MAIL> SECONDS ZONE`.
fn time(committer: &[u8]) -> Option<u64> {
    let end = committer.iter().rposition(|byte| *byte == b'>')?;
    let (seconds, _zone) = std::str::from_utf8(&committer[end + 1..])
        .ok()?
        .strip_prefix(' ')?
        .split_once(' ')?;
    seconds
        .parse()
        .ok()
        .filter(|&seconds| seconds <= LATEST_TIME)
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
