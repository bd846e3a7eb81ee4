//! Reads nix's list of the store.
//!
//! * In: the output of `nix path-info`.
//! * Out: the entry of nix's database for each path, and the text that its signatures are for.
//! * Never: an entry that is trusted: the ledger compares each one with the tree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::digest::Sha256Digest;
use crate::json::{self, Limits};
use crate::toolchain::nix::base32;
use crate::toolchain::nix::nar::parse_hash;
use crate::toolchain::nix::store_path::StorePath;

use super::LedgerError;

/// The entry of nix's database for one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// The path in the store.
    pub path: StorePath,
    /// The NAR hash of its tree.
    pub nar_hash: Sha256Digest,
    /// The size of its tree's NAR, in bytes.
    pub nar_size: u64,
    /// The paths that it refers to, possibly itself.
    pub references: BTreeSet<StorePath>,
    /// The recipe that it was built by, if nix knows one.
    pub deriver: Option<StorePath>,
    /// The signatures, each as `NAME:BASE64`.
    pub signatures: Vec<String>,
    /// Whether the path was built here.
    pub ultimate: bool,
    /// The content address, if the path has one.
    pub ca: Option<String>,
}

impl PathInfo {
    /// Returns the text that is signed (nix manual, "Signing"):
    /// `1;PATH;sha256:BASE32;SIZE;REFERENCES`.
    pub fn fingerprint(&self) -> String {
        let references: Vec<_> = self.references.iter().map(StorePath::to_string).collect();
        let hash = base32::encode(self.nar_hash.as_bytes());
        format!(
            "1;{};sha256:{hash};{};{}",
            self.path,
            self.nar_size,
            references.join(",")
        )
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawInfo {
    nar_hash: String,
    nar_size: u64,
    references: Vec<String>,
    deriver: Option<String>,
    signatures: Vec<String>,
    ultimate: bool,
    ca: Option<String>,
}

/// Reads the output of `nix path-info --json --json-format 1`, and returns it sorted by path.
///
/// # Errors
/// The output cannot be read, or names a path that is missing in the store.
pub fn parse(json: &[u8]) -> Result<Vec<PathInfo>, LedgerError> {
    let infos: BTreeMap<String, Value> = json::read(json, Limits::NONE)?;
    infos
        .into_iter()
        .map(|(path, info)| path_info(path, info))
        .collect()
}

fn path_info(path: String, info: Value) -> Result<PathInfo, LedgerError> {
    if info.is_null() {
        return Err(LedgerError::Invalid { path });
    }
    let raw: RawInfo = serde_json::from_value(info)?;
    let nar_hash = parse_hash(&raw.nar_hash).map_err(|source| LedgerError::Hash {
        path: path.clone(),
        source,
    })?;
    let path = StorePath::parse(&path)?;
    let references = raw.references.iter().map(|path| StorePath::parse(path));
    Ok(PathInfo {
        path,
        nar_hash,
        nar_size: raw.nar_size,
        references: references.collect::<Result<_, _>>()?,
        deriver: raw.deriver.as_deref().map(StorePath::parse).transpose()?,
        signatures: raw.signatures,
        ultimate: raw.ultimate,
        ca: raw.ca,
    })
}
