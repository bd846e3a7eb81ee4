//! The signing core. Comes in: report data. Goes out: a signed report, as firmware of the wanted version would write it.
//! Never: a report of a real platform; its chip, its TCB and its measurement are what its description says.
//!
//! The folder of a processor: `processor.json` (identity, private key, measurement, faults), `ark.der`, `ask.der`, `vek.der`,
//! `trust-root.pem`.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use p384::ecdsa::signature::Signer as _;
use p384::ecdsa::{Signature, SigningKey};
use serde::{Deserialize, Serialize};

use super::hierarchy::Hierarchy;
use super::{SimulatorError, file, table};
use crate::attester::{AttestError, Attester, Certificates, Evidence, ReportData};
use crate::snp::measurement::LaunchMeasurement;
use crate::snp::report::{ECDSA_P384_SHA384, PlatformInfo, REPORT_BYTES, Report, SIGNED_BYTES};
use crate::snp::tcb::{Product, TcbVersion};

const DESCRIPTION: &str = "processor.json";
const CHIP_ID_BYTES: usize = 64;
/// Turin's are shorter.
const TURIN_CHIP_ID_BYTES: usize = 8;
const KEY_BYTES: usize = 48;
/// What a faulty processor answers: INVALID_PARAM (AMD 56860, status codes).
const FAULT_CODE: u32 = 0x16;

/// Which key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The chip's.
    Vcek,
    /// The cloud's.
    Vlek,
}

impl Key {
    /// AMD's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }
}

/// What the certificate of a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The line of processors.
    pub product: Product,
    /// The kind of key.
    pub key: Key,
    /// 64 bytes, on Turin 8; nothing for a VLEK.
    pub chip_id: Vec<u8>,
}

impl Identity {
    /// A chip of its own.
    ///
    /// # Errors
    /// No random bytes.
    pub fn draw(product: Product, key: Key) -> Result<Self, SimulatorError> {
        let length = match (key, product) {
            (Key::Vlek, _) => 0,
            (Key::Vcek, Product::Turin) => TURIN_CHIP_ID_BYTES,
            (Key::Vcek, Product::Milan | Product::Genoa) => CHIP_ID_BYTES,
        };
        let mut chip_id = vec![0; length];
        getrandom::getrandom(&mut chip_id)?;
        Ok(Self {
            product,
            key,
            chip_id,
        })
    }

    /// Versions that are at the verifier's floor or above: each component has another, microcode has the upper bit of its byte
    /// set where AMD's has.
    pub fn tcb(&self) -> TcbVersion {
        let bytes = match self.product {
            Product::Milan => [4, 1, 0, 0, 0, 0, 29, 222],
            Product::Genoa => [10, 1, 0, 0, 0, 0, 27, 86],
            Product::Turin => [1, 2, 3, 4, 0, 0, 0, 81],
        };
        TcbVersion::new(bytes, self.product)
    }

    /// As in certificates: a VCEK of Milan and Genoa has a stepping.
    pub fn product_name(&self) -> String {
        let stepping = match (self.key, self.product) {
            (Key::Vcek, Product::Milan) => "-B0",
            (Key::Vcek, Product::Genoa) => "-B1",
            (Key::Vlek, _) | (Key::Vcek, Product::Turin) => "",
        };
        format!("{}{stepping}", self.product)
    }

    /// CPUID family (combined), model (combined), stepping.
    const fn cpuid(&self) -> [u8; 3] {
        match self.product {
            Product::Milan => [0x19, 0x01, 1],
            Product::Genoa => [0x19, 0x11, 1],
            Product::Turin => [0x1a, 0x02, 1],
        }
    }
}

/// Which certificates the host hands over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandedOver {
    /// All three.
    #[default]
    All,
    /// None: an empty table.
    Nothing,
    /// A table that points out of itself.
    Broken,
    /// More than a guest takes.
    Large,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// So many requests are answered with "busy" first.
    pub busy: u32,
    /// After so many reports, the firmware refuses every request.
    pub reports: Option<u32>,
    /// What the host does.
    pub handed_over: HandedOver,
}

/// How one request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Report,
    Busy,
    Refused(u32),
}

/// `processor.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    product: String,
    key_kind: Key,
    chip_id: String,
    private_key: String,
    report_version: u32,
    guest_policy: u64,
    measurement: String,
    #[serde(default)]
    faults: Faults,
}

/// A simulated secure processor, with one guest.
pub struct Processor {
    identity: Identity,
    key: SigningKey,
    hierarchy: Hierarchy,
    /// Of its reports.
    pub report_version: u32,
    /// Of its guest.
    pub guest_policy: u64,
    /// Of its guest.
    pub measurement: LaunchMeasurement,
    faults: Mutex<Faults>,
}

impl Processor {
    /// The policy that QEMU launches guests with: SMT allowed, the reserved bit that is one.
    pub const GUEST_POLICY: u64 = 0x30000;

    /// A new one, with a hierarchy of its own; `rsa_bits` for ARK and ASK.
    ///
    /// # Errors
    /// No random bytes, or a fault of ours.
    pub fn generate(identity: Identity, rsa_bits: usize) -> Result<Self, SimulatorError> {
        let key = SigningKey::random(&mut rsa::rand_core::OsRng);
        let hierarchy = Hierarchy::generate(&identity, &key, rsa_bits)?;
        Ok(Self {
            identity,
            key,
            hierarchy,
            report_version: 3,
            guest_policy: Self::GUEST_POLICY,
            measurement: LaunchMeasurement::from_bytes([0; LaunchMeasurement::BYTES]),
            faults: Mutex::default(),
        })
    }

    /// The same, with faults.
    pub fn with_faults(self, faults: Faults) -> Self {
        Self {
            faults: Mutex::new(faults),
            ..self
        }
    }

    /// The certificates.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Whose key signs.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads a processor's folder.
    ///
    /// # Errors
    /// It is none.
    pub fn open(folder: &Path) -> Result<Self, SimulatorError> {
        log::warn!("{}", super::MARKER);
        let read = |name: &str| fs::read(folder.join(name)).map_err(file(folder.join(name)));
        let description: Description =
            serde_json::from_slice(&read(DESCRIPTION)?).map_err(|source| {
                SimulatorError::Description {
                    path: folder.join(DESCRIPTION),
                    source,
                }
            })?;
        let hierarchy = Hierarchy {
            ark: read("ark.der")?,
            ask: read("ask.der")?,
            vek: read("vek.der")?,
        };
        description.processor(hierarchy)
    }

    /// Writes a processor's folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), SimulatorError> {
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.join(name), bytes).map_err(file(folder.join(name)))
        };
        let description = Description {
            product: self.identity.product.to_string(),
            key_kind: self.identity.key,
            chip_id: hex::encode(&self.identity.chip_id),
            private_key: hex::encode(self.key.to_bytes()),
            report_version: self.report_version,
            guest_policy: self.guest_policy,
            measurement: self.measurement.to_string(),
            faults: *self.faults.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let json = serde_json::to_vec_pretty(&description).map_err(|source| {
            SimulatorError::Description {
                path: folder.join(DESCRIPTION),
                source,
            }
        })?;
        fs::create_dir_all(folder).map_err(file(folder))?;
        write(DESCRIPTION, &json)?;
        write("ark.der", &self.hierarchy.ark)?;
        write("ask.der", &self.hierarchy.ask)?;
        write("vek.der", &self.hierarchy.vek)?;
        write("trust-root.pem", self.hierarchy.trust_root()?.as_bytes())
    }

    /// A signed report, for privilege level `vmpl`.
    pub fn report(&self, report_data: &ReportData, vmpl: u32) -> Report {
        let mut report = Fields([0; REPORT_BYTES]);
        let tcb = self.identity.tcb().bytes();
        let vlek = u32::from(self.identity.key == Key::Vlek);
        report.put(0x00, &self.report_version.to_le_bytes());
        report.put(0x08, &self.guest_policy.to_le_bytes());
        report.put(0x30, &vmpl.to_le_bytes());
        report.put(0x34, &ECDSA_P384_SHA384.to_le_bytes());
        // SMT is on, and no memory has two addresses.
        report.put(
            0x40,
            &(1 | PlatformInfo::ALIAS_CHECK_COMPLETE).to_le_bytes(),
        );
        report.put(0x48, &(vlek << 2).to_le_bytes());
        report.put(0x50, report_data);
        report.put(0x90, self.measurement.as_bytes());
        report.put(0x1a0, &self.identity.chip_id);
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report.put(offset, &tcb);
        }
        // Version of the firmware: build 21 of 1.55, current and committed.
        for offset in [0x1e8, 0x1ec] {
            report.put(offset, &[21, 55, 1]);
        }
        if self.report_version >= 3 {
            report.put(0x188, &self.identity.cpuid());
        }
        report.sign(&self.key)
    }

    /// The certificate table that the host has.
    pub(super) fn table(&self) -> Vec<u8> {
        table::write(&self.hierarchy, self.identity.key, self.lock().handed_over)
    }

    /// How the next request goes.
    pub(super) fn turn(&self) -> Turn {
        let mut faults = self.lock();
        if let Some(left) = faults.busy.checked_sub(1) {
            faults.busy = left;
            return Turn::Busy;
        }
        match &mut faults.reports {
            None => Turn::Report,
            Some(0) => Turn::Refused(FAULT_CODE),
            Some(left) => {
                *left -= 1;
                Turn::Report
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attester for Processor {
    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        match self.turn() {
            Turn::Report => {
                let table = self.table();
                let certificates = if table.is_empty() {
                    Certificates::default()
                } else {
                    Certificates::read(&table)?
                };
                Evidence::about(report_data, self.report(report_data, 0), certificates)
            }
            Turn::Busy => Err(AttestError::Busy { attempts: 1 }),
            Turn::Refused(code) => Err(AttestError::Firmware { code }),
        }
    }
}

impl Description {
    fn processor(self, hierarchy: Hierarchy) -> Result<Processor, SimulatorError> {
        let member = |name, expected| move || SimulatorError::Member { name, expected };
        let product = Product::ALL
            .into_iter()
            .find(|product| product.name() == self.product);
        let product = product.ok_or_else(member("product", "Milan, Genoa or Turin"))?;
        let chip_id = hex::decode(&self.chip_id)
            .ok()
            .filter(|bytes| bytes.len() <= CHIP_ID_BYTES);
        let chip_id = chip_id.ok_or_else(member("chip_id", "at most 64 bytes in hex"))?;
        let key = hex::decode(&self.private_key)
            .ok()
            .filter(|bytes| bytes.len() == KEY_BYTES);
        let key = key.and_then(|bytes| SigningKey::from_slice(&bytes).ok());
        let key = key.ok_or_else(member("private_key", "a P-384 key in hex"))?;
        let measurement = self.measurement.parse().ok();
        Ok(Processor {
            identity: Identity {
                product,
                key: self.key_kind,
                chip_id,
            },
            key,
            hierarchy,
            report_version: self.report_version,
            guest_policy: self.guest_policy,
            measurement: measurement.ok_or_else(member("measurement", "48 bytes in hex"))?,
            faults: Mutex::new(self.faults),
        })
    }
}

/// A report that is being written.
struct Fields([u8; REPORT_BYTES]);

impl Fields {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// R and S are little-endian, each 72 bytes.
    fn sign(mut self, key: &SigningKey) -> Report {
        let signature: Signature = key.sign(&self.0[..SIGNED_BYTES]);
        for (offset, number) in [(0x2a0, signature.r()), (0x2e8, signature.s())] {
            let mut bytes = number.to_bytes();
            bytes.reverse();
            self.put(offset, &bytes);
        }
        Report::from(self.0)
    }
}
