//! Reads JSON that all readers understand alike.
//!
//! * In: bytes from outside.
//! * Out: the value that serde reads from them.
//! * Never: a repeated key, of whose values each program could take another one, or anything after
//!   the document.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

/// The limits for one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most keys of an object and of the objects around it, together: their names are kept
    /// until the object ends.
    pub open_keys: usize,
    /// The length of the longest string, in bytes.
    pub string_bytes: usize,
}

impl Limits {
    /// No limits at all, for a document that is not long.
    #[cfg(feature = "appliance")]
    pub const NONE: Self = Self {
        open_keys: usize::MAX,
        string_bytes: usize::MAX,
    };
}

/// Reads one document: strictly as JSON first, then as a `T`.
///
/// # Errors
/// The bytes are not JSON, have a repeated key or more than the limits, or are not a `T`.
pub fn read<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    limits: Limits,
) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict {
        limits,
        open_keys: &Cell::new(0),
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    serde_json::from_slice(bytes)
}

/// Accepts any value without a repeated key or a string that is too long. It keeps nothing: a large
/// document costs only the keys of one path.
#[derive(Clone, Copy)]
struct Strict<'c> {
    limits: Limits,
    open_keys: &'c Cell<usize>,
}

impl Strict<'_> {
    /// Refuses a string that is too long.
    fn check<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let limit = self.limits.string_bytes;
        if text.len() <= limit {
            return Ok(());
        }
        Err(E::custom(format!(
            "a string has over {limit} bytes (MAX_STRING_BYTES)"
        )))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.check(text)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut keys: Vec<Text<'de>> = Vec::new();
        let outer = self.open_keys.get();
        while let Some(key) = members.next_key::<Text<'de>>()? {
            self.check(&key)?;
            keys.push(key);
            self.open_keys.set(outer + keys.len());
            let limit = self.limits.open_keys;
            if self.open_keys.get() > limit {
                return Err(A::Error::custom(format!(
                    "over {limit} keys are open (MAX_OPEN_KEYS)"
                )));
            }
            members.next_value_seed(self)?;
        }
        self.open_keys.set(outer);
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(A::Error::custom(format!(
                "the key {:?} is repeated",
                pair[0].0
            ))),
            None => Ok(()),
        }
    }
}

/// A string that is borrowed from the document where it has no escapes. serde borrows no `Cow`
/// inside other types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn value(text: &[u8]) -> Result<Value, serde_json::Error> {
        let limits = Limits {
            open_keys: 100,
            string_bytes: 100,
        };
        read(text, limits)
    }

    #[test]
    fn reads_what_serde_reads() {
        let text = br#"{"a":[1,-2,0.5,true,null,"x\u00e9"],"b":{"a":{}}}"#;
        assert_eq!(
            value(text).unwrap(),
            serde_json::from_slice::<Value>(text).unwrap()
        );
    }

    #[test]
    fn refuses_a_repeated_key_and_what_is_not_json() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"\u0061":2}}]"#,
            "{}x",
            "",
            "\u{feff}{}",
        ] {
            assert!(value(text.as_bytes()).is_err(), "{text}");
        }
        assert!(value("[".repeat(200).as_bytes()).is_err());
    }
}
