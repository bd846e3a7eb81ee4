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

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::digest::Sha256Digest;
use crate::snp::measurement::{Chain, LaunchMeasurement, PageDigest};

use super::azure::{BOOT_REGISTERS, REGISTERS};
use super::json::{self, JsonError};

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

/// Returns the measurements of each chain of a file, up to `max_vcpus`.
///
/// # Errors
/// There is no chain, one is malformed, or they make too many measurements.
fn series(chains: &[ChainEntry], max_vcpus: u32) -> Result<Vec<Series>, ReferenceError> {
    check_count(chains.len(), max_vcpus)?;
    chains.iter().map(|chain| chain.series(max_vcpus)).collect()
}

/// Returns the chains themselves, each of which may be extended to `max_vcpus`.
///
/// # Errors
/// There is no chain, one is malformed, or they make too many measurements.
pub fn chains(chains: &[ChainEntry], max_vcpus: u32) -> Result<Vec<Chain>, ReferenceError> {
    check_count(chains.len(), max_vcpus)?;
    chains.iter().map(ChainEntry::chain).collect()
}

/// Expects at least one measurement, and at most as many as the limit.
fn check_count(chains: usize, max_vcpus: u32) -> Result<(), ReferenceError> {
    let count = chains.saturating_mul(max_vcpus as usize);
    if count == 0 {
        return Err(ReferenceError::Empty);
    }
    if count > MAX_REFERENCE_MEASUREMENTS {
        return Err(ReferenceError::Measurements {
            count,
            limit: MAX_REFERENCE_MEASUREMENTS,
        });
    }
    Ok(())
}

/// The members that every format has.
#[derive(Deserialize)]
struct FormatAndVersion {
    format: Option<u64>,
    version: String,
}

/// A file without `format`, which lists every measurement.
#[derive(Deserialize)]
struct Listed {
    version: String,
    firmware_sha256: Option<String>,
    kernel_sha256: Option<String>,
    initrd_sha256: Option<String>,
    root_hash: Option<String>,
    command_line_sha256: Option<String>,
    id_key_digest: Option<String>,
    author_key_digest: Option<String>,
    withdrawn: Option<String>,
    measurements: Vec<ListedEntry>,
}

#[derive(Deserialize)]
struct ListedEntry {
    measurement: String,
    vcpu_type: Option<String>,
    #[serde(default)]
    vcpu_signature: String,
    vcpus: u32,
}

/// A file of format 2, as the table above lists it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compact {
    #[serde(rename = "format")]
    _format: u64,
    version: String,
    firmware_sha256: String,
    kernel_sha256: String,
    initrd_sha256: String,
    command_line_sha256: String,
    root_image_sha256: String,
    root_hash: String,
    #[serde(rename = "vmm")]
    _vmm: String,
    guest_policy: String,
    guest_features: String,
    id_key_digest: Option<String>,
    author_key_digest: Option<String>,
    max_vcpus: u32,
    chains: Vec<ChainEntry>,
    #[serde(default)]
    variants: Vec<Variant>,
    disk_sha256: Option<String>,
    uki_sha256: Option<String>,
    #[serde(default)]
    boot: Vec<BootEntry>,
    withdrawn: Option<String>,
}

/// A vCPU type with its chain, as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainEntry {
    vcpu_type: String,
    vcpu_signature: String,
    launch_digest: String,
    bsp_vmsa: String,
    ap_vmsa: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    kernel_sha256: String,
    initrd_sha256: String,
    command_line_sha256: String,
    chains: Vec<ChainEntry>,
}

/// A TPM's registers after the image was started from a disk, as a file has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BootEntry {
    name: String,
    pcrs: BTreeMap<String, String>,
}

impl BootEntry {
    fn boot(self) -> Result<Boot, ReferenceError> {
        let mut registers = BTreeMap::new();
        for (name, value) in self.pcrs {
            let Some(number) = register_number(&name) else {
                return Err(ReferenceError::Register { name });
            };
            registers.insert(number, sha256("pcrs", &value)?);
        }
        for register in BOOT_REGISTERS {
            if !registers.contains_key(&register) {
                return Err(ReferenceError::BootRegister {
                    name: self.name,
                    register,
                });
            }
        }
        Ok(Boot {
            name: self.name,
            registers,
        })
    }
}

/// Returns the number of a register; none for a number that no register has, or that is written in
/// another way.
fn register_number(name: &str) -> Option<u8> {
    let number: u8 = name.parse().ok()?;
    let is_register = usize::from(number) < REGISTERS && number.to_string() == name;
    is_register.then_some(number)
}

impl Listed {
    fn image(self) -> Result<Image, ReferenceError> {
        let series = listed_series(self.measurements)?;
        let optional = |field, value: &Option<String>| {
            value
                .as_deref()
                .map(|value| sha256(field, value))
                .transpose()
        };
        Ok(Image {
            version: self.version,
            variant: None,
            firmware: optional("firmware_sha256", &self.firmware_sha256)?,
            inputs: Inputs {
                kernel: optional("kernel_sha256", &self.kernel_sha256)?,
                initrd: optional("initrd_sha256", &self.initrd_sha256)?,
                root_hash: optional("root_hash", &self.root_hash)?,
                command_line: optional("command_line_sha256", &self.command_line_sha256)?,
            },
            keys: keys(
                self.id_key_digest.as_deref(),
                self.author_key_digest.as_deref(),
            )?,
            withdrawn: self.withdrawn,
            series,
            boot: Vec::new(),
        })
    }
}

/// Groups the measurements of a file by vCPU type, in the file's order.
fn listed_series(entries: Vec<ListedEntry>) -> Result<Vec<Series>, ReferenceError> {
    let mut series: Vec<(String, Vec<_>)> = Vec::new();
    for entry in entries {
        let measurement =
            hex48("measurement", &entry.measurement).map(LaunchMeasurement::from_bytes)?;
        let vcpu_type = entry.vcpu_type.unwrap_or(entry.vcpu_signature);
        let counted = (entry.vcpus, measurement);
        match series.iter_mut().find(|(known, _)| *known == vcpu_type) {
            Some((_, counts)) => counts.push(counted),
            None => series.push((vcpu_type, vec![counted])),
        }
    }
    if series.is_empty() {
        return Err(ReferenceError::Empty);
    }
    let listed = series.into_iter();
    Ok(listed
        .map(|(vcpu_type, counts)| Series::listed(vcpu_type, counts))
        .collect())
}

impl Compact {
    /// Returns the image, then its variants.
    fn images(mut self) -> Result<Vec<Image>, ReferenceError> {
        self.check_members_that_are_not_compared()?;
        self.check_total()?;
        let (variants, max_vcpus) = (std::mem::take(&mut self.variants), self.max_vcpus);
        let main = self.image()?;
        let mut images = vec![main.clone()];
        for variant in variants {
            images.push(variant.image(&main, max_vcpus)?);
        }
        Ok(images)
    }

    /// Returns the image itself.
    fn image(self) -> Result<Image, ReferenceError> {
        let root_hash = Some(sha256("root_hash", &self.root_hash)?);
        let firmware = Some(sha256("firmware_sha256", &self.firmware_sha256)?);
        let inputs = launched_inputs(
            &self.kernel_sha256,
            &self.initrd_sha256,
            &self.command_line_sha256,
        )?;
        let keys = keys(
            self.id_key_digest.as_deref(),
            self.author_key_digest.as_deref(),
        )?;
        let series = series(&self.chains, self.max_vcpus)?;
        let boot = self.boot.into_iter().map(BootEntry::boot);
        Ok(Image {
            version: self.version,
            variant: None,
            firmware,
            inputs: Inputs {
                root_hash,
                ..inputs
            },
            keys,
            withdrawn: self.withdrawn,
            series,
            boot: boot.collect::<Result<_, _>>()?,
        })
    }

    /// Expects at most as many measurements in all chains together as the limit.
    fn check_total(&self) -> Result<(), ReferenceError> {
        let of_variants = self.variants.iter().map(|variant| variant.chains.len());
        let chains = self.chains.len() + of_variants.sum::<usize>();
        let count = chains.saturating_mul(self.max_vcpus as usize);
        if count > MAX_REFERENCE_MEASUREMENTS {
            return Err(ReferenceError::Measurements {
                count,
                limit: MAX_REFERENCE_MEASUREMENTS,
            });
        }
        Ok(())
    }

    fn check_members_that_are_not_compared(&self) -> Result<(), ReferenceError> {
        sha256("root_image_sha256", &self.root_image_sha256)?;
        number("guest_policy", &self.guest_policy)?;
        number("guest_features", &self.guest_features)?;
        for (field, value) in [
            ("disk_sha256", &self.disk_sha256),
            ("uki_sha256", &self.uki_sha256),
        ] {
            if let Some(value) = value {
                sha256(field, value)?;
            }
        }
        Ok(())
    }
}

impl Variant {
    /// Returns the variant of the image `main`.
    fn image(self, main: &Image, max_vcpus: u32) -> Result<Image, ReferenceError> {
        let inputs = launched_inputs(
            &self.kernel_sha256,
            &self.initrd_sha256,
            &self.command_line_sha256,
        )?;
        Ok(Image {
            variant: Some(self.name),
            inputs: Inputs {
                root_hash: main.inputs.root_hash,
                ..inputs
            },
            series: series(&self.chains, max_vcpus)?,
            // A disk starts the image's own kernel.
            boot: Vec::new(),
            ..main.clone()
        })
    }
}

impl ChainEntry {
    fn chain(&self) -> Result<Chain, ReferenceError> {
        number("vcpu_signature", &self.vcpu_signature)?;
        Ok(Chain {
            launch_digest: hex48("launch_digest", &self.launch_digest)
                .map(LaunchMeasurement::from_bytes)?,
            bsp_vmsa: hex48("bsp_vmsa", &self.bsp_vmsa)?,
            ap_vmsa: hex48("ap_vmsa", &self.ap_vmsa)?,
        })
    }

    fn series(&self, max_vcpus: u32) -> Result<Series, ReferenceError> {
        let chain = Some((self.chain()?, max_vcpus));
        Ok(Series {
            vcpu_type: self.vcpu_type.clone(),
            chain,
            counts: OnceLock::new(),
        })
    }
}

/// Reads the digests of what the firmware starts. The root hash is the same for every variant; the
/// caller adds it.
fn launched_inputs(
    kernel: &str,
    initrd: &str,
    command_line: &str,
) -> Result<Inputs, ReferenceError> {
    Ok(Inputs {
        kernel: Some(sha256("kernel_sha256", kernel)?),
        initrd: Some(sha256("initrd_sha256", initrd)?),
        command_line: Some(sha256("command_line_sha256", command_line)?),
        root_hash: None,
    })
}

/// Reads a SHA-256 digest; `field` is named in the error.
///
/// # Errors
/// The value is no such digest in hex.
pub fn sha256(field: &'static str, value: &str) -> Result<Sha256Digest, ReferenceError> {
    value.parse().map_err(|_| ReferenceError::Digest {
        field,
        value: value.to_owned(),
    })
}

fn keys(id_key: Option<&str>, author_key: Option<&str>) -> Result<KeyDigests, ReferenceError> {
    let key = |field, value: Option<&str>| value.map_or(Ok([0; 48]), |value| hex48(field, value));
    Ok(KeyDigests {
        id_key: key("id_key_digest", id_key)?,
        author_key: key("author_key_digest", author_key)?,
    })
}

fn hex48(field: &'static str, value: &str) -> Result<PageDigest, ReferenceError> {
    let mut bytes = [0; 48];
    match hex::decode_to_slice(value, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(ReferenceError::Digest {
            field,
            value: value.to_owned(),
        }),
    }
}

fn number(field: &'static str, value: &str) -> Result<u64, ReferenceError> {
    let digits = value
        .strip_prefix("0x")
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| ReferenceError::Number {
        field,
        value: value.to_owned(),
    })
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
