//! The in-toto Statement. Comes in: what the pipeline's receipts say. Goes out: its bytes, serialised once. Never: a
//! second serialisation; what is hashed is what is stored, served and verified.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest nonce, in bytes: the width of its field in the report data.
pub const MAX_NONCE_BYTES: usize = 16;

/// Why text is not a nonce.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseNonceError {
    /// It has no digits, too many, or an odd number.
    #[error("a nonce has 2 to {} hexadecimal digits, an even number; {digits} characters were given", 2 * MAX_NONCE_BYTES)]
    Length {
        /// Characters that were given.
        digits: usize,
    },
    /// A character is no hexadecimal digit.
    #[error("the nonce has a character that is no hexadecimal digit")]
    Digit,
}

/// The caller's freshness value: 1 to 16 bytes. Prints as lower-case hex.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    /// Reads 2 to 32 hexadecimal digits of either case.
    ///
    /// # Errors
    /// Another number of characters, or a character that is no digit.
    pub fn parse(text: &str) -> Result<Self, ParseNonceError> {
        let digits = text.chars().count();
        if digits == 0 || digits > 2 * MAX_NONCE_BYTES || !digits.is_multiple_of(2) {
            return Err(ParseNonceError::Length { digits });
        }
        hex::decode(text).map(Self).map_err(|_| ParseNonceError::Digit)
    }

    /// A nonce of the longest kind, from bytes that somebody drew at random.
    pub fn from_random(bytes: [u8; MAX_NONCE_BYTES]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes, 1 to 16.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who chose the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceSource {
    /// The submission carried it.
    Client,
    /// The appliance drew it.
    Appliance,
}

/// in-toto v1 ResourceDescriptor, the members that we use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDescriptor {
    /// A name within the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, globally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// DigestSet: algorithm to lower-case hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// More about it, by our names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, serde_json::Value>,
}
