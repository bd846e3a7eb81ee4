//! Reference values.
//!
//! * In: published files, and single measurements.
//! * Out: whether a launch measurement is one of them, and where it comes from.
//! * Never: a measurement that was neither given nor published, or one that is revoked.

use crate::digest::Sha256Digest;
use crate::snp::measurement::LaunchMeasurement;

use super::compiled_in::PUBLISHED;
use super::published::{self, Image, KeyDigests, ReferenceError, Series};
use super::rejection::Rejection;
use super::revocation::{Revocation, Revocations};
use super::statement::ImageClaim;

/// The one input whose digest differs between a boot from a disk and a launch without a TPM.
pub(super) const COMMAND_LINE: &str = "command line";

/// The origin of an accepted launch measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The release of this verifier.
    Published,
    /// A file that the reader gave.
    File,
    /// A measurement that the reader gave.
    Option,
    /// A measurement or a file that the reader's policy names.
    Policy,
}

impl Anchor {
    /// Returns the origin's name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::File => "file",
            Self::Option => "option",
            Self::Policy => "policy",
        }
    }
}

/// All launch measurements that are accepted in one run.
#[derive(Clone, Debug, Default)]
pub struct ReferenceValues {
    single: Vec<(LaunchMeasurement, Anchor)>,
    images: Vec<(Image, Anchor)>,
}

/// A launch measurement of a published file, with what it was calculated for.
#[derive(Clone, Copy, Debug)]
pub struct PublishedShape<'a> {
    /// The version of the image.
    pub version: &'a str,
    /// The name of the variant; none for the image itself.
    pub variant: Option<&'a str>,
    /// The vCPU type as QEMU names it, or its signature.
    pub vcpu_type: &'a str,
    /// The number of vCPUs.
    pub vcpus: u32,
    /// The launch measurement that the secure processor reports.
    pub measurement: LaunchMeasurement,
}

impl ReferenceValues {
    /// Returns the reference values of this verifier's own release, which may be none.
    ///
    /// # Errors
    /// A file in `measurements/` was damaged at compilation.
    pub fn published() -> Result<Self, ReferenceError> {
        let mut values = Self::default();
        for file in PUBLISHED {
            values.add_file_from(Anchor::Published, file)?;
        }
        Ok(values)
    }

    /// Adds one measurement that the reader gave, which names no keys.
    pub fn add(&mut self, measurement: LaunchMeasurement) {
        self.add_from(Anchor::Option, measurement);
    }

    /// Adds one measurement with its origin.
    pub fn add_from(&mut self, anchor: Anchor, measurement: LaunchMeasurement) {
        self.single.push((measurement, anchor));
    }

    /// Adds a published file that the reader gave. A file that names no keys is of a launch without
    /// an ID block.
    ///
    /// # Errors
    /// It is too large or not in the published form.
    pub fn add_file(&mut self, bytes: &[u8]) -> Result<(), ReferenceError> {
        self.add_file_from(Anchor::File, bytes)
    }

    /// Adds a published file with its origin.
    ///
    /// # Errors
    /// It is too large or not in the published form.
    pub fn add_file_from(&mut self, anchor: Anchor, bytes: &[u8]) -> Result<(), ReferenceError> {
        let images = published::read(bytes)?.into_iter();
        self.images.extend(images.map(|image| (image, anchor)));
        Ok(())
    }

    /// Returns whether no file and no measurement was added.
    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.images.is_empty()
    }

    /// Returns the images of the published files, each with its origin.
    pub(super) fn images(&self) -> impl Iterator<Item = &(Image, Anchor)> {
        self.images.iter()
    }

    /// Returns the keys that belong to a measurement; none for one that was given without a file.
    pub fn keys(&self, measurement: LaunchMeasurement) -> Option<&KeyDigests> {
        self.images_of(measurement)
            .next()
            .map(|(image, _)| &image.keys)
    }

    /// Appraises a launch measurement; `claim` is the statement's claim about its image, none where
    /// there is no statement.
    ///
    /// # Errors
    /// The measurement is revoked, there are no reference values, it is none of them, or the
    /// statement claims another image than the one that the measurement was published for.
    pub fn appraise(
        &self,
        measurement: LaunchMeasurement,
        claim: Option<&ImageClaim>,
    ) -> Result<(), Rejection> {
        if let Some(revocation) = self.revocation(measurement) {
            return Err(Rejection::MeasurementRevoked {
                by: Box::new(revocation),
                actual: measurement,
            });
        }
        if self.is_empty() {
            return Err(Rejection::NoReferenceValues);
        }
        if self.anchor(measurement).is_none() {
            let expected = self.accepted().collect();
            return Err(Rejection::MeasurementUnknown {
                tried: self.tried(claim),
                expected,
                actual: measurement,
            });
        }
        let Some(claim) = claim else { return Ok(()) };
        let mut mismatch = None;
        for (image, _) in self.images_of(measurement) {
            match image.difference(claim).next() {
                None => return Ok(()),
                Some(difference) => mismatch = Some(difference.rejection(image)),
            }
        }
        mismatch.map_or(Ok(()), Err)
    }

    /// Returns the origin of a measurement, if it is a reference value.
    pub fn anchor(&self, measurement: LaunchMeasurement) -> Option<Anchor> {
        let of_file = self
            .images_of(measurement)
            .next()
            .map(|(_, anchor)| *anchor);
        of_file.or_else(|| self.given_alone(measurement))
    }

    /// Returns the version, type and count of vCPUs that a measurement was published for.
    pub fn shape(&self, measurement: LaunchMeasurement) -> Option<String> {
        let shape = self
            .shapes()
            .find(|shape| shape.measurement == measurement)?;
        let image = name(shape.version, shape.variant);
        Some(format!(
            "{image}, {}, {} vCPUs",
            shape.vcpu_type, shape.vcpus
        ))
    }

    /// Returns every measurement of the published files.
    pub fn shapes(&self) -> impl Iterator<Item = PublishedShape<'_>> {
        let images = self.images.iter().map(|(image, _)| image);
        images.flat_map(Image::shapes)
    }

    fn given_alone(&self, measurement: LaunchMeasurement) -> Option<Anchor> {
        self.single
            .iter()
            .find(|(single, _)| *single == measurement)
            .map(|(_, anchor)| *anchor)
    }

    fn images_of(&self, measurement: LaunchMeasurement) -> impl Iterator<Item = &(Image, Anchor)> {
        self.images.iter().filter(move |(image, _)| {
            image
                .measurements()
                .any(|published| published == measurement)
        })
    }

    /// Returns why a measurement must not be trusted: the list that was compiled in revokes it, or
    /// a file that has it.
    fn revocation(&self, measurement: LaunchMeasurement) -> Option<Revocation> {
        let list = Revocations::compiled_in();
        let listed = match self.anchor(measurement) {
            Some(Anchor::Published) => list.of_published(measurement),
            _ => list.of_measurement(measurement),
        };
        listed.cloned().or_else(|| {
            self.images_of(measurement)
                .find_map(|(image, _)| image.revocation())
        })
    }

    /// Returns the measurements that would be accepted.
    fn accepted(&self) -> impl Iterator<Item = LaunchMeasurement> {
        let published = self
            .images
            .iter()
            .filter(|(image, _)| image.revocation().is_none());
        let single = self.single.iter().map(|(measurement, _)| *measurement);
        single.chain(published.flat_map(|(image, _)| image.measurements()))
    }

    /// Describes what a measurement was compared with, for the detail of a rejection.
    fn tried(&self, claim: Option<&ImageClaim>) -> String {
        let mut tried: Vec<_> = self
            .images
            .iter()
            .map(|(image, _)| image.tried(claim))
            .collect();
        if !self.single.is_empty() {
            tried.push(format!("{} given without a shape", self.single.len()));
        }
        format!("tried {}", tried.join("; "))
    }
}

/// An input for which the statement claims another digest than the published one.
pub(super) struct Difference {
    pub(super) input: &'static str,
    published: Sha256Digest,
    claimed: Option<Sha256Digest>,
}

impl Difference {
    pub(super) fn rejection(self, image: &Image) -> Rejection {
        let input = format!("{} of image {}", self.input, image.name()).into();
        Rejection::ImageClaim {
            input,
            expected: self.published,
            actual: self.claimed,
        }
    }
}

impl Image {
    pub(super) fn name(&self) -> String {
        name(&self.version, self.variant.as_deref())
    }

    /// Returns why the image must not be trusted: its own file is withdrawn, or its firmware is
    /// revoked.
    pub(super) fn revocation(&self) -> Option<Revocation> {
        let own = |reason: &String| Revocation {
            version: self.version.clone(),
            reason: reason.clone(),
        };
        let of_firmware = || {
            Revocations::compiled_in()
                .of_firmware(self.firmware?)
                .cloned()
        };
        self.withdrawn.as_ref().map(own).or_else(of_firmware)
    }

    /// Returns the inputs in which a statement's claim differs from this image. An input that the
    /// file does not name cannot differ.
    pub(super) fn difference(&self, claim: &ImageClaim) -> impl Iterator<Item = Difference> {
        let pairs = [
            ("kernel", self.inputs.kernel, claim.kernel),
            ("initrd", self.inputs.initrd, claim.initrd),
            ("root hash", self.inputs.root_hash, claim.root_hash),
            (COMMAND_LINE, self.inputs.command_line, claim.command_line),
        ];
        pairs.into_iter().filter_map(|(input, published, claimed)| {
            let published = published.filter(|published| claimed != Some(*published))?;
            Some(Difference {
                input,
                published,
                claimed,
            })
        })
    }

    /// Describes which shapes of the image were compared, and which inputs the statement claims
    /// otherwise.
    fn tried(&self, claim: Option<&ImageClaim>) -> String {
        if self.revocation().is_some() {
            return format!("image {}: none, it is withdrawn", self.name());
        }
        let mut text = format!("image {}: {}", self.name(), self.ranges());
        let differences = claim.into_iter().flat_map(|claim| self.difference(claim));
        for difference in differences {
            let (input, published) = (difference.input, difference.published);
            if let Some(claimed) = difference.claimed {
                text.push_str(&format!(
                    "; its {input} is {published}, the statement claims {claimed}"
                ));
            }
        }
        text
    }

    /// Returns every measurement of the image, with what it was calculated for.
    fn shapes(&self) -> impl Iterator<Item = PublishedShape<'_>> {
        let counted = |series| {
            Series::counts(series)
                .iter()
                .map(move |count| (series, count))
        };
        self.series
            .iter()
            .flat_map(counted)
            .map(|(series, (vcpus, measurement))| PublishedShape {
                version: &self.version,
                variant: self.variant.as_deref(),
                vcpu_type: &series.vcpu_type,
                vcpus: *vcpus,
                measurement: *measurement,
            })
    }

    /// Describes each vCPU type with its counts: `EPYC-v4 with 1 to 64 vCPUs, …`.
    fn ranges(&self) -> String {
        let ranges = self.series.iter().map(|series| {
            let counts = || series.counts().iter().map(|(vcpus, _)| *vcpus);
            let (first, last) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
            if first == last {
                format!("{} with {first} vCPUs", series.vcpu_type)
            } else {
                format!("{} with {first} to {last} vCPUs", series.vcpu_type)
            }
        });
        ranges.collect::<Vec<_>>().join(", ")
    }
}

fn name(version: &str, variant: Option<&str>) -> String {
    variant.map_or_else(
        || version.to_owned(),
        |variant| format!("{version} ({variant})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(extra: &str) -> String {
        let entry = |byte: &str, vcpus| {
            format!(
                r#"{{"measurement":"{}","vcpu_type":"EPYC","vcpus":{vcpus}}}"#,
                byte.repeat(48)
            )
        };
        format!(
            r#"{{"version":"1.0.0"{extra},"measurements":[{},{}]}}"#,
            entry("01", 1),
            entry("02", 2)
        )
    }

    fn measurement(byte: u8) -> LaunchMeasurement {
        LaunchMeasurement::from_bytes([byte; 48])
    }

    #[test]
    fn only_what_was_published_or_given_is_known() {
        let mut values = ReferenceValues::default();
        assert!(matches!(
            values.appraise(measurement(1), None),
            Err(Rejection::NoReferenceValues)
        ));
        values.add_file(file("").as_bytes()).unwrap();
        values.add(measurement(9));
        for known in [1, 2, 9] {
            values.appraise(measurement(known), None).unwrap();
        }
        assert_eq!(
            values.shape(measurement(2)).unwrap(),
            "1.0.0, EPYC, 2 vCPUs"
        );
        let refusal = values.appraise(measurement(3), None).unwrap_err();
        assert!(
            refusal
                .to_string()
                .ends_with("tried image 1.0.0: EPYC with 1 to 2 vCPUs; 1 given without a shape")
        );
    }

    #[test]
    fn a_mismatch_names_the_input_that_differs() {
        let mut values = ReferenceValues::default();
        values
            .add_file(file(&format!(r#","root_hash":"{}""#, "aa".repeat(32))).as_bytes())
            .unwrap();
        let claim = ImageClaim {
            root_hash: Some(Sha256Digest::of(b"")),
            ..ImageClaim::default()
        };
        let text = values
            .appraise(measurement(3), Some(&claim))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("its root hash is aaaa") && text.contains("the statement claims e3b0"),
            "{text}"
        );
    }

    #[test]
    fn the_statement_has_to_claim_the_image_that_was_published() {
        let mut values = ReferenceValues::default();
        let (hash, line) = (Sha256Digest::of(b"tree"), Sha256Digest::of(b"line"));
        let members = format!(r#","root_hash":"{hash}","command_line_sha256":"{line}""#);
        values.add_file(file(&members).as_bytes()).unwrap();
        let claim = ImageClaim {
            root_hash: Some(hash),
            command_line: Some(line),
            ..ImageClaim::default()
        };
        values.appraise(measurement(1), Some(&claim)).unwrap();
        values.appraise(measurement(1), None).unwrap();
        for (wrong, input) in [
            (
                ImageClaim {
                    root_hash: Some(line),
                    ..claim
                },
                "root hash of image 1.0.0",
            ),
            (
                ImageClaim {
                    command_line: None,
                    ..claim
                },
                "command line of image 1.0.0",
            ),
            (ImageClaim::default(), "root hash of image 1.0.0"),
        ] {
            let refusal = values.appraise(measurement(1), Some(&wrong)).unwrap_err();
            assert_eq!(refusal.code(), "image-claim-mismatch");
            assert!(refusal.to_string().contains(input), "{refusal}");
        }
        // A measurement that was also given alone is still one of the file.
        values.add(measurement(1));
        assert!(
            values
                .appraise(measurement(1), Some(&ImageClaim::default()))
                .is_err()
        );
    }

    #[test]
    fn the_anchor_is_who_gave_it() {
        let mut values = ReferenceValues::default();
        values.add_from(Anchor::Policy, measurement(7));
        values.add(measurement(8));
        values.add(measurement(1));
        values.add_file(file("").as_bytes()).unwrap();
        for (byte, anchor) in [
            (7, Anchor::Policy),
            (8, Anchor::Option),
            (1, Anchor::File),
            (2, Anchor::File),
        ] {
            assert_eq!(values.anchor(measurement(byte)), Some(anchor));
        }
        assert_eq!(values.anchor(measurement(9)), None);
    }

    #[test]
    fn a_revoked_measurement_is_refused_however_it_is_given() {
        const OLD: &[u8] = include_bytes!("../../measurements/0.1.0.json");
        let published = published::read(OLD).unwrap();
        let revoked = published[0].measurements().last().unwrap();
        let mut alone = ReferenceValues::default();
        alone.add(revoked);
        let mut file = ReferenceValues::default();
        file.add_file(OLD).unwrap();
        let mut policy = ReferenceValues::default();
        policy.add_from(Anchor::Policy, revoked);
        for values in [
            ReferenceValues::default(),
            ReferenceValues::published().unwrap(),
            alone,
            file,
            policy,
        ] {
            let refusal = values.appraise(revoked, None).unwrap_err();
            assert_eq!(refusal.code(), "measurement-revoked");
            assert!(
                refusal.to_string().contains("image 0.1.0") && !refusal.is_waivable(),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_file_is_revoked_by_its_own_word_and_by_its_firmware() {
        const FIRMWARE: &str = "3e4fd0b3fe3b2dbe481c3d9e99418a034174f26cbe1f55aa212b0f18c12d2d6f";
        for member in [
            r#","withdrawn":"bad""#.to_owned(),
            format!(r#","firmware_sha256":"{FIRMWARE}""#),
        ] {
            let mut values = ReferenceValues::default();
            values.add_file(file(&member).as_bytes()).unwrap();
            values.add(measurement(1));
            let refusal = values.appraise(measurement(1), None).unwrap_err();
            assert_eq!(refusal.code(), "measurement-revoked");
            let unknown = values.appraise(measurement(3), None).unwrap_err();
            assert!(
                unknown
                    .to_string()
                    .contains("image 1.0.0: none, it is withdrawn"),
                "{unknown}"
            );
            assert_eq!(unknown.sides().0, Some(measurement(1).to_string()));
        }
    }

    #[test]
    fn a_file_that_names_no_keys_is_of_a_launch_without() {
        let mut values = ReferenceValues::default();
        values
            .add_file(file(&format!(r#","id_key_digest":"{}""#, "03".repeat(48))).as_bytes())
            .unwrap();
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
        assert!(
            values
                .add_file(&vec![b' '; published::MAX_REFERENCE_BYTES + 1])
                .is_err()
        );
        assert!(values.is_empty());
    }

    #[test]
    fn what_is_compiled_in_can_be_read() {
        ReferenceValues::published().unwrap();
    }
}
