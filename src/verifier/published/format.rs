//! The two formats of a published file.
//!
//! * In: the members of a file.
//! * Out: its images.
//! * Never: an unknown member of format 2, or a value in another form than its format says.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::{Boot, Image, Inputs, KeyDigests, MAX_REFERENCE_MEASUREMENTS, ReferenceError, Series};
use crate::digest::Sha256Digest;
use crate::snp::measurement::{Chain, LaunchMeasurement, PageDigest};
use crate::verifier::azure::{BOOT_REGISTERS, REGISTERS};

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
pub(super) struct FormatAndVersion {
    pub(super) format: Option<u64>,
    pub(super) version: String,
}

/// A file without `format`, which lists every measurement.
#[derive(Deserialize)]
pub(super) struct Listed {
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
pub(super) struct Compact {
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
    pub(super) fn image(self) -> Result<Image, ReferenceError> {
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
    pub(super) fn images(mut self) -> Result<Vec<Image>, ReferenceError> {
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
