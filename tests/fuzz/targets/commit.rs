//! Any bytes as a commit object of git.

use kettle::digest::GitOid;
use kettle::source::repository::commit::Commit;

/// An object with another id is not read; the tree of one that is read is in its first line.
pub fn target(data: &[u8]) {
    assert!(Commit::parse(GitOid::from_bytes([0; 20]), data).is_err());
    let Ok(commit) = Commit::parse(GitOid::of_object("commit", data), data) else {
        return;
    };
    let line = format!("tree {}\n", commit.tree);
    assert!(data[..line.len()].eq_ignore_ascii_case(line.as_bytes()));
    assert!(
        contains(data, format!("> {}", commit.time).as_bytes())
            || contains(data, b"> 0")
            || contains(data, b"> +")
    );
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
