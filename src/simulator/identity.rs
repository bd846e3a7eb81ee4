//! Whom a simulated processor passes for, and what its host hands over.

use serde::{Deserialize, Serialize};

use super::SimulatorError;
use crate::snp::tcb::{Product, TcbVersion};

/// Of a chip id, in bytes.
pub(super) const CHIP_ID_BYTES: usize = 64;
/// Turin's are shorter.
const TURIN_CHIP_ID_BYTES: usize = 8;

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
    pub(super) const fn cpuid(&self) -> [u8; 3] {
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
