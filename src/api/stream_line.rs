//! What fits into one `data:` line of `/build/stream`: published clients split each piece that they read at line ends,
//! and what they read ends with a record of TLS.
//!
//! - Comes in: a message, or the full result document.
//! - Goes out: the message in parts, or the result with URLs in place of what is long.
//! - Never: a line of over [`MAX_DATA_LINE_BYTES`], whatever has to be escaped in it.

use serde_json::{Map, Value};

use crate::job::{JobId, links};

/// Longest `data:` line, in bytes, with its line ending. A record of TLS holds 16 KiB (RFC 8446, section 5.1).
pub const MAX_DATA_LINE_BYTES: usize = 12 * 1024;

/// Room in a line for everything but the message: `data: `, the members of the event, a mark or an escaped bracket, and
/// the line ending.
const AROUND_MESSAGE_BYTES: usize = 64;

/// Room in a line for everything but the result document.
const AROUND_RESULT_BYTES: usize = 64;

/// Most bytes of JSON that one byte of text becomes: `\u001f`.
const MAX_GROWTH: usize = 6;

/// Cuts `text` into as many parts as it needs to fit into lines, one part where it is empty.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (part, after) = cut(rest?, MAX_DATA_LINE_BYTES - AROUND_MESSAGE_BYTES);
        rest = (!after.is_empty()).then_some(after);
        Some(part)
    })
}

/// Returns the result document as `/build/stream` says it: with URLs in place of provenance and evidence, and where it
/// is still too long, without the artifacts, or with the beginning of the error.
pub fn result(id: JobId, document: &str) -> String {
    let mut members: Map<String, Value> = match serde_json::from_str(document) {
        Ok(members) => members,
        Err(error) => {
            log::error!("a result document cannot be read: {error}");
            return Value::Null.to_string();
        }
    };
    let url = |name: &str| Value::from(format!("{}/{name}", links::job(id)));
    if members.remove("provenance").is_some() {
        members.insert("provenance_url".to_owned(), url("provenance.json"));
    }
    if let Some(evidence) = members.remove("evidence") {
        let url = match evidence {
            Value::Null => Value::Null,
            _ => url("evidence.json"),
        };
        members.insert("evidence_url".to_owned(), url);
    }
    if excess(&members) > 0 {
        members.remove("artifacts");
    }
    let excess = excess(&members);
    if let (1.., Some(Value::String(error))) = (excess, members.get_mut("error")) {
        let beginning = cut(error, json_length(error).saturating_sub(excess)).0;
        *error = beginning.to_owned();
    }
    Value::from(members).to_string()
}

/// Returns how many bytes of a result do not fit into a line.
fn excess(result: &Map<String, Value>) -> usize {
    let length = serde_json::to_string(result).map_or(usize::MAX, |text| text.len());
    length.saturating_sub(MAX_DATA_LINE_BYTES - AROUND_RESULT_BYTES)
}

/// Splits `text` where its JSON would get longer than `limit` bytes.
fn cut(text: &str, limit: usize) -> (&str, &str) {
    if text.len() <= limit / MAX_GROWTH {
        return (text, "");
    }
    let mut length = 0;
    for (place, character) in text.char_indices() {
        length += json_bytes(character);
        if length > limit {
            return text.split_at(place);
        }
    }
    (text, "")
}

fn json_length(text: &str) -> usize {
    text.chars().map(json_bytes).sum()
}

/// Returns the length of a character in a JSON string.
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => MAX_GROWTH,
        _ => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id() -> JobId {
        JobId::parse("00112233445566778899aabbccddeeff").unwrap()
    }

    fn shortened(document: &Value) -> Value {
        let text = result(id(), &document.to_string());
        let line = format!("data: {{\"type\":\"complete\",\"result\":{text}}}\n");
        assert!(line.len() <= MAX_DATA_LINE_BYTES, "{}", line.len());
        serde_json::from_str(&text).unwrap()
    }

    fn success(artifacts: usize) -> Value {
        let dependency = |number| {
            json!({"uri": format!("pkg:cargo/dependency-{number}@1.2.3"),
                "digest": {"sha256": "0".repeat(64)}})
        };
        let dependencies: Vec<Value> = (0..400).map(dependency).collect();
        let artifact = |number| json!({"name": format!("program-{number}"), "size": 1, "sha256": "0".repeat(64)});
        let artifacts: Vec<Value> = (0..artifacts).map(artifact).collect();
        json!({"status": "success", "artifacts": artifacts, "result_url": "/build/x/result",
            "provenance": {"resolvedDependencies": dependencies}, "evidence": {"report": "AA=="}})
    }

    #[test]
    fn the_lengths_are_those_of_the_library() {
        for character in ('\0'..='\u{ff}').chain(['\u{2028}', '\u{fffd}', '🦀']) {
            let json = serde_json::to_string(&character.to_string()).unwrap();
            assert_eq!(json_bytes(character), json.len() - 2, "{character:?}");
            assert!(json_bytes(character) <= MAX_GROWTH * character.len_utf8());
        }
    }

    #[test]
    fn a_message_comes_in_parts_that_fit_and_lose_nothing() {
        let long = 3 * MAX_DATA_LINE_BYTES;
        for (text, count) in [
            (String::new(), 1),
            ("short".to_owned(), 1),
            ("x".repeat(long), 4),
            ("\"".repeat(long), 7),
            ("\\".repeat(long), 7),
            ("\t".repeat(long), 7),
            ("🦀".repeat(long), 13),
            (format!("x{}", "🦀".repeat(long)), 13),
        ] {
            let parts: Vec<&str> = parts(&text).collect();
            assert_eq!(parts.len(), count);
            assert!(parts.concat() == text);
            for part in parts {
                let length = serde_json::to_string(part).unwrap().len();
                assert!(length + AROUND_MESSAGE_BYTES <= MAX_DATA_LINE_BYTES + 2);
            }
        }
    }

    #[test]
    fn a_result_has_urls_in_place_of_what_is_long() {
        let short = shortened(&success(2));
        let mut expected = success(2);
        let members = expected.as_object_mut().unwrap();
        members.remove("provenance");
        members.remove("evidence");
        let url = |name: &str| format!("/build/{}/{name}", id()).into();
        members.insert("provenance_url".to_owned(), url("provenance.json"));
        members.insert("evidence_url".to_owned(), url("evidence.json"));
        assert_eq!(short, expected);

        let mut without_evidence = success(2);
        without_evidence["evidence"] = Value::Null;
        assert_eq!(shortened(&without_evidence)["evidence_url"], Value::Null);

        let many = shortened(&success(400));
        assert_eq!(many.get("artifacts"), None);
        assert_eq!(many["result_url"], "/build/x/result");
    }

    #[test]
    fn a_failure_keeps_the_beginning_of_its_error() {
        let failure =
            |error: &str| json!({"status": "failed", "error": error, "error_type": "BuildFailed"});
        assert_eq!(shortened(&failure("no")), failure("no"));
        let long = shortened(&failure(&"\"é".repeat(MAX_DATA_LINE_BYTES)));
        let error = long["error"].as_str().unwrap();
        assert!(error.len() > MAX_DATA_LINE_BYTES / 2);
        assert!(error.starts_with("\"é\"é") && long["error_type"] == "BuildFailed");
    }
}
