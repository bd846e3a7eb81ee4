//! A good bundle under this run's hierarchy, and everything that a test can change in it before it
//! is signed.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::bundle::read::{Bundle, HashedFile, ReadError};
use kettle::digest::Sha256Digest;
use kettle::provenance::{Nonce, report_data};
use kettle::snp::measurement::LaunchMeasurement;
use kettle::verifier::{AttestationResult, Expectations, ReferenceValues, TrustRoots, verify};
use serde_json::{Value, json};

use super::hierarchy::{Digest, NOW, Template, extension, keys, pem, sign_report, tlv, vcek_point};

pub const NONCE: &str = "00c0ffee";
pub const ARTIFACT: &[u8] = b"the program";
pub const LOCKFILE: &[u8] = b"# the lockfile\n";
pub const LOG: &[u8] = b"Compiling\n";
pub const MEASUREMENT: [u8; 48] = [0x5a; 48];
pub const CHIP: [u8; 64] = [0xc1; 64];
/// Versions at the floor of a Genoa.
pub const SNP: u8 = 27;
pub const MICROCODE: u8 = 86;
/// Bit 5 of PLATFORM_INFO.
pub const ALIAS_CHECK_COMPLETE: u8 = 1 << 5;
const SPL: &str = "1.3.6.1.4.1.3704.1.3";

/// Extensions of a VCEK in the layout before Turin, by id and value.
pub type Extensions = Vec<(String, Vec<u8>)>;

/// Sees the verification of a scene.
type Observer = fn(&Scene, &Bundle, &Expectations, &AttestationResult);

thread_local! {
    /// Sees each verification of this thread.
    pub static OBSERVER: Cell<Option<Observer>> = const { Cell::new(None) };
}

/// A change of bytes before or after signing.
type Edit<T> = Box<dyn Fn(&mut T)>;

/// Makes a file of the statement's bytes.
type Maker = Box<dyn Fn(&[u8]) -> Vec<u8>>;

pub struct Scene {
    pub ark: Template,
    pub ask: Template,
    pub leaf: Template,
    pub leaf_extensions: Extensions,
    pub leaf_signer: &'static rsa::RsaPrivateKey,
    pub statement: Value,
    /// Replaces the statement.
    pub provenance: Option<Vec<u8>>,
    /// Makes `provenance.sigstore.json` of the statement's bytes.
    pub envelope: Option<Maker>,
    pub edit_report: Edit<[u8; 1184]>,
    pub edit_signed_report: Edit<[u8; 1184]>,
    pub edit_bundle: Edit<Bundle>,
    pub edit_expectations: Edit<Expectations>,
}

pub fn digest(bytes: &[u8]) -> Value {
    json!({"sha256": Sha256Digest::of(bytes).to_string()})
}

fn statement() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "program", "digest": digest(ARTIFACT)}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://kettle.build/cargo/v1",
                "externalParameters": {
                    "source": {"repository": "https://example.org/project.git", "ref": "v1"},
                    "nonce": NONCE,
                    "nonceSource": "client",
                },
                "internalParameters": {
                    "lockfile": {"name": "Cargo.lock", "digest": digest(LOCKFILE)},
                    "sourceDateEpoch": 0,
                },
                "resolvedDependencies": [
                    {"uri": "git+https://example.org/project.git", "digest": {"gitCommit": "ab".repeat(20), "gitTree": "cd".repeat(20)}},
                    {"uri": "pkg:cargo/a@1.0.0", "digest": digest(b"a")},
                ],
            },
            "runDetails": {
                "builder": {"id": "https://kettle.build/appliance/sev-snp/v1", "version": {}},
                "metadata": {"invocationId": "00"},
                "byproducts": [
                    {"name": "build.log", "digest": digest(LOG)},
                    {"name": "Cargo.lock", "digest": digest(LOCKFILE)},
                ],
            },
        },
    })
}

fn extensions() -> Extensions {
    let numbers = [
        (1, 4),
        (2, 0),
        (3, SNP),
        (4, 0),
        (5, 0),
        (6, 0),
        (7, 0),
        (8, MICROCODE),
    ];
    let numbers = numbers
        .into_iter()
        .map(|(id, value)| (format!("{SPL}.{id}"), vec![2, 1, value]));
    let product = ("1.3.6.1.4.1.3704.1.2".to_owned(), tlv(0x16, b"Genoa"));
    let chip = ("1.3.6.1.4.1.3704.1.4".to_owned(), CHIP.to_vec());
    numbers.chain([product, chip]).collect()
}

impl Scene {
    /// Returns a scene whose bundle is accepted.
    pub fn good() -> Self {
        let leaf = Template {
            issuer: "SEV-Test",
            subject: "SEV-VCEK",
            years: (2024, 2031),
            serial: 0,
            public_key: vcek_point(),
            extensions: Vec::new(),
            digest: Digest::Sha384,
        };
        Self {
            ark: Template::ark(),
            ask: Template::ask(),
            leaf,
            leaf_extensions: extensions(),
            leaf_signer: &keys().ask,
            statement: statement(),
            provenance: None,
            envelope: None,
            edit_report: Box::new(|_| {}),
            edit_signed_report: Box::new(|_| {}),
            edit_bundle: Box::new(|_| {}),
            edit_expectations: Box::new(|_| {}),
        }
    }
}

impl Scene {
    /// Changes a TCB component of the certificate or any other extension; none removes it.
    pub fn set_extension(&mut self, id: &str, value: Option<Vec<u8>>) {
        self.leaf_extensions.retain(|(found, _)| found != id);
        self.leaf_extensions
            .extend(value.map(|value| (id.to_owned(), value)));
    }

    /// Returns a scene that is signed by a cloud's key instead of the chip's, under an ASVK.
    pub fn of_a_cloud(&mut self) {
        self.ask.subject = "SEV-VLEK-Test";
        (self.leaf.issuer, self.leaf.subject) = ("SEV-VLEK-Test", "SEV-VLEK");
        self.set_extension("1.3.6.1.4.1.3704.1.4", None);
        self.set_extension("1.3.6.1.4.1.3704.1.5", Some(tlv(0x16, b"cloud")));
        self.edit_report = Box::new(|report| {
            report[0x48] = 1 << 2;
            report[0x1a0..0x1e0].fill(0);
        });
    }

    pub fn leaf_der(&self) -> Vec<u8> {
        let amd = self
            .leaf_extensions
            .iter()
            .map(|(id, value)| extension(id, false, value));
        let extensions = amd.chain(self.leaf.extensions.iter().cloned()).collect();
        Template {
            extensions,
            public_key: self.leaf.public_key.clone(),
            ..self.leaf
        }
        .signed(self.leaf_signer)
    }

    pub fn provenance(&self) -> Vec<u8> {
        self.provenance
            .clone()
            .unwrap_or_else(|| format!("{}\n", self.statement).into_bytes())
    }

    pub fn roots(&self) -> TrustRoots {
        let (ark, ask) = (self.ark.signed(&keys().ark), self.ask.signed(&keys().ark));
        TrustRoots::test_only((pem("CERTIFICATE", &ark) + &pem("CERTIFICATE", &ask)).as_bytes())
            .unwrap()
    }

    /// Returns a signed report about `data`.
    pub fn report(&self, data: [u8; 64]) -> [u8; 1184] {
        const TCB: [u8; 8] = [4, 0, 0, 0, 0, 0, SNP, MICROCODE];
        let mut report = [0; 1184];
        report[0] = 5;
        report[0x0a] = 3;
        report[0x34] = 1;
        report[0x40] = ALIAS_CHECK_COMPLETE;
        report[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 1]);
        report[0x50..0x90].copy_from_slice(&data);
        report[0x90..0xc0].copy_from_slice(&MEASUREMENT);
        report[0x1a0..0x1e0].copy_from_slice(&CHIP);
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[offset..offset + 8].copy_from_slice(&TCB);
        }
        (self.edit_report)(&mut report);
        let mut signature = sign_report(&report[..0x2a0]);
        signature[..48].reverse();
        signature[48..].reverse();
        report[0x2a0..0x2d0].copy_from_slice(&signature[..48]);
        report[0x2e8..0x318].copy_from_slice(&signature[48..]);
        (self.edit_signed_report)(&mut report);
        report
    }

    pub fn bundle(&self) -> Bundle {
        let provenance = self.provenance();
        let report = self.report(report_data(&provenance, &Nonce::parse(NONCE).unwrap()));
        let evidence = evidence(&report, &self.leaf_der());
        let file = |name: &str, bytes: &[u8]| HashedFile {
            name: name.to_owned(),
            sha256: Sha256Digest::of(bytes),
            size: bytes.len() as u64,
            executable: false,
        };
        let envelope = self.envelope.as_ref().map(|make| make(&provenance));
        let mut bundle = Bundle {
            provenance,
            envelope,
            evidence: Some(evidence.to_string().into_bytes()),
            artifacts: vec![file("program", ARTIFACT)],
            build_config: vec![file("Cargo.lock", LOCKFILE)],
            log: Some(file("build.log", LOG)),
            ..Bundle::default()
        };
        (self.edit_bundle)(&mut bundle);
        bundle
    }

    pub fn expectations(&self) -> Expectations {
        let mut references = ReferenceValues::default();
        references.add(LaunchMeasurement::from_bytes(MEASUREMENT));
        let mut expectations = Expectations::new(self.roots(), NOW, references);
        expectations.nonce = Some(Nonce::parse(NONCE).unwrap());
        (self.edit_expectations)(&mut expectations);
        expectations
    }

    pub fn verify(&self) -> AttestationResult {
        let (bundle, expectations) = (self.bundle(), self.expectations());
        let result = verify(Ok(bundle.clone()), &expectations);
        if let Some(observe) = OBSERVER.get() {
            observe(self, &bundle, &expectations, &result);
        }
        result
    }

    pub fn verify_read(&self, bundle: Result<Bundle, ReadError>) -> AttestationResult {
        verify(bundle, &self.expectations())
    }
}

pub fn evidence(report: &[u8], leaf: &[u8]) -> Value {
    let chain = json!({"vcek": STANDARD.encode(leaf), "ask": null, "ark": null});
    json!({"platform": "snp", "evidence": {"attestation_report": STANDARD.encode(report), "cert_chain": chain}})
}

/// Returns an access control list that lets one more user read, in the kernel's format
/// (`posix_acl_xattr.h`): a version, then tag, permissions and id of each entry.
pub fn list_with_another_user() -> Vec<u8> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (1, 6, NOBODY),
        (2, 4, 1234),
        (4, 4, NOBODY),
        (16, 4, NOBODY),
        (32, 4, NOBODY),
    ];
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}
