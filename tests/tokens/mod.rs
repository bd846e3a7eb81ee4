//! Rust source as tokens, as far as rules about it need them.

/// Returns names, `::`, single characters of punctuation, and string literals with their quotes;
/// drops comments and characters.
pub fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((content, length)) = string_literal(rest) {
            found.push(format!("\"{content}\""));
            length
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut index = 0;
    while index < text.len() {
        let here = &text.as_bytes()[index..];
        if here.starts_with(b"/*") {
            depth += 1;
            index += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                break;
            }
        } else {
            index += 1;
        }
    }
    index
}

/// Returns the content and the whole length of the string literal at the beginning of `text`.
fn string_literal(text: &str) -> Option<(&str, usize)> {
    let opening = text
        .find(|c| !"bcr#".contains(c))
        .filter(|at| text[*at..].starts_with('"'))?;
    let (letters, hashes) = text[..opening].split_at(text[..opening].trim_end_matches('#').len());
    if !["", "b", "c", "r", "br", "cr"].contains(&letters)
        || (!hashes.is_empty() && !letters.ends_with('r'))
    {
        return None;
    }
    let inner = &text[opening + 1..];
    let closing = format!("\"{hashes}");
    let end = if letters.ends_with('r') {
        inner.find(&closing)
    } else {
        unescaped_quote(inner)
    };
    let end = end.unwrap_or(inner.len());
    Some((
        &inner[..end],
        (opening + 1 + end + closing.len()).min(text.len()),
    ))
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return Some(at),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Returns the length of a character literal, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((after, _))) => text[after + 1..]
            .find('\'')
            .map_or(1, |at| after + 1 + at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
