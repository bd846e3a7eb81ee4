//! The product, key and chip that a simulated processor imitates, and the certificates that its
//! host provides.

use serde::{Deserialize, Serialize};

use super::SimulatorError;
use crate::snp::tcb::{Product, TcbVersion};

/// The length of a chip id, in bytes.
pub(super) const CHIP_ID_BYTES: usize = 64;
/// The length of a chip id on Turin, in bytes.
const TURIN_CHIP_ID_BYTES: usize = 8;

/// The kind of key that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The key of the chip.
    Vcek,
    /// The key of the cloud.
    Vlek,
}

impl Key {
    /// Returns AMD's name for the kind of key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }
}

/// The identity that the certificate of a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The product, a line of processors.
    pub product: Product,
    /// The kind of key.
    pub key: Key,
    /// The chip id: 64 bytes, on Turin 8; empty for a VLEK.
    pub chip_id: Vec<u8>,
}

impl Identity {
    /// Returns a new identity with a random chip id.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
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

    /// Returns versions that are at the verifier's floor or above. Each component has another one,
    /// and microcode has the upper bit of its byte set where AMD's has.
    pub fn tcb(&self) -> TcbVersion {
        let bytes = match self.product {
            Product::Milan => [4, 1, 0, 0, 0, 0, 29, 222],
            Product::Genoa => [10, 1, 0, 0, 0, 0, 27, 86],
            Product::Turin => [1, 2, 3, 4, 0, 0, 0, 81],
        };
        TcbVersion::new(bytes, self.product)
    }

    /// Returns the product name as in certificates: a VCEK of Milan and Genoa has a stepping.
    pub fn product_name(&self) -> String {
        let stepping = match (self.key, self.product) {
            (Key::Vcek, Product::Milan) => "-B0",
            (Key::Vcek, Product::Genoa) => "-B1",
            (Key::Vlek, _) | (Key::Vcek, Product::Turin) => "",
        };
        format!("{}{stepping}", self.product)
    }

    /// Returns the combined CPUID family and model, and the stepping.
    pub(super) const fn cpuid(&self) -> [u8; 3] {
        match self.product {
            Product::Milan => [0x19, 0x01, 1],
            Product::Genoa => [0x19, 0x11, 1],
            Product::Turin => [0x1a, 0x02, 1],
        }
    }
}

/// The certificates that the host provides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandedOver {
    /// All three certificates.
    #[default]
    All,
    /// No certificate: an empty table.
    Nothing,
    /// A table with an offset outside of it.
    Broken,
    /// A table that is larger than a guest takes.
    Large,
}
