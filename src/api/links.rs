//! Where a job's things are found: one function per path, so that no two documents spell one differently.

use crate::job::JobId;

/// The job document.
pub fn job(id: JobId) -> String {
    format!("/build/{id}")
}

/// The typed events.
pub fn events(id: JobId) -> String {
    format!("/build/{id}/events")
}

/// The bundle.
pub fn result(id: JobId) -> String {
    format!("/build/{id}/result")
}

/// One artifact.
pub fn artifact(id: JobId, name: &str) -> String {
    format!("/builds/{id}/artifacts/{}", encode(name))
}

/// One build configuration file.
pub fn build_config(id: JobId, name: &str) -> String {
    format!("/builds/{id}/build-config/{}", encode(name))
}

/// Percent-encodes everything that RFC 3986 (section 2.3) does not call unreserved, except `/`.
pub fn encode(path: &str) -> String {
    let encode_byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(encode_byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_a_path_cannot_hold() {
        assert_eq!(encode("lib/a b%c?ü.so"), "lib/a%20b%25c%3F%C3%BC.so");
    }
}
