//! Images whose measurements must not be trusted any more.
//!
//! * In: `measurements/revoked.json` as it was at compilation.
//! * Out: whether a launch measurement or a firmware is of such an image, and why.
//! * Never: a damaged list that revokes nothing.
//!
//! Each entry of the list has `version` and `reason`, and revokes:
//!
//! | member | revokes |
//! |---|---|
//! | `version` | each measurement of that version's published file, whose firmware has to be the entry's if it names one |
//! | `firmware_sha256` | each measurement of a file that names this firmware |
//! | `chains`, `max_vcpus` | the measurements that the chains are extended to, as in a file of format 2 |
//!
//! A version has an entry for each image that bore its name, builds before its release among them.
//! A published file with the member `withdrawn` counts as an entry.
//!
//! Extending every chain of the list takes longer than the rest of a verification.
//! `measurements/revoked.index` avoids that for measurements that no chain leads to. It starts with
//! the SHA-256 of the list's digest and the rest of the index, which is the first four bytes of
//! each measurement of the chains, sorted. An index that is missing, cut off, or of another list is
//! not used.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::digest::Sha256Digest;
use crate::snp::measurement::{Chain, LaunchMeasurement};

use super::compiled_in::{PUBLISHED, REVOKED, REVOKED_INDEX};
use super::json;
use super::published::{self, ChainEntry, Image, ReferenceError};

/// The format of the list that is known.
const FORMAT: u64 = 1;
/// The number of bytes of each measurement in an index.
const INDEXED_BYTES: usize = 4;

/// The list that was compiled in.
static COMPILED_IN: LazyLock<Revocations> = LazyLock::new(|| match REVOKED {
    Some(list) => Revocations::read(list, PUBLISHED).map_or_else(
        |error| Revocations::damaged(&error),
        |found| Revocations {
            index: REVOKED_INDEX.and_then(|bytes| Index::of(list, bytes)),
            ..found
        },
    ),
    None => Revocations::default(),
});

/// The reason why an image must not be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The version of the image.
    pub version: String,
    /// The reason as a sentence for people.
    pub reason: String,
}

/// A list of revoked images.
#[derive(Debug, Default)]
pub struct Revocations {
    entries: Vec<RevokedImage>,
    /// All images whose files were compiled in, revoked ones and others.
    images: Vec<Image>,
    /// The index that avoids extending the chains.
    index: Option<Index>,
    /// The reason to revoke everything, where the list cannot be read.
    all: Option<Revocation>,
}

/// The first bytes of each measurement that a chain of the list is extended to, sorted.
#[derive(Clone, Copy, Debug)]
struct Index(&'static [[u8; INDEXED_BYTES]]);

impl Index {
    /// Reads an index; none if it is damaged, or belongs to another list.
    fn of(list: &[u8], bytes: &'static [u8]) -> Option<Self> {
        let (digest, indexed) = bytes.split_first_chunk()?;
        let (prefixes, rest) = indexed.as_chunks();
        let is_whole =
            *digest == index_digest(list, indexed) && rest.is_empty() && prefixes.is_sorted();
        is_whole.then_some(Self(prefixes))
    }

    /// Returns whether a chain may lead to a measurement. For one in some hundred thousand others
    /// that is wrong.
    fn may_have(self, measurement: LaunchMeasurement) -> bool {
        let Some(prefix) = measurement.as_bytes().first_chunk() else {
            return true;
        };
        self.0.binary_search(prefix).is_ok()
    }
}

/// Returns the digest that an index begins with.
fn index_digest(list: &[u8], indexed: &[u8]) -> [u8; 32] {
    *Sha256Digest::of(&[Sha256Digest::of(list).as_bytes(), indexed].concat()).as_bytes()
}

/// An entry of the list, with everything that it revokes.
#[derive(Debug)]
struct RevokedImage {
    revocation: Revocation,
    firmware: Option<Sha256Digest>,
    /// The measurements of published files.
    measurements: Vec<LaunchMeasurement>,
    /// The chains, each with its highest number of vCPUs.
    chains: Vec<(Chain, usize)>,
}

/// The list as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    format: u64,
    revoked: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    version: String,
    reason: String,
    firmware_sha256: Option<String>,
    #[serde(default)]
    max_vcpus: u32,
    #[serde(default)]
    chains: Vec<ChainEntry>,
}

impl RevokedImage {
    fn new(listed: Listed, published: &[Image]) -> Result<Self, ReferenceError> {
        let firmware = match &listed.firmware_sha256 {
            Some(value) => Some(published::sha256("firmware_sha256", value)?),
            None => None,
        };
        let measurements = published_measurements(&listed.version, firmware, published)?;
        let chains = match listed.chains.as_slice() {
            [] => Vec::new(),
            chains => published::chains(chains, listed.max_vcpus)?,
        };
        if measurements.is_empty() && chains.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let revocation = Revocation {
            version: listed.version,
            reason: listed.reason,
        };
        let count = listed.max_vcpus as usize;
        let chains = chains.into_iter().map(|chain| (chain, count)).collect();
        Ok(Self {
            revocation,
            firmware,
            measurements,
            chains,
        })
    }

    /// Returns whether one of the chains leads to a measurement, which costs some thousand digests.
    fn extends_to(&self, measurement: LaunchMeasurement) -> bool {
        let mut chains = self.chains.iter();
        chains.any(|(chain, count)| {
            chain
                .by_vcpus()
                .take(*count)
                .any(|found| found == measurement)
        })
    }

    /// Returns the entry of an image whose own file is withdrawn.
    fn of_withdrawn(image: &Image) -> Option<Self> {
        let revocation = Revocation {
            version: image.version.clone(),
            reason: image.withdrawn.clone()?,
        };
        let measurements = image.measurements().collect();
        Some(Self {
            revocation,
            firmware: None,
            measurements,
            chains: Vec::new(),
        })
    }
}

/// Returns the measurements of the published files of a version, whose firmware has to be
/// `firmware` if there is one.
fn published_measurements(
    version: &str,
    firmware: Option<Sha256Digest>,
    published: &[Image],
) -> Result<Vec<LaunchMeasurement>, ReferenceError> {
    let mut measurements = Vec::new();
    for image in published.iter().filter(|image| image.version == version) {
        if firmware.is_some() && image.firmware != firmware {
            return Err(ReferenceError::OtherFirmware {
                version: version.to_owned(),
            });
        }
        measurements.extend(image.measurements());
    }
    Ok(measurements)
}

impl Revocations {
    /// Returns the list that was compiled in.
    pub fn compiled_in() -> &'static Self {
        &COMPILED_IN
    }

    /// Reads a list, and takes the measurements of the revoked versions from the published files.
    ///
    /// # Errors
    /// The list or a file is not in its form, or an entry revokes no measurement.
    fn read(list: &[u8], published: &[&[u8]]) -> Result<Self, ReferenceError> {
        let ListFile { format, revoked } = json::read(list)?;
        if format != FORMAT {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            return Err(ReferenceError::Format { version, format });
        }
        let mut images = Vec::new();
        for file in published {
            images.extend(published::read(file)?);
        }
        let listed = revoked
            .into_iter()
            .map(|listed| RevokedImage::new(listed, &images));
        let mut entries = listed.collect::<Result<Vec<_>, _>>()?;
        entries.extend(images.iter().filter_map(RevokedImage::of_withdrawn));
        Ok(Self {
            entries,
            images,
            index: None,
            all: None,
        })
    }

    /// Returns a list in place of one that cannot be read, which could have revoked anything: it
    /// revokes everything.
    fn damaged(error: &ReferenceError) -> Self {
        let reason = format!(
            "the list of revoked images in this verifier cannot be read: {}",
            crate::causes::Chain(error)
        );
        let all = Some(Revocation {
            version: "unknown".to_owned(),
            reason,
        });
        Self {
            entries: Vec::new(),
            images: Vec::new(),
            index: None,
            all,
        }
    }

    /// Returns the images of the files that were compiled in, revoked ones and others.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.iter()
    }

    /// Returns why an image must not be trusted, if the list has its version, with the image's
    /// firmware if the entry names one.
    pub fn of_image(&self, image: &Image) -> Option<&Revocation> {
        let is_of = |entry: &&RevokedImage| {
            let is_firmware = entry.firmware.is_none() || entry.firmware == image.firmware;
            entry.revocation.version == image.version && is_firmware
        };
        self.all.as_ref().or_else(|| {
            self.entries
                .iter()
                .find(is_of)
                .map(|entry| &entry.revocation)
        })
    }

    /// Returns why a measurement must not be trusted, if it is on the list.
    pub fn of_measurement(&self, measurement: LaunchMeasurement) -> Option<&Revocation> {
        let may_be = self.index.is_none_or(|index| index.may_have(measurement));
        let in_chain = || {
            self.entries
                .iter()
                .find(|entry| may_be && entry.extends_to(measurement))
        };
        self.of_published(measurement)
            .or_else(|| Some(&in_chain()?.revocation))
    }

    /// Returns the same for a measurement of a file that was compiled in, without extending the
    /// chains: a file of a revoked image names the revoked firmware, see [`Self::of_firmware`].
    pub fn of_published(&self, measurement: LaunchMeasurement) -> Option<&Revocation> {
        let found = self
            .entries
            .iter()
            .find(|entry| entry.measurements.contains(&measurement));
        self.all
            .as_ref()
            .or_else(|| found.map(|entry| &entry.revocation))
    }

    /// Returns why no image with a firmware may be trusted, if the firmware is on the list.
    pub fn of_firmware(&self, firmware: Sha256Digest) -> Option<&Revocation> {
        let found = self
            .entries
            .iter()
            .find(|entry| entry.firmware == Some(firmware));
        self.all
            .as_ref()
            .or_else(|| found.map(|entry| &entry.revocation))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LIST: &[u8] = include_bytes!("../../measurements/revoked.json");
    const EARLIER: [&str; 2] = [
        "b105b29aa62a78d85f6e4d656818dc98b71c39097a71d29dcc8e096bea44dab716c7ca707826e20e1b31f4feb3d62cb5",
        "ba5b15d79b837564d21cf7bce7885eb25a6ad12db0fe04556d26405ec8b0af2432ef3e3d2995cb4d073f26ff63bfe523",
    ];
    const OLD: &[u8] = include_bytes!("../../measurements/0.1.0.json");

    fn list(members: &str) -> String {
        format!(r#"{{"format":1,"revoked":[{{"version":"1","reason":"bad"{members}}}]}}"#)
    }

    fn file(version: &str, firmware: &str) -> String {
        let measurement = "07".repeat(48);
        let firmware = firmware.repeat(32);
        format!(
            r#"{{"version":"{version}","firmware_sha256":"{firmware}","measurements":[{{"measurement":"{measurement}","vcpus":1}}]}}"#
        )
    }

    #[test]
    fn every_image_of_a_withdrawn_file_is_revoked_without_the_file() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements");
        let mut count = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let images = published::read(&bytes).unwrap_or_default();
            for image in images.iter().filter(|image| image.withdrawn.is_some()) {
                for measurement in image.measurements() {
                    let found = Revocations::compiled_in().of_measurement(measurement);
                    assert!(found.is_some(), "{}: {measurement}", image.version);
                    count += 1;
                }
            }
        }
        assert!(count > 0);
    }

    #[test]
    fn the_chains_of_0_1_0_are_its_published_measurements_and_go_on() {
        let images = published::read(OLD).unwrap();
        assert!(images[0].withdrawn.is_some());
        let alone = Revocations::read(LIST, &[]).unwrap();
        let mut count = 0;
        for measurement in images[0].measurements() {
            assert_eq!(alone.of_measurement(measurement).unwrap().version, "0.1.0");
            count += 1;
        }
        assert_eq!(count, 4 * 64);
        let [(chain, vcpus), ..] = alone.entries[0].chains[..] else {
            panic!("there is no chain")
        };
        let beyond = chain.by_vcpus().nth(vcpus - 1).unwrap();
        assert_eq!((alone.entries[0].chains.len(), vcpus), (5, 255));
        assert_eq!(alone.of_measurement(beyond).unwrap().version, "0.1.0");
        assert_eq!(alone.of_published(beyond), None, "no file lists it");
        assert_eq!(
            alone
                .of_firmware(images[0].firmware.unwrap())
                .unwrap()
                .version,
            "0.1.0"
        );
        assert_eq!(
            alone.of_measurement(LaunchMeasurement::from_bytes([7; 48])),
            None
        );
    }

    /// The index that belongs to the list.
    fn index_of_the_list() -> Vec<u8> {
        let list = Revocations::read(LIST, &[]).unwrap();
        let chains = list.entries.iter().flat_map(|entry| &entry.chains);
        let measurements = chains.flat_map(|(chain, count)| chain.by_vcpus().take(*count));
        let prefixes: std::collections::BTreeSet<[u8; INDEXED_BYTES]> = measurements
            .map(|measurement| *measurement.as_bytes().first_chunk().unwrap())
            .collect();
        let prefixes: Vec<_> = prefixes.into_iter().collect();
        [
            &index_digest(LIST, prefixes.as_flattened()),
            prefixes.as_flattened(),
        ]
        .concat()
    }

    #[test]
    fn the_index_has_every_measurement_of_the_chains() {
        let (expected, path) = (
            index_of_the_list(),
            Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements/revoked.index"),
        );
        if std::fs::read(&path).unwrap_or_default() != expected {
            let made = std::env::temp_dir().join("revoked.index");
            std::fs::write(&made, expected).unwrap();
            panic!(
                "{} is not the index of the list: {} is",
                path.display(),
                made.display()
            );
        }
    }

    #[test]
    fn an_index_hides_no_revoked_measurement_and_one_of_another_list_is_not_used() {
        let bytes: &'static [u8] = index_of_the_list().leak();
        assert!(Index::of(b"another list", bytes).is_none());
        assert!(Index::of(LIST, &bytes[..bytes.len() - 1]).is_none());
        assert!(Index::of(LIST, &bytes[..bytes.len() - INDEXED_BYTES]).is_none());
        let index = Index::of(LIST, bytes).unwrap();
        let list = Revocations {
            index: Some(index),
            ..Revocations::read(LIST, &[]).unwrap()
        };
        for measurement in EARLIER {
            assert_eq!(
                list.of_measurement(measurement.parse().unwrap())
                    .unwrap()
                    .version,
                "0.1.0"
            );
        }
        let stranger = LaunchMeasurement::from_bytes([7; 48]);
        assert!(!index.may_have(stranger), "nothing is spared");
        assert_eq!(list.of_measurement(stranger), None);
    }

    #[test]
    fn builds_before_the_release_of_0_1_0_are_revoked_with_it() {
        // The first and the last of the files that were published under this version (EPYC-v4 with
        // 1 vCPU, EPYC-Turin with 16).
        let list = Revocations::read(LIST, &[]).unwrap();
        for measurement in EARLIER {
            assert_eq!(
                list.of_measurement(measurement.parse().unwrap())
                    .unwrap()
                    .version,
                "0.1.0"
            );
        }
        assert_eq!(list.entries.len(), 11);
    }

    #[test]
    fn a_version_is_revoked_by_its_published_file() {
        let measurement = LaunchMeasurement::from_bytes([7; 48]);
        let of_firmware = format!(r#","firmware_sha256":"{}""#, "aa".repeat(32));
        for members in ["", &of_firmware] {
            let list =
                Revocations::read(list(members).as_bytes(), &[file("1", "aa").as_bytes()]).unwrap();
            assert_eq!(list.of_measurement(measurement).unwrap().reason, "bad");
        }
    }

    #[test]
    fn a_list_that_is_damaged_or_revokes_nothing_revokes_everything() {
        let other = file("2", "aa");
        let same_version = file("1", "bb");
        let of_firmware = list(&format!(r#","firmware_sha256":"{}""#, "aa".repeat(32)));
        for (list, published) in [
            ("".to_owned(), &other),
            (r#"{"format":2,"revoked":[]}"#.to_owned(), &other),
            (list(r#","measurement":"00""#), &other),
            (list(""), &other),
            (of_firmware, &same_version),
        ] {
            let error = Revocations::read(list.as_bytes(), &[published.as_bytes()]).unwrap_err();
            let damaged = Revocations::damaged(&error);
            let found = damaged
                .of_measurement(LaunchMeasurement::from_bytes([1; 48]))
                .unwrap();
            assert!(found.reason.contains("cannot be read"), "{found:?}");
            assert!(damaged.of_firmware(Sha256Digest::of(b"")).is_some());
        }
    }

    #[test]
    fn the_list_that_is_compiled_in_can_be_read() {
        assert_eq!(Revocations::compiled_in().all, None);
        assert!(!Revocations::compiled_in().entries.is_empty());
    }
}
