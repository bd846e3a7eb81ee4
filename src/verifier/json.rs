//! JSON from outside, read strictly.
//!
//! * In: bytes from anybody.
//! * Out: the value that serde reads from them.
//! * Never: a repeated key, a byte order mark, text that is not UTF-8, or anything after the
//!   document.

use serde::de::Deserialize;

pub use crate::json::Text;
use crate::json::{self, Limits};

/// Most keys of an object and of those around it, together: their names are kept until it ends.
pub const MAX_OPEN_KEYS: usize = 16 << 10;
/// Longest string, in bytes: the kernel's limit for one argument (Linux, MAX_ARG_STRLEN). It may
/// end up in a message.
pub const MAX_STRING_BYTES: usize = 128 << 10;

/// Why bytes are not the document that they should be. The message names line and column.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are no text.
    #[error("it is not UTF-8")]
    Utf8,
    /// The text begins with a mark that JSON does not have (RFC 8259, section 8.1).
    #[error("it begins with a byte order mark")]
    ByteOrderMark,
    /// The text is no JSON, repeats a key, or lacks a member.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
}

/// Reads one document: strictly as JSON first, then as a `T`.
///
/// # Errors
/// The bytes are no strict JSON, or no `T`.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, JsonError> {
    read_strings(bytes, MAX_STRING_BYTES)
}

/// Reads one document like [`read`], in which one string may be as long as the document.
///
/// # Errors
/// It is no strict JSON, or no `T`. The message may quote such a string.
pub fn read_long<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: u64) -> Result<T, JsonError> {
    read_strings(bytes, usize::try_from(limit).unwrap_or(usize::MAX))
}

fn read_strings<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    string_bytes: usize,
) -> Result<T, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Utf8)?;
    if text.starts_with('\u{feff}') {
        return Err(JsonError::ByteOrderMark);
    }
    let limits = Limits {
        open_keys: MAX_OPEN_KEYS,
        string_bytes,
    };
    Ok(json::read(bytes, limits)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn rejects_what_two_readers_could_read_differently() {
        for text in [
            &b"\xef\xbb\xbf{}"[..],
            br#"{"a":1,"a":1}"#,
            br#"{"a":1,"\u0061":1}"#,
            br#"[{"b":{"a":1,"a":2}}]"#,
            b"{} {}",
            b"{},",
            b"",
            b"\"\xff\"",
            br#"["\ud800"]"#,
            b"[1e999]",
            b"[NaN]",
        ] {
            assert!(read::<Value>(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn white_space_order_and_escapes_do_not_matter() {
        let text = b" {\"b\" : [1, null, true, 1.5, -1] ,\n \"\\u0061\" : \"\\u00e9\" } \n";
        assert_eq!(
            read::<Value>(text).unwrap(),
            serde_json::json!({"a": "é", "b": [1, null, true, 1.5, -1]})
        );
    }

    #[test]
    fn keys_have_a_limit_with_those_of_the_objects_around() {
        let object = |keys, last: &str| {
            let members: Vec<_> = (1..keys)
                .map(|key| format!("\"{key}\":0"))
                .chain([format!("\"\":{last}")])
                .collect();
            format!("{{{}}}", members.join(","))
        };
        let half = object(MAX_OPEN_KEYS / 2, "0");
        let accepts = |text: String| read::<Value>(text.as_bytes()).is_ok();
        assert!(accepts(object(MAX_OPEN_KEYS, "0")) && !accepts(object(MAX_OPEN_KEYS + 1, "0")));
        assert!(
            accepts(object(MAX_OPEN_KEYS / 2, &half))
                && !accepts(object(MAX_OPEN_KEYS / 2 + 1, &half))
        );
        assert!(accepts(format!("[{half},{half},{half}]")));
    }

    #[test]
    fn strings_have_a_limit() {
        let long = |more| "a".repeat(MAX_STRING_BYTES + more);
        for text in ["[\"TEXT\"]", "{\"TEXT\":0}", "{\"a\":{\"b\":\"TEXT\"}}"] {
            assert!(
                read::<Value>(text.replace("TEXT", &long(0)).as_bytes()).is_ok(),
                "{text}"
            );
            let refusal = read::<Value>(text.replace("TEXT", &long(1)).as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                refusal.contains("MAX_STRING_BYTES") && refusal.len() < 200,
                "{refusal}"
            );
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert!(matches!(read::<Value>(&deep), Err(JsonError::Syntax(_))));
    }
}
