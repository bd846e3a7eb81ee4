//! Builds the URL paths that documents contain: one function for each path of the table of routes
//! that a document names.

use super::route;
use crate::job::JobId;

/// Returns the URL path of the job document.
pub fn job(id: JobId) -> String {
    link(route::JOB, id, "")
}

/// Returns the URL path of the typed events.
pub fn events(id: JobId) -> String {
    link(route::EVENTS, id, "")
}

/// Returns the URL path of the statement.
pub fn provenance(id: JobId) -> String {
    link(route::PROVENANCE, id, "")
}

/// Returns the URL path of the evidence.
pub fn evidence(id: JobId) -> String {
    link(route::EVIDENCE, id, "")
}

/// Returns the URL path of the bundle.
pub fn result(id: JobId) -> String {
    link(route::RESULT, id, "")
}

/// Returns the URL path of one artifact.
pub fn artifact(id: JobId, name: &str) -> String {
    link(route::ARTIFACT, id, name)
}

/// Returns the URL path of one build configuration file.
pub fn build_config(id: JobId, name: &str) -> String {
    link(route::BUILD_CONFIG, id, name)
}

fn link(path: &str, id: JobId, name: &str) -> String {
    path.replace("{id}", &id.to_string())
        .replace("{name}", &encode(name))
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
    fn links_lead_where_routes_do() {
        let id = JobId::draw().unwrap();
        let names = "a b/{id}";
        let artifact = super::artifact(id, names);
        assert_eq!(artifact, format!("/builds/{id}/artifacts/a%20b/%7Bid%7D"));
        let (endpoint, variables) = route::find(&hyper::Method::GET, &artifact).unwrap();
        assert_eq!(endpoint, route::Endpoint::Artifact);
        assert_eq!(
            (variables.id, variables.name),
            (id.to_string(), names.to_owned())
        );
        assert_eq!(job(id), format!("/build/{id}"));
    }

    #[test]
    fn encodes_what_a_path_cannot_hold() {
        assert_eq!(encode("lib/a b%c?ü.so"), "lib/a%20b%25c%3F%C3%BC.so");
    }
}
