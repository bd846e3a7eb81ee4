//! Verifies the signatures of store paths.
//!
//! * In: the keys that the image trusts, and a path's fingerprint with its signatures.
//! * Out: the name of the trusted key that signed exactly that fingerprint.
//! * Never: a signature that was not verified.
//!
//! A key is `NAME:` and 32 bytes in base 64, a signature `NAME:` and 64 (Ed25519, RFC 8032); the
//! path's fingerprint is signed (nix manual, "Signing").

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey};

/// Why a text is not a list of keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrustedKeysError {
    /// A key is not `NAME:BASE64` of the right length.
    #[error("{key:?} is not a public key")]
    Key {
        /// The text that was read.
        key: String,
    },
    /// Two keys have the same name.
    #[error("there are two keys with the name {name:?}")]
    Duplicate {
        /// The name that is repeated.
        name: String,
    },
}

/// The keys whose signatures count, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(BTreeMap<String, [u8; ED25519_PUBLIC_KEY_LEN]>);

impl TrustedKeys {
    /// Reads keys with white space between them, as `trusted-public-keys` has them.
    ///
    /// # Errors
    /// A text is not a key, or its name is repeated.
    pub fn parse(text: &str) -> Result<Self, TrustedKeysError> {
        let mut keys = BTreeMap::new();
        for key in text.split_whitespace() {
            let (name, bytes) = named(key).ok_or_else(|| TrustedKeysError::Key {
                key: key.to_owned(),
            })?;
            if keys.insert(name.to_owned(), bytes).is_some() {
                return Err(TrustedKeysError::Duplicate {
                    name: name.to_owned(),
                });
            }
        }
        Ok(Self(keys))
    }

    /// Returns these keys and the ones in `text`.
    ///
    /// # Errors
    /// The text is not a list of keys, or one of its names belongs to another key.
    pub(super) fn and(&self, text: &str) -> Result<Self, TrustedKeysError> {
        let mut keys = self.0.clone();
        for (name, bytes) in Self::parse(text)?.0 {
            if keys
                .insert(name.clone(), bytes)
                .is_some_and(|before| before != bytes)
            {
                return Err(TrustedKeysError::Duplicate { name });
            }
        }
        Ok(Self(keys))
    }

    /// Returns the name of the trusted key of the first of `signatures` that is valid for
    /// `fingerprint`.
    pub(crate) fn signer(&self, fingerprint: &str, signatures: &[String]) -> Option<&str> {
        signatures.iter().find_map(|signature| {
            let (name, signature) = named::<64>(signature)?;
            let (name, key) = self.0.get_key_value(name)?;
            UnparsedPublicKey::new(&ED25519, key)
                .verify(fingerprint.as_bytes(), &signature)
                .ok()?;
            Some(name.as_str())
        })
    }
}

/// Reads `NAME:BASE64`, where the bytes are `N`.
fn named<const N: usize>(text: &str) -> Option<(&str, [u8; N])> {
    let (name, base64) = text.split_once(':').filter(|(name, _)| !name.is_empty())?;
    Some((name, STANDARD.decode(base64).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::nix::ledger::{PathInfo, parse};

    const KEY: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/cache.pub"
    ));
    const INFOS: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/path-info.json"
    ));

    /// What `nix store sign` added to `hello` with the same key: a path that refers to others and
    /// to itself.
    const OF_HELLO: &str = "test-cache-1:+eg77Rr9Irntcnkt5fA/q0Vdx2Orx0SFWcPynWGuFJiu0VIB1y+S7TyKfHiTOcyEpjrkhzeY6bSt5LA6JXSEBw==";

    fn info(name: &str) -> PathInfo {
        parse(INFOS)
            .unwrap()
            .into_iter()
            .find(|info| info.path.name() == name)
            .unwrap()
    }

    fn signer<'a>(keys: &'a TrustedKeys, info: &PathInfo) -> Option<&'a str> {
        keys.signer(&info.fingerprint(), &info.signatures)
    }

    fn hello() -> PathInfo {
        PathInfo {
            signatures: vec![OF_HELLO.to_owned()],
            ..info("hello-1.0")
        }
    }

    #[test]
    fn a_further_key_does_not_displace_one() {
        let keys = TrustedKeys::parse(KEY).unwrap();
        assert_eq!(keys.and(KEY).as_ref(), Ok(&keys));
        let other = format!("test-cache-1:{}=", "A".repeat(43));
        let refusal = keys.and(&other).unwrap_err();
        assert!(
            matches!(refusal, TrustedKeysError::Duplicate { .. }),
            "{refusal}"
        );
        let more = keys.and(&other.replace("cache-1", "cache-2")).unwrap();
        assert_eq!(signer(&more, &info("greeting-2.1")), Some("test-cache-1"));
        assert_ne!(more, keys);
    }

    #[test]
    fn knows_the_signatures_that_nix_makes() {
        let keys = TrustedKeys::parse(KEY).unwrap();
        assert_eq!(signer(&keys, &info("greeting-2.1")), Some("test-cache-1"));
        assert_eq!(signer(&keys, &hello()), Some("test-cache-1"));
        assert_eq!(signer(&keys, &info("note")), None);
    }

    #[test]
    fn a_signature_is_of_everything_that_identifies_the_content() {
        let keys = TrustedKeys::parse(KEY).unwrap();
        let signed = |change: &dyn Fn(&mut PathInfo)| {
            let mut info = hello();
            change(&mut info);
            signer(&keys, &info).is_some()
        };
        assert!(signed(&|info| info.deriver = None));
        assert!(!signed(&|info| info.nar_size += 1));
        assert!(!signed(
            &|info| info.nar_hash = crate::digest::Sha256Digest::of(b"")
        ));
        assert!(!signed(&|info| drop(info.references.pop_first())));
        assert!(!signed(&|info| info.path = super::tests::info("note").path));
        assert!(!signed(
            &|info| info.signatures[0] = info.signatures[0].replace("+eg7", "+eg8")
        ));
    }

    #[test]
    fn only_a_trusted_key_counts_whatever_its_name() {
        let info = hello();
        assert_eq!(signer(&TrustedKeys::parse("").unwrap(), &info), None);
        let renamed = KEY.replace("test-cache-1", "other-1");
        assert_eq!(signer(&TrustedKeys::parse(&renamed).unwrap(), &info), None);
        let another = format!("test-cache-1:{}", STANDARD.encode([7; 32]));
        assert_eq!(signer(&TrustedKeys::parse(&another).unwrap(), &info), None);
        let keys = TrustedKeys::parse(KEY).unwrap();
        let others = [
            "",
            "x",
            "test-cache-1:",
            "test-cache-1:AAAA",
            "other-1:AAAA",
            OF_HELLO,
        ]
        .map(str::to_owned);
        assert_eq!(
            signer(
                &keys,
                &PathInfo {
                    signatures: others.into(),
                    ..info
                }
            ),
            Some("test-cache-1")
        );
    }

    #[test]
    fn refuses_what_is_no_list_of_keys() {
        let two = format!("{KEY}\n\t{}", KEY.replace("test-cache-1", "other-1"));
        assert_eq!(TrustedKeys::parse(&two).unwrap().0.len(), 2);
        let twice = TrustedKeys::parse(&format!("{KEY} {KEY}"));
        assert_eq!(
            twice,
            Err(TrustedKeysError::Duplicate {
                name: "test-cache-1".to_owned()
            })
        );
        for bad in [
            "x",
            ":AAAA",
            "x:",
            "x:AAAA",
            &KEY[..KEY.len() - 3],
            OF_HELLO,
        ] {
            assert!(
                matches!(TrustedKeys::parse(bad), Err(TrustedKeysError::Key { .. })),
                "{bad}"
            );
        }
    }
}
