//! The files of `measurements/`.
//!
//! * In: one of them, from anybody.
//! * Out: the images in it, each with its digests and the launch measurement for every vCPU type
//!   and count.
//! * Never: a member of a known format passed over, or more measurements than the limit.
//!
//! Two formats are read. Format 2 has a chain for each vCPU type and the highest count of vCPUs:
//!
//! | member | value |
//! |---|---|
//! | `format` | 2 |
//! | `version` | version of the image |
//! | `firmware_sha256`, `kernel_sha256`, `initrd_sha256` | digests, hex |
//! | `command_line_sha256`, `root_image_sha256`, `root_hash` | digests, hex |
//! | `vmm`, `guest_policy`, `guest_features` | how it is launched |
//! | `id_key_digest`, `author_key_digest` | digests of the keys of an ID block; missing without one |
//! | `max_vcpus` | the highest count of vCPUs that is published |
//! | `chains` | list of `vcpu_type`, `vcpu_signature`, `launch_digest`, `bsp_vmsa`, `ap_vmsa` |
//! | `variants` | list of further kernels: `name`, `chains`, and the digests of kernel, initrd and command line |
//! | `disk_sha256`, `uki_sha256` | digests of a disk image; their form is checked, nothing is compared with them |
//! | `boot` | list of `name` and `pcrs`: a TPM's registers after the disk was started, by number; 4 and 9 are required |
//! | `withdrawn` | the reason why the file must not be trusted any more; missing where there is none |
//!
//! A file without `format` is of image 0.1.0: it lists every measurement, and unknown members are
//! ignored.

mod format;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::digest::Sha256Digest;
use crate::snp::measurement::{Chain, LaunchMeasurement};

use super::azure::REGISTERS;
use super::json::{self, JsonError};
use format::{Compact, FormatAndVersion, Listed};

pub use format::{ChainEntry, chains, sha256};

/// Largest file of reference values, in bytes: some hundred measurements.
pub const MAX_REFERENCE_BYTES: usize = 1 << 20;
/// Most launch measurements of one file: the chains of all its variants, each extended to the
/// highest count.
pub const MAX_REFERENCE_MEASUREMENTS: usize = 64 << 10;
/// The newest format of a file that is known.
const FORMAT: u64 = 2;

/// Why no reference values can be read from a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ReferenceError {
    #[error("reference values: {size} bytes are over the limit {limit} (MAX_REFERENCE_BYTES)")]
    Size { size: usize, limit: usize },
    #[error("these are no reference values in the published form")]
    Json(#[from] JsonError),
    #[error(
        "made by appliance {version}, newer than this verifier: it has format {format}, up to \
         {newest} is known"
    )]
    Newer {
        version: String,
        format: u64,
        newest: u64,
    },
    #[error("made by appliance {version} in format {format}, which never existed")]
    Format { version: String, format: u64 },
    #[error("there is no measurement in it")]
    Empty,
    #[error(
        "the list of revoked images names another firmware than the published file of image \
         {version}"
    )]
    OtherFirmware { version: String },
    #[error(
        "max_vcpus and the chains make {count} measurements, the limit is {limit} \
         (MAX_REFERENCE_MEASUREMENTS)"
    )]
    Measurements { count: usize, limit: usize },
    #[error("{field} is no digest: {value:?}")]
    Digest { field: &'static str, value: String },
    #[error("{field} is no hexadecimal number: {value:?}")]
    Number { field: &'static str, value: String },
    #[error("a register of `boot` has no number below {REGISTERS}: {name:?}")]
    Register { name: String },
    #[error(
        "the boot {name:?} has no value for register {register}, by which a boot is recognised"
    )]
    BootRegister { name: String, register: u8 },
}

/// The digests of the keys that signed a launch, SHA-384 each; zeros for none (AMD 56860,
/// ID_KEY_DIGEST, AUTHOR_KEY_DIGEST).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigests {
    /// The digest of the key that signed the ID block.
    pub id_key: [u8; 48],
    /// The digest of the key that certified the ID key.
    pub author_key: [u8; 48],
}

/// One image, or a variant of it with another kernel.
#[derive(Clone, Debug)]
pub struct Image {
    /// The version of the image's release.
    pub version: String,
    /// The name of the variant; none for the image itself.
    pub variant: Option<String>,
    /// The digest of the firmware, where the file names it.
    pub firmware: Option<Sha256Digest>,
    /// The inputs that a statement has to claim.
    pub inputs: Inputs,
    /// The keys of the launch; zeros without an ID block.
    pub keys: KeyDigests,
    /// The reason why its measurements must not be trusted, where the file has one.
    pub withdrawn: Option<String>,
    /// The launch measurements, by vCPU type.
    pub series: Vec<Series>,
    /// A TPM's registers after the disk was started, one entry for each way to start it.
    pub boot: Vec<Boot>,
}

/// One way to start the disk image.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The name of this way to start it.
    pub name: String,
    /// The SHA-256 registers by number; 4 and 9 are among them.
    pub registers: BTreeMap<u8, Sha256Digest>,
}

/// The inputs that a statement has to claim as those of its image. A file of image 0.1.0 may lack
/// some.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// The digest of the kernel.
    pub kernel: Option<Sha256Digest>,
    /// The digest of the initrd.
    pub initrd: Option<Sha256Digest>,
    /// The root hash of the dm-verity tree.
    pub root_hash: Option<Sha256Digest>,
    /// The digest of the kernel's command line.
    pub command_line: Option<Sha256Digest>,
}

/// The measurements with one vCPU type, by the number of vCPUs.
#[derive(Clone, Debug)]
pub struct Series {
    /// The vCPU type, by QEMU's name or by its signature.
    pub vcpu_type: String,
    /// The chain that they are computed from, and the highest count of vCPUs; none where the file
    /// lists them.
    chain: Option<(Chain, u32)>,
    counts: OnceLock<Vec<(u32, LaunchMeasurement)>>,
}

impl Image {
    /// Returns every launch measurement of the image.
    pub fn measurements(&self) -> impl Iterator<Item = LaunchMeasurement> {
        self.series.iter().flat_map(Series::measurements)
    }
}

impl Series {
    fn listed(vcpu_type: String, counts: Vec<(u32, LaunchMeasurement)>) -> Self {
        Self {
            vcpu_type,
            chain: None,
            counts: OnceLock::from(counts),
        }
    }

    /// Returns each number of vCPUs with its measurement. A chain is extended at the first call:
    /// that takes longer than reading its whole file, and most files are never asked.
    pub fn counts(&self) -> &[(u32, LaunchMeasurement)] {
        self.counts.get_or_init(|| match &self.chain {
            Some((chain, max_vcpus)) => (1..=*max_vcpus).zip(chain.by_vcpus()).collect(),
            None => Vec::new(),
        })
    }

    /// Returns the measurements without their numbers of vCPUs.
    pub fn measurements(&self) -> impl Iterator<Item = LaunchMeasurement> {
        self.counts().iter().map(|(_, measurement)| *measurement)
    }
}

/// Reads a file, and returns the image in it and the image's variants.
///
/// # Errors
/// The file is too large, has another format, or is not in the form of its format.
pub fn read(bytes: &[u8]) -> Result<Vec<Image>, ReferenceError> {
    if bytes.len() > MAX_REFERENCE_BYTES {
        return Err(ReferenceError::Size {
            size: bytes.len(),
            limit: MAX_REFERENCE_BYTES,
        });
    }
    let FormatAndVersion { format, version } = json::read(bytes)?;
    match format {
        None => json::read::<Listed>(bytes)?
            .image()
            .map(|image| vec![image]),
        Some(FORMAT) => json::read::<Compact>(bytes)?.images(),
        Some(format) if format > FORMAT => Err(ReferenceError::Newer {
            version,
            format,
            newest: FORMAT,
        }),
        Some(format) => Err(ReferenceError::Format { version, format }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chain(vcpu_type: &str) -> Value {
        json!({
            "vcpu_type": vcpu_type,
            "vcpu_signature": "0x800f12",
            "launch_digest": "01".repeat(48),
            "bsp_vmsa": "02".repeat(48),
            "ap_vmsa": "03".repeat(48),
        })
    }

    fn compact() -> Value {
        let digest = "ab".repeat(32);
        json!({
            "format": 2,
            "version": "9.9.9",
            "firmware_sha256": digest,
            "kernel_sha256": digest,
            "initrd_sha256": digest,
            "command_line_sha256": digest,
            "root_image_sha256": digest,
            "root_hash": digest,
            "vmm": "qemu",
            "guest_policy": "0x30000",
            "guest_features": "0x1",
            "max_vcpus": 255,
            "chains": [chain("EPYC-v4"), chain("EPYC-Milan")],
        })
    }

    fn with(members: &[(&str, Value)]) -> Result<Vec<Image>, ReferenceError> {
        let mut document = compact();
        for (name, value) in members {
            document[*name] = value.clone();
        }
        read(document.to_string().as_bytes())
    }

    #[test]
    fn chains_are_extended_to_every_count() {
        let images = with(&[]).unwrap();
        let [image] = &images[..] else {
            panic!("{images:?}")
        };
        let names: Vec<_> = image
            .series
            .iter()
            .map(|series| &*series.vcpu_type)
            .collect();
        assert_eq!(names, ["EPYC-v4", "EPYC-Milan"]);
        let chain = Chain {
            launch_digest: LaunchMeasurement::from_bytes([1; 48]),
            bsp_vmsa: [2; 48],
            ap_vmsa: [3; 48],
        };
        let expected: Vec<_> = (1..=255).zip(chain.by_vcpus()).collect();
        assert_eq!(image.series[1].counts(), expected);
    }

    #[test]
    fn variants_share_all_but_the_kernel() {
        let digest = "cd".repeat(32);
        let variant = json!({
            "name": "debian",
            "kernel_sha256": digest,
            "initrd_sha256": digest,
            "command_line_sha256": digest,
            "chains": [chain("EPYC-v4")],
        });
        let images = with(&[("variants", json!([variant])), ("withdrawn", json!("bad"))]).unwrap();
        let [main, variant] = &images[..] else {
            panic!("{images:?}")
        };
        assert_eq!(
            (&main.variant, variant.variant.as_deref()),
            (&None, Some("debian"))
        );
        assert_eq!(
            (main.inputs.root_hash, main.firmware),
            (variant.inputs.root_hash, variant.firmware)
        );
        assert_ne!(main.inputs.kernel, variant.inputs.kernel);
        assert_eq!(
            (variant.series.len(), variant.withdrawn.as_deref()),
            (1, Some("bad"))
        );
    }

    #[test]
    fn a_newer_form_says_who_made_it() {
        let refusal = with(&[("format", json!(3)), ("chains", json!("other"))])
            .unwrap_err()
            .to_string();
        assert!(
            refusal.starts_with("made by appliance 9.9.9, newer than this verifier"),
            "{refusal}"
        );
        for format in [0, 1] {
            assert!(matches!(
                with(&[("format", json!(format))]),
                Err(ReferenceError::Format { .. })
            ));
        }
        for format in [json!("2"), json!(2.5), json!(-1)] {
            assert!(matches!(
                with(&[("format", format)]),
                Err(ReferenceError::Json(_))
            ));
        }
    }

    #[test]
    fn members_of_a_disk_are_read_and_have_their_form() {
        let digest = "ab".repeat(32);
        let boot = |number: &str, value: &str| {
            let mut pcrs = json!({"4": digest, "9": digest});
            pcrs[number] = json!(value);
            json!([{"name": "disk", "pcrs": pcrs}])
        };
        let only = |number: &str| json!([{"name": "disk", "pcrs": {number: digest}}]);
        for (name, good, bad) in [
            ("disk_sha256", json!(digest), vec![json!("x"), json!(1)]),
            ("uki_sha256", json!(digest), vec![json!(digest[2..])]),
            (
                "boot",
                boot("4", &digest),
                vec![
                    json!({}),
                    json!([{"name": "disk", "pcrs": {}}]),
                    only("4"),
                    only("9"),
                    boot("24", &digest),
                    boot("04", &digest),
                    boot("-1", &digest),
                    boot("4", "00"),
                ],
            ),
        ] {
            with(&[(name, good)]).unwrap();
            for bad in bad {
                assert!(with(&[(name, bad.clone())]).is_err(), "{name}: {bad}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_form_is_refused() {
        for (name, bad) in [
            ("debug", json!(true)),
            ("max_vcpus", json!(0)),
            ("max_vcpus", json!(-1)),
            ("max_vcpus", json!(32769)),
            ("max_vcpus", json!(4_294_967_295_u32)),
            ("chains", json!([])),
            ("chains", json!([{"vcpu_type": "EPYC-v4"}])),
            ("root_hash", json!("AB".repeat(31))),
            ("root_image_sha256", json!("")),
            ("guest_policy", json!("30000")),
            ("guest_features", json!("0x+1")),
            ("variants", json!([{"name": "debian"}])),
            ("id_key_digest", json!("00")),
        ] {
            assert!(with(&[(name, bad.clone())]).is_err(), "{name}: {bad}");
        }
        for member in ["launch_digest", "bsp_vmsa", "ap_vmsa", "vcpu_signature"] {
            let mut chain = chain("EPYC-v4");
            chain[member] = json!("0g");
            assert!(with(&[("chains", json!([chain]))]).is_err(), "{member}");
        }
        let mut document = compact();
        document.as_object_mut().unwrap().remove("firmware_sha256");
        assert!(read(document.to_string().as_bytes()).is_err());
    }
}
