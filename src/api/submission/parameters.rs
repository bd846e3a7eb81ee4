//! Reads header values of the form `type; name=value; name="value"` (RFC 9110, section 5.6.6).
//!
//! * In: a header's text.
//! * Out: the type in lower case, and the parameters.
//! * Never: one of two values for the same parameter.

/// A header value with parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameterised {
    /// The text before the first semicolon, in lower case.
    pub(super) essence: String,
    parameters: Vec<(String, String)>,
}

impl Parameterised {
    /// Reads a value; returns `None` when it is malformed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.find(';').map_or("", |end| &text[end..]);
        let mut parameters = Vec::new();
        while let Some(after_semicolon) = rest.strip_prefix(';') {
            let parameter = trim_start(after_semicolon);
            if parameter.is_empty() || parameter.starts_with(';') {
                rest = parameter;
                continue;
            }
            let (name, value) = parameter.split_once('=')?;
            if !is_token(name) {
                return None;
            }
            let (value, after) = if value.starts_with('"') {
                quoted(value)?
            } else {
                token(value)?
            };
            parameters.push((name.to_ascii_lowercase(), value));
            rest = trim_start(after);
        }
        rest.is_empty().then_some(Self {
            essence: essence(text),
            parameters,
        })
    }

    /// Returns the value of the parameter `name`; `Err` when it is repeated.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self
            .parameters
            .iter()
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            Err(Repeated)
        } else {
            Ok(first)
        }
    }
}

/// Returns the text before the first semicolon in lower case, even if the rest is malformed.
pub(in crate::api) fn essence(text: &str) -> String {
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim_matches(is_space)
        .to_ascii_lowercase()
}

/// The error of a parameter that is repeated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated;

/// Returns a token and the text after it.
fn token(text: &str) -> Option<(String, &str)> {
    let (token, after) = text.split_at(text.find([';', ' ', '\t']).unwrap_or(text.len()));
    is_token(token).then(|| (token.to_owned(), after))
}

/// Returns the content of a quoted string and the text after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    loop {
        match characters.next()? {
            (end, '"') => return Some((content, &text[end + 1..])),
            (_, '\\') => content.push(characters.next()?.1),
            (_, character) => content.push(character),
        }
    }
}

/// Returns whether text is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tokens_quoted_strings_and_spaces() {
        let value = Parameterised::parse("Form-Data ; NAME=a ;; b=\"x\\\"; \\\\y=\" ;\t").unwrap();
        assert_eq!(value.essence, "form-data");
        assert_eq!(value.one("name"), Ok(Some("a")));
        assert_eq!(value.one("b"), Ok(Some("x\"; \\y=")));
        assert_eq!(value.one("c"), Ok(None));
        assert_eq!(
            Parameterised::parse("a; b=1; B=2").unwrap().one("b"),
            Err(Repeated)
        );
    }

    #[test]
    fn refuses_malformed_parameters() {
        for text in [
            "a; b",
            "a; =1",
            "a; b=",
            "a; b=\"x",
            "a; b=\"x\\",
            "a; b=x y",
            "a; b=\"x\"y",
            "a; b =1",
            "a; b= 1",
        ] {
            assert_eq!(Parameterised::parse(text), None, "{text}");
        }
    }
}
