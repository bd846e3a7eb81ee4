//! Recognises a recipe that only unpacks a download.
//!
//! * In: a recipe, in the store's own text (nix, "Derivation", ATerm format).
//! * Out: the download that it only unpacks, with nix's own builder.
//! * Never: a recipe that ends a build. Nix has run it; one that cannot be read here names no
//!   download.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::store_path::StorePath;

/// The size of the largest recipe that is read, in bytes: one with thousands of inputs has a few
/// hundred thousand.
const MAX_RECIPE_BYTES: u64 = 16 << 20;

/// The levels of lists in a recipe: its own, its inputs, one input, the outputs of that.
const MAX_NESTING: usize = 4;

/// The beginning of the text, before the list of the recipe's members.
const START: &str = "Derive";

/// Nix's own builder that only unpacks the archive `src`, whatever its compression.
const UNPACK: &str = "builtin:unpack-channel";

/// The variable of the environment that names the archive.
const ARCHIVE: &str = "src";

/// The position of the builder among the members of a recipe.
const BUILDER: usize = 4;

/// The position of the environment among the members of a recipe.
const ENVIRONMENT: usize = 6;

/// The number of members that a recipe has.
const MEMBERS: usize = 7;

/// A text, or a list in brackets of either kind.
#[derive(Debug, PartialEq, Eq)]
enum Term {
    Text(String),
    List(Vec<Self>),
}

/// Returns the download that the recipe in the file `recipe` unpacks, if it does nothing else.
///
/// # Errors
/// The file cannot be read.
pub(super) fn unpacked_from(
    recipe: &Path,
    downloads: &BTreeSet<&StorePath>,
) -> io::Result<Option<StorePath>> {
    let mut text = Vec::new();
    File::open(recipe)?
        .take(MAX_RECIPE_BYTES)
        .read_to_end(&mut text)?;
    let Some(path) = unpacked(&String::from_utf8_lossy(&text)) else {
        return Ok(None);
    };
    let archive = StorePath::parse(&path).ok();
    Ok(archive.filter(|archive| downloads.contains(archive)))
}

/// Returns the archive of a recipe that only unpacks one.
fn unpacked(recipe: &str) -> Option<String> {
    let mut rest = recipe.strip_prefix(START)?;
    let Term::List(members) = term(&mut rest, 0)? else {
        return None;
    };
    if members.len() != MEMBERS || members[BUILDER] != Term::Text(UNPACK.to_owned()) {
        return None;
    }
    let Term::List(environment) = &members[ENVIRONMENT] else {
        return None;
    };
    environment.iter().find_map(|variable| match variable {
        Term::List(pair) => match pair.as_slice() {
            [Term::Text(name), Term::Text(value)] if name == ARCHIVE => Some(value.clone()),
            _ => None,
        },
        Term::Text(_) => None,
    })
}

/// Reads one term from the beginning of `rest`.
fn term(rest: &mut &str, nesting: usize) -> Option<Term> {
    let end = match rest.chars().next()? {
        '"' => return text(rest).map(Term::Text),
        '[' => ']',
        '(' => ')',
        _ => return None,
    };
    *rest = &rest[1..];
    let mut members = Vec::new();
    if nesting == MAX_NESTING {
        return None;
    }
    loop {
        if let Some(after) = rest.strip_prefix(end) {
            *rest = after;
            return Some(Term::List(members));
        }
        if !members.is_empty() {
            *rest = rest.strip_prefix(',')?;
        }
        members.push(term(rest, nesting + 1)?);
    }
}

/// Reads a text in quotes. A backslash precedes backslashes, quotes and three white spaces.
fn text(rest: &mut &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &rest[at + 1..];
                return Some(text);
            }
            '\\' => text.push(match characters.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            }),
            character => text.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE_PATH: &str = "/nix/store/2s1hqd8frgg7xfhr9pi3hclcnx4kij24-archive.tar.xz";

    fn recipe(builder: &str, environment: &str) -> String {
        format!(
            "Derive([(\"out\",\"/nix/store/x-out\",\"\",\"\")],[(\"/nix/store/y.drv\",[\"out\"])],\
             [\"/nix/store/z\"],\"x86_64-linux\",\"{builder}\",[],[{environment}])"
        )
    }

    #[test]
    fn a_recipe_that_only_unpacks_names_its_archive() {
        let channel = r#"("channelName","a\"b\\n")"#;
        let environment = format!(r#"{channel},("src","{ARCHIVE_PATH}"),("system","builtin")"#);
        assert_eq!(
            unpacked(&recipe(UNPACK, &environment)).as_deref(),
            Some(ARCHIVE_PATH)
        );
        assert_eq!(unpacked(&recipe("/bin/sh", &environment)), None);
        assert_eq!(unpacked(&recipe("builtin:buildenv", &environment)), None);
        assert_eq!(unpacked(&recipe(UNPACK, r#"("name","x")"#)), None);
    }

    #[test]
    fn what_is_no_recipe_says_nothing() {
        let good = recipe(UNPACK, &format!(r#"("src","{ARCHIVE_PATH}")"#));
        for length in 0..good.len() {
            assert_eq!(unpacked(&good[..length]), None, "{length}");
        }
        assert_eq!(unpacked(&format!("Derive{}", "[".repeat(1 << 20))), None);
        assert_eq!(unpacked(&good.replace("Derive(", "DrvWithVersion(")), None);
    }

    #[test]
    fn only_an_archive_that_was_downloaded_makes_it_a_copy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recipe = recipe(UNPACK, &format!(r#"("src","{ARCHIVE_PATH}")"#));
        std::fs::write(file.path(), recipe).unwrap();
        let archive = StorePath::parse(ARCHIVE_PATH).unwrap();
        let found = unpacked_from(file.path(), &BTreeSet::from([&archive])).unwrap();
        assert_eq!(found, Some(archive.clone()));
        assert_eq!(unpacked_from(file.path(), &BTreeSet::new()).unwrap(), None);
    }
}
