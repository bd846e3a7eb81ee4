//! The signing core.
//!
//! * In: the 64 bytes of report data.
//! * Out: a signed report, as firmware of the chosen version would write it.
//! * Never: a report of a real platform: chip, TCB and measurement are those of the description.
//!
//! The directory of a processor has `processor.json` (identity, private key, measurement, faults),
//! `ark.der`, `ask.der`, `vek.der` and `trust-root.pem`.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use p384::ecdsa::signature::Signer as _;
use p384::ecdsa::{Signature, SigningKey};
use serde::{Deserialize, Serialize};

use super::hierarchy::Hierarchy;
use super::identity::{CHIP_ID_BYTES, HandedOver, Identity, Key};
use super::{SimulatorError, file, table};
use crate::attester::{AttestError, Attester, Certificates, Evidence, ReportData};
use crate::snp::measurement::LaunchMeasurement;
use crate::snp::report::{ECDSA_P384_SHA384, PlatformInfo, REPORT_BYTES, Report, SIGNED_BYTES};
use crate::snp::tcb::Product;

const DESCRIPTION: &str = "processor.json";
const KEY_BYTES: usize = 48;
/// The status that a faulty processor returns: INVALID_PARAM (AMD 56860, status codes).
const FAULT_CODE: u32 = 0x16;

/// The faults that a processor simulates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The number of requests that are refused as "busy" first.
    pub busy: u32,
    /// The number of reports after which the firmware refuses every request.
    pub reports: Option<u32>,
    /// The certificates that the host provides.
    pub handed_over: HandedOver,
}

/// The result of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Report,
    Busy,
    Refused(u32),
}

/// The members of `processor.json`.
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

/// What an ID block says about a launch (AMD 56860, ID_BLOCK).
pub struct SignedLaunch {
    /// The version of the guest.
    pub guest_svn: u32,
    /// The policy of the guest.
    pub guest_policy: u64,
    /// SHA-384 of the key that signed it.
    pub id_key_digest: [u8; 48],
}

/// A simulated secure processor, with one guest.
pub struct Processor {
    identity: Identity,
    key: SigningKey,
    hierarchy: Hierarchy,
    /// The version of its reports.
    pub report_version: u32,
    /// The policy of its guest.
    pub guest_policy: u64,
    /// The launch measurement of its guest.
    pub measurement: LaunchMeasurement,
    faults: Mutex<Faults>,
}

impl Processor {
    /// The policy with which QEMU launches guests: SMT allowed, and the reserved bit that is one.
    pub const GUEST_POLICY: u64 = 0x30000;

    /// Generates a processor with its own hierarchy; the keys of ARK and ASK have `rsa_bits` bits.
    ///
    /// # Errors
    /// There are no random bytes, or an internal error occurs.
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

    /// Returns the same processor, with faults.
    pub fn with_faults(self, faults: Faults) -> Self {
        Self {
            faults: Mutex::new(faults),
            ..self
        }
    }

    /// Returns the certificates of its key.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Returns the identity that its certificate names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads the directory of a processor.
    ///
    /// # Errors
    /// A file cannot be read, or the description is malformed.
    pub fn open(directory: &Path) -> Result<Self, SimulatorError> {
        log::warn!("{}", super::MARKER);
        let read = |name: &str| fs::read(directory.join(name)).map_err(file(directory.join(name)));
        let description: Description =
            serde_json::from_slice(&read(DESCRIPTION)?).map_err(description_error(directory))?;
        let hierarchy = Hierarchy {
            ark: read("ark.der")?,
            ask: read("ask.der")?,
            vek: read("vek.der")?,
        };
        description.processor(hierarchy)
    }

    /// Writes the directory of a processor.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), SimulatorError> {
        let write = |name: &str, bytes: &[u8]| {
            fs::write(directory.join(name), bytes).map_err(file(directory.join(name)))
        };
        let description = self.description();
        let json = serde_json::to_vec_pretty(&description).map_err(description_error(directory))?;
        fs::create_dir_all(directory).map_err(file(directory))?;
        write(DESCRIPTION, &json)?;
        write("ark.der", &self.hierarchy.ark)?;
        write("ask.der", &self.hierarchy.ask)?;
        write("vek.der", &self.hierarchy.vek)?;
        write("trust-root.pem", self.hierarchy.trust_root()?.as_bytes())
    }

    fn description(&self) -> Description {
        Description {
            product: self.identity.product.to_string(),
            key_kind: self.identity.key,
            chip_id: hex::encode(&self.identity.chip_id),
            private_key: hex::encode(self.key.to_bytes()),
            report_version: self.report_version,
            guest_policy: self.guest_policy,
            measurement: self.measurement.to_string(),
            faults: *self.lock(),
        }
    }

    /// Returns a signed report for the privilege level `vmpl`.
    pub fn report(&self, report_data: &ReportData, vmpl: u32) -> Report {
        self.fields(report_data, vmpl).sign(&self.key)
    }

    /// Returns a signed report of a guest whose launch a key has signed.
    pub(super) fn report_of(&self, report_data: &ReportData, launch: &SignedLaunch) -> Report {
        let mut report = self.fields(report_data, 0);
        report.put(0x04, &launch.guest_svn.to_le_bytes());
        report.put(0x08, &launch.guest_policy.to_le_bytes());
        report.put(0xe0, &launch.id_key_digest);
        report.sign(&self.key)
    }

    fn fields(&self, report_data: &ReportData, vmpl: u32) -> Fields {
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
        // The version of the firmware: build 21 of 1.55, current and committed.
        for offset in [0x1e8, 0x1ec] {
            report.put(offset, &[21, 55, 1]);
        }
        if self.report_version >= 3 {
            report.put(0x188, &self.identity.cpuid());
        }
        report
    }

    /// Returns the certificate table that the host provides.
    pub(super) fn table(&self) -> Vec<u8> {
        table::write(&self.hierarchy, self.identity.key, self.lock().handed_over)
    }

    /// Decides the result of the next request.
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
        let chip_id = hex::decode(&self.chip_id).ok();
        let chip_id = chip_id.filter(|bytes| bytes.len() <= CHIP_ID_BYTES);
        let chip_id = chip_id.ok_or_else(member("chip_id", "at most 64 bytes in hex"))?;
        let key = signing_key(&self.private_key);
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

/// Returns a function for `map_err` that names the description of a directory.
fn description_error(directory: &Path) -> impl FnOnce(serde_json::Error) -> SimulatorError {
    let path = directory.join(DESCRIPTION);
    move |source| SimulatorError::Description { path, source }
}

/// Reads a private key of P-384 from hex.
fn signing_key(text: &str) -> Option<SigningKey> {
    let bytes = hex::decode(text).ok()?;
    if bytes.len() != KEY_BYTES {
        return None;
    }
    SigningKey::from_slice(&bytes).ok()
}

/// A report that is being written.
struct Fields([u8; REPORT_BYTES]);

impl Fields {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Signs the report; R and S are little-endian, 72 bytes each.
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
