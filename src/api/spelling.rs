//! Converts between the spellings of a word that occurs in more than one.

/// Returns a word or a sentence with a capital first letter, if that is an ASCII letter.
pub fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + characters.as_str())
        .unwrap_or_default()
}

/// Returns a code in kebab-case as CamelCase.
pub fn camel_case(code: &str) -> String {
    code.split('-').map(capitalised).collect()
}

/// Returns a name in CamelCase as kebab-case.
pub fn kebab_case(name: &str) -> String {
    let mut code = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !code.is_empty() {
            code.push('-');
        }
        code.push(character.to_ascii_lowercase());
    }
    code
}

/// Returns a code in kebab-case as the title of a document.
pub fn title(code: &str) -> String {
    capitalised(&code.replace('-', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_type::ErrorType;

    #[test]
    fn spells_one_code_three_ways() {
        assert_eq!(camel_case("nonce-invalid"), "NonceInvalid");
        assert_eq!(kebab_case("OutOfMemory"), "out-of-memory");
        assert_eq!(title("nonce-invalid"), "Nonce invalid");
        for error_type in [
            ErrorType::OutOfMemory,
            ErrorType::SourceFetchFailed,
            ErrorType::Internal,
        ] {
            assert_eq!(
                camel_case(&kebab_case(error_type.as_str())),
                error_type.as_str()
            );
        }
    }
}
