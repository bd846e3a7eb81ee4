//! Images whose measurements must not be believed any more. Comes in: `measurements/revoked.json` as it was at compilation.
//! Goes out: whether a launch measurement or a firmware is of such an image, and why. Never: a damaged list that revokes
//! nothing.
//!
//! Each entry of the list has `version` and `reason`. What it revokes:
//!
//! | member | revokes |
//! |---|---|
//! | `version` | each measurement of the published file of that version; if the entry names a firmware, that has to be the file's |
//! | `firmware_sha256` | each measurement of a file that names this firmware |
//! | `chains`, `max_vcpus` | the measurements that the chains are extended to, as in a file of format 2 |
//!
//! A published file that says of itself that it is withdrawn counts as an entry.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::digest::Sha256Digest;
use crate::snp::measurement::LaunchMeasurement;

use super::json;
use super::published::{self, ChainEntry, Image, ReferenceError, Series, extended};
use super::reference::{PUBLISHED, REVOKED};

/// The form of list that is known.
const FORMAT: u64 = 1;

/// The list that was compiled in.
static COMPILED_IN: LazyLock<Revocations> = LazyLock::new(|| match REVOKED {
    Some(list) => Revocations::read(list, PUBLISHED).unwrap_or_else(|error| Revocations::damaged(&error)),
    None => Revocations::default(),
});

/// Why an image is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The version of the image.
    pub version: String,
    /// A sentence for people.
    pub reason: String,
}

/// A list of revoked images.
#[derive(Debug, Default)]
pub struct Revocations {
    entries: Vec<Entry>,
    /// Revokes everything.
    all: Option<Revocation>,
}

#[derive(Debug)]
struct Entry {
    revocation: Revocation,
    firmware: Option<Sha256Digest>,
    measurements: Vec<LaunchMeasurement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
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

impl Entry {
    fn new(listed: Listed, published: &[Image]) -> Result<Self, ReferenceError> {
        let firmware = listed.firmware_sha256.as_deref();
        let firmware = firmware.map(|value| published::sha256("firmware_sha256", value)).transpose()?;
        let of_version = published.iter().filter(|image| image.version == listed.version);
        let mut measurements = Vec::new();
        for image in of_version {
            if firmware.is_some() && image.firmware != firmware {
                return Err(ReferenceError::OtherFirmware { version: listed.version });
            }
            measurements.extend(image.measurements());
        }
        if !listed.chains.is_empty() {
            let series = extended(&listed.chains, listed.max_vcpus)?;
            measurements.extend(series.iter().flat_map(Series::measurements));
        }
        if measurements.is_empty() {
            return Err(ReferenceError::Empty);
        }
        Ok(Self { revocation: Revocation { version: listed.version, reason: listed.reason }, firmware, measurements })
    }
}

impl Entry {
    /// Of an image whose own file says that it is withdrawn.
    fn of_withdrawn(image: &Image) -> Option<Self> {
        let revocation = Revocation { version: image.version.clone(), reason: image.withdrawn.clone()? };
        Some(Self { revocation, firmware: None, measurements: image.measurements().collect() })
    }
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
        let Document { format, revoked } = json::read(list)?;
        if format != FORMAT {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            return Err(ReferenceError::Format { version, format });
        }
        let mut images = Vec::new();
        for file in published {
            images.extend(published::read(file)?);
        }
        let listed = revoked.into_iter().map(|listed| Entry::new(listed, &images));
        let mut entries = listed.collect::<Result<Vec<_>, _>>()?;
        entries.extend(images.iter().filter_map(Entry::of_withdrawn));
        Ok(Self { entries, all: None })
    }

    /// A list that cannot be read could have revoked anything.
    fn damaged(error: &ReferenceError) -> Self {
        let reason =
            format!("the list of revoked images in this verifier cannot be read: {}", crate::causes::Chain(error));
        let all = Some(Revocation { version: "unknown".to_owned(), reason });
        Self { entries: Vec::new(), all }
    }

    /// Returns why a measurement is not to be believed, if it is on the list.
    pub fn of_measurement(&self, measurement: LaunchMeasurement) -> Option<&Revocation> {
        let found = self.entries.iter().find(|entry| entry.measurements.contains(&measurement));
        self.all.as_ref().or_else(|| found.map(|entry| &entry.revocation))
    }

    /// Returns why no image with a firmware is to be believed, if it is on the list.
    pub fn of_firmware(&self, firmware: Sha256Digest) -> Option<&Revocation> {
        let found = self.entries.iter().find(|entry| entry.firmware == Some(firmware));
        self.all.as_ref().or_else(|| found.map(|entry| &entry.revocation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = include_bytes!("../../measurements/revoked.json");
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
    fn the_chains_of_0_1_0_are_its_published_measurements_and_go_on() {
        let images = published::read(OLD).unwrap();
        assert!(images[0].withdrawn.is_some());
        let alone = Revocations::read(LIST, &[]).unwrap();
        let mut count = 0;
        for measurement in images[0].measurements() {
            assert_eq!(alone.of_measurement(measurement).unwrap().version, "0.1.0");
            count += 1;
        }
        assert_eq!((count, alone.entries[0].measurements.len()), (4 * 64, 5 * 255));
        assert_eq!(alone.of_firmware(images[0].firmware.unwrap()).unwrap().version, "0.1.0");
        assert_eq!(alone.of_measurement(LaunchMeasurement::from_bytes([7; 48])), None);
    }

    #[test]
    fn a_version_is_revoked_by_its_published_file() {
        let measurement = LaunchMeasurement::from_bytes([7; 48]);
        let of_firmware = format!(r#","firmware_sha256":"{}""#, "aa".repeat(32));
        for members in ["", &of_firmware] {
            let list = Revocations::read(list(members).as_bytes(), &[file("1", "aa").as_bytes()]).unwrap();
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
            let found = damaged.of_measurement(LaunchMeasurement::from_bytes([1; 48])).unwrap();
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
