//! Reference values. Comes in: published files, single measurements. Goes out: whether a launch measurement is one of them.
//! Never: a measurement that nobody gave or published.

use serde::Deserialize;

use crate::digest::Sha256Digest;
use crate::snp::measurement::LaunchMeasurement;

use super::json::{self, JsonError};
use super::rejection::Rejection;
use super::statement::ImageClaim;

include!(concat!(env!("OUT_DIR"), "/published.rs"));

/// Largest file of reference values, in bytes: some hundred measurements.
pub const MAX_REFERENCE_BYTES: usize = 1 << 20;

/// Why a file has no reference values.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Over the limit.
    #[error("reference values: {size} bytes are over the limit {limit} (MAX_REFERENCE_BYTES)")]
    Size {
        /// Bytes that there are.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not in the published form.
    #[error("these are no reference values in the published form")]
    Json(#[from] JsonError),
    /// It has none.
    #[error("there is no measurement in it")]
    Empty,
    /// A field is not the hex that it should be.
    #[error("{field} is no digest: {value:?}")]
    Digest {
        /// Its name.
        field: &'static str,
        /// As it is.
        value: String,
    },
}

/// The keys that a launch was prepared with, SHA-384 each; zeros for none (AMD 56860, ID_KEY_DIGEST, AUTHOR_KEY_DIGEST).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigests {
    /// Of the key that signed the ID block.
    pub id_key: [u8; 48],
    /// Of the key that certified it.
    pub author_key: [u8; 48],
}

/// All launch measurements that are believed in one run.
#[derive(Clone, Debug, Default)]
pub struct ReferenceValues {
    single: Vec<LaunchMeasurement>,
    images: Vec<Image>,
}

/// One published file.
#[derive(Clone, Debug)]
struct Image {
    version: String,
    kernel: Option<Sha256Digest>,
    initrd: Option<Sha256Digest>,
    root_hash: Option<Sha256Digest>,
    command_line: Option<Sha256Digest>,
    keys: KeyDigests,
    shapes: Vec<(LaunchMeasurement, Shape)>,
}

#[derive(Clone, Debug, Deserialize)]
struct Shape {
    vcpu_type: Option<String>,
    #[serde(default)]
    vcpu_signature: String,
    vcpus: u32,
}

#[derive(Deserialize)]
struct Document {
    version: String,
    kernel_sha256: Option<String>,
    initrd_sha256: Option<String>,
    root_hash: Option<String>,
    command_line_sha256: Option<String>,
    id_key_digest: Option<String>,
    author_key_digest: Option<String>,
    measurements: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    measurement: String,
    #[serde(flatten)]
    shape: Shape,
}

impl ReferenceValues {
    /// Those of this verifier's own release, which may be none.
    ///
    /// # Errors
    /// A file in `measurements/` was damaged when this was compiled.
    pub fn published() -> Result<Self, ReferenceError> {
        let mut values = Self::default();
        PUBLISHED.iter().try_for_each(|file| values.add_file(file))?;
        Ok(values)
    }

    /// Adds one measurement. It says nothing about keys.
    pub fn add(&mut self, measurement: LaunchMeasurement) {
        self.single.push(measurement);
    }

    /// Adds a published file. A file that names no keys is of a launch without an ID block.
    ///
    /// # Errors
    /// It is too large or not in the published form.
    pub fn add_file(&mut self, bytes: &[u8]) -> Result<(), ReferenceError> {
        if bytes.len() > MAX_REFERENCE_BYTES {
            return Err(ReferenceError::Size { size: bytes.len(), limit: MAX_REFERENCE_BYTES });
        }
        let document: Document = json::read(bytes)?;
        if document.measurements.is_empty() {
            return Err(ReferenceError::Empty);
        }
        self.images.push(Image::new(document)?);
        Ok(())
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.images.is_empty()
    }

    /// The keys that go with a measurement, where what was published says it.
    pub fn keys(&self, measurement: LaunchMeasurement) -> Option<&KeyDigests> {
        if self.single.contains(&measurement) {
            return None;
        }
        self.image_of(measurement).map(|image| &image.keys)
    }

    /// Appraises a launch measurement; `claim` is what the statement says of its image, and only helps to say what differs.
    ///
    /// # Errors
    /// It is none of these, or there are none.
    pub fn appraise(&self, measurement: LaunchMeasurement, claim: Option<&ImageClaim>) -> Result<(), Rejection> {
        if self.is_empty() {
            return Err(Rejection::NoReferenceValues);
        }
        if self.single.contains(&measurement) || self.image_of(measurement).is_some() {
            return Ok(());
        }
        let shapes = self.images.iter().flat_map(|image| image.shapes.iter().map(|(measurement, _)| *measurement));
        let expected = self.single.iter().copied().chain(shapes).collect();
        Err(Rejection::MeasurementUnknown { tried: self.tried(claim), expected, actual: measurement })
    }

    /// The version, type and count of vCPUs that a measurement was published for.
    pub fn shape(&self, measurement: LaunchMeasurement) -> Option<String> {
        let image = self.image_of(measurement)?;
        let (_, shape) = image.shapes.iter().find(|(published, _)| *published == measurement)?;
        Some(format!("{}, {}, {} vCPUs", image.version, shape.name(), shape.vcpus))
    }

    fn image_of(&self, measurement: LaunchMeasurement) -> Option<&Image> {
        self.images.iter().find(|image| image.shapes.iter().any(|(published, _)| *published == measurement))
    }

    fn tried(&self, claim: Option<&ImageClaim>) -> String {
        let mut tried: Vec<_> = self.images.iter().map(|image| image.tried(claim)).collect();
        if !self.single.is_empty() {
            tried.push(format!("{} given without a shape", self.single.len()));
        }
        format!("tried {}", tried.join("; "))
    }
}

impl Image {
    fn new(document: Document) -> Result<Self, ReferenceError> {
        let shapes = document.measurements.into_iter().map(|entry| {
            let measurement = entry.measurement.parse();
            let value = entry.measurement;
            measurement
                .map(|found| (found, entry.shape))
                .map_err(|_| ReferenceError::Digest { field: "measurement", value })
        });
        Ok(Self {
            version: document.version,
            kernel: sha256("kernel_sha256", document.kernel_sha256)?,
            initrd: sha256("initrd_sha256", document.initrd_sha256)?,
            root_hash: sha256("root_hash", document.root_hash)?,
            command_line: sha256("command_line_sha256", document.command_line_sha256)?,
            keys: KeyDigests {
                id_key: key("id_key_digest", document.id_key_digest)?,
                author_key: key("author_key_digest", document.author_key_digest)?,
            },
            shapes: shapes.collect::<Result<_, _>>()?,
        })
    }

    /// Which shapes of it were compared, and which input the statement says is another one.
    fn tried(&self, claim: Option<&ImageClaim>) -> String {
        let mut text = format!("image {}: {}", self.version, self.ranges());
        let Some(claim) = claim else { return text };
        for (input, published, claimed) in [
            ("kernel", self.kernel, claim.kernel),
            ("initrd", self.initrd, claim.initrd),
            ("root hash", self.root_hash, claim.root_hash),
            ("command line", self.command_line, claim.command_line),
        ] {
            if let Some((published, claimed)) =
                published.zip(claimed).filter(|(published, claimed)| published != claimed)
            {
                text.push_str(&format!("; its {input} is {published}, the statement claims {claimed}"));
            }
        }
        text
    }

    /// `EPYC-v4 with 1 to 64 vCPUs, …`.
    fn ranges(&self) -> String {
        let mut names: Vec<&str> = self.shapes.iter().map(|(_, shape)| shape.name()).collect();
        names.dedup();
        let range = |name: &str| {
            let counts = || self.shapes.iter().filter(|(_, shape)| shape.name() == name).map(|(_, shape)| shape.vcpus);
            let (first, last) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
            if first == last {
                format!("{name} with {first} vCPUs")
            } else {
                format!("{name} with {first} to {last} vCPUs")
            }
        };
        names.into_iter().map(range).collect::<Vec<_>>().join(", ")
    }
}

impl Shape {
    fn name(&self) -> &str {
        self.vcpu_type.as_deref().unwrap_or(&self.vcpu_signature)
    }
}

fn sha256(field: &'static str, value: Option<String>) -> Result<Option<Sha256Digest>, ReferenceError> {
    let Some(value) = value else { return Ok(None) };
    value.parse().map(Some).map_err(|_| ReferenceError::Digest { field, value })
}

fn key(field: &'static str, value: Option<String>) -> Result<[u8; 48], ReferenceError> {
    let mut bytes = [0; 48];
    let Some(value) = value else { return Ok(bytes) };
    hex::decode_to_slice(&value, &mut bytes).map_err(|_| ReferenceError::Digest { field, value })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(extra: &str) -> String {
        let entry = |byte: &str, vcpus| {
            format!(r#"{{"measurement":"{}","vcpu_type":"EPYC","vcpus":{vcpus}}}"#, byte.repeat(48))
        };
        format!(r#"{{"version":"1.0.0"{extra},"measurements":[{},{}]}}"#, entry("01", 1), entry("02", 2))
    }

    fn measurement(byte: u8) -> LaunchMeasurement {
        LaunchMeasurement::from_bytes([byte; 48])
    }

    #[test]
    fn only_what_was_published_or_given_is_known() {
        let mut values = ReferenceValues::default();
        assert!(matches!(values.appraise(measurement(1), None), Err(Rejection::NoReferenceValues)));
        values.add_file(file("").as_bytes()).unwrap();
        values.add(measurement(9));
        for known in [1, 2, 9] {
            values.appraise(measurement(known), None).unwrap();
        }
        assert_eq!(values.shape(measurement(2)).unwrap(), "1.0.0, EPYC, 2 vCPUs");
        let refusal = values.appraise(measurement(3), None).unwrap_err();
        assert!(refusal.to_string().ends_with("tried image 1.0.0: EPYC with 1 to 2 vCPUs; 1 given without a shape"));
    }

    #[test]
    fn a_mismatch_names_the_input_that_differs() {
        let mut values = ReferenceValues::default();
        values.add_file(file(&format!(r#","root_hash":"{}""#, "aa".repeat(32))).as_bytes()).unwrap();
        let claim = ImageClaim { root_hash: Some(Sha256Digest::of(b"")), ..ImageClaim::default() };
        let text = values.appraise(measurement(3), Some(&claim)).unwrap_err().to_string();
        assert!(text.contains("its root hash is aaaa") && text.contains("the statement claims e3b0"), "{text}");
    }

    #[test]
    fn a_file_that_names_no_keys_is_of_a_launch_without() {
        let mut values = ReferenceValues::default();
        values.add_file(file(&format!(r#","id_key_digest":"{}""#, "03".repeat(48))).as_bytes()).unwrap();
        let keys = values.keys(measurement(1)).unwrap();
        assert_eq!((keys.id_key, keys.author_key), ([3; 48], [0; 48]));
        assert_eq!(values.keys(measurement(7)), None);
    }

    #[test]
    fn files_in_another_form_are_refused() {
        let mut values = ReferenceValues::default();
        for bad in [
            "",
            "{}",
            r#"{"version":"1","measurements":[]}"#,
            &file(r#","root_hash":"x""#),
            &file("").replace("0101", "01"),
        ] {
            assert!(values.add_file(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(values.add_file(&vec![b' '; MAX_REFERENCE_BYTES + 1]).is_err());
        assert!(values.is_empty());
    }

    #[test]
    fn what_is_compiled_in_can_be_read() {
        ReferenceValues::published().unwrap();
    }
}
