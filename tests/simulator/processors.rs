//! Simulated processors, created once a run and kept in directories.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kettle::simulator::{Faults, Identity, Key, Processor, RSA_BITS};
use kettle::snp::measurement::LaunchMeasurement;
use kettle::snp::tcb::Product;

pub const MEASUREMENT: LaunchMeasurement = LaunchMeasurement::from_bytes([0x5a; 48]);

/// The length of small keys, so that a run makes its keys in a moment; one processor has AMD's
/// length.
const SMALL_RSA_BITS: usize = 2048;

/// Returns a processor of each product and kind of key.
pub fn all() -> &'static [Processor] {
    static ALL: OnceLock<Vec<Processor>> = OnceLock::new();
    ALL.get_or_init(|| {
        let kinds = Product::ALL
            .into_iter()
            .flat_map(|product| [(product, Key::Vcek), (product, Key::Vlek)]);
        kinds
            .map(|(product, key)| {
                Processor::generate(Identity::draw(product, key).unwrap(), SMALL_RSA_BITS).unwrap()
            })
            .collect()
    })
}

/// A directory with a processor of AMD's key length.
pub struct Directory {
    directory: tempfile::TempDir,
}

impl Directory {
    pub fn with(faults: Faults) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bits = if faults == Faults::default() {
            RSA_BITS
        } else {
            SMALL_RSA_BITS
        };
        let identity = Identity::draw(Product::Genoa, Key::Vcek).unwrap();
        let mut processor = Processor::generate(identity, bits)
            .unwrap()
            .with_faults(faults);
        processor.measurement = MEASUREMENT;
        processor.save(directory.path()).unwrap();
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn trust_root(&self) -> PathBuf {
        self.directory.path().join("trust-root.pem")
    }

    /// Returns the directory as an option of `kettle-host serve`.
    pub fn options(&self) -> [&str; 2] {
        ["--simulator", self.directory.path().to_str().unwrap()]
    }
}
