//! Reads the query of a URL.
//!
//! * In: the query, and the name of a parameter.
//! * Out: the value of the parameter, decoded.
//! * Never: one of several values.

use super::problem::Problem;
use super::route::decode;

/// Returns the value of the parameter `name`, decoded as forms are (`+` is a space), or `None`
/// where it is missing.
///
/// # Errors
/// 400: the parameter is repeated, or its encoding is malformed.
pub fn parameter(query: Option<&str>, name: &str) -> Result<Option<String>, Problem> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(&key.replace('+', " ")).as_deref() != Some(name) {
            continue;
        }
        let Some(value) = decode(&value.replace('+', " ")) else {
            return Err(invalid(name, "is not encoded properly"));
        };
        if found.replace(value).is_some() {
            return Err(invalid(name, "is given more than once"));
        }
    }
    Ok(found)
}

fn invalid(name: &str, reason: &str) -> Problem {
    let detail = format!("the parameter {name} {reason}");
    Problem::new(400, "query-invalid", detail)
}

/// Reads decimal digits as a number; a number that is too large is read as the largest. Returns
/// `None` for anything else.
pub fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_one_parameter_among_others() {
        let find = |query| parameter(Some(query), "from").unwrap();
        assert_eq!(find("a=1&from=2&c"), Some("2".to_owned()));
        assert_eq!(find("%66rom=+%2B"), Some(" +".to_owned()));
        assert_eq!(find("from"), Some(String::new()));
        assert_eq!(find("From=1"), None);
        assert_eq!(parameter(None, "from").unwrap(), None);
        assert!(parameter(Some("from=1&from=1"), "from").is_err());
        assert!(parameter(Some("from=%"), "from").is_err());
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        assert_eq!((number("0"), number("12")), (Some(0), Some(12)));
        assert_eq!(number("99999999999999999999999"), Some(u64::MAX));
        for text in ["", "+1", "-1", " 1", "1 ", "0x1", "١"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
