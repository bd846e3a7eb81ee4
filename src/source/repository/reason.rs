//! Finds git's own reason for a failure, for a message to the caller.
//!
//! * In: the lines that git prints to standard error.
//! * Out: the last one that has a known reason of git's or curl's in it, of limited length.
//! * Never: a server's response: the server could be one of the machine's own network.

/// The beginnings of the lines in which git says why it gives up.
const STARTS: [&str; 2] = ["fatal: ", "error: "];

/// The words by which a reason is known to be git's own, or curl's.
const KNOWN: [&str; 14] = [
    "couldn't find remote ref",
    "not found",
    "not appear to be a git repository",
    "unable to access",
    "unable to update url base",
    "could not read Username",
    "Authentication failed",
    "Could not resolve host",
    "Failed to connect",
    "timed out",
    "SSL certificate",
    "early EOF",
    "has bad hash",
    "died of signal",
];

/// The texts by which git introduces a server's own words, which could contain a known reason.
const OF_THE_SERVER: [&str; 4] = [
    "remote error",
    "protocol error",
    "server response",
    "bad line length",
];

/// The length of the longest reason, in bytes.
const MAX_REASON_BYTES: usize = 400;

/// Returns the reason in a line of git's, if the line has one.
pub(super) fn of_line(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    let reason = STARTS.iter().find_map(|start| text.strip_prefix(start))?;
    let has = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if !has(&KNOWN) || has(&OF_THE_SERVER) {
        return None;
    }
    let mut reason = reason.to_owned();
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_of_git_are_a_reason() {
        for (line, reason) in [
            (
                "fatal: couldn't find remote ref vv1\n",
                "couldn't find remote ref vv1",
            ),
            (
                "fatal: unable to access 'https://h/': Could not resolve host: h",
                "unable to access 'https://h/': Could not resolve host: h",
            ),
            ("error: File 01 has bad hash", "File 01 has bad hash"),
        ] {
            assert_eq!(of_line(line.as_bytes()).as_deref(), Some(reason));
        }
        for line in [
            "remote: not found",
            "fatal: remote error: not found: secret",
            "fatal: protocol error: bad line length character: secr",
            "fatal: invalid server response; got 'secret not found'",
            "fatal: protocol error: unexpected 'secret timed out'",
            "Cloning not found",
        ] {
            assert_eq!(of_line(line.as_bytes()), None, "{line}");
        }
        let long = format!("fatal: unable to access {}", "ö".repeat(MAX_REASON_BYTES));
        assert!(of_line(long.as_bytes()).unwrap().len() <= MAX_REASON_BYTES);
    }
}
