//! TCB versions, the security versions of AMD's firmware.
//!
//! * In: 8 bytes, and their product.
//! * Out: one number for each component.
//! * Never: a comparison of the packed numbers, whose order means nothing.
//!
//! AMD 56860 revision 1.58, TCB_VERSION; each component is one byte:
//!
//! | offset | Milan, Genoa | Turin |
//! |---|---|---|
//! | 0 | bootloader | FMC |
//! | 1 | TEE | bootloader |
//! | 2 | reserved | TEE |
//! | 3 | reserved | SNP |
//! | 4 to 5 | reserved | reserved |
//! | 6 | SNP | reserved |
//! | 7 | microcode | microcode |

use std::fmt;

/// A line of processors with its own certificates and TCB layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004, Bergamo and Siena included.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// All products that are known.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// Returns AMD's name for the product, as in certificates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// Returns the product that a certificate names (AMD 57230, table 11), with a stepping
    /// (`Milan-B0`) or without.
    pub fn from_certificate(name: &str) -> Option<Self> {
        let line = name.split_once('-').map_or(name, |(line, _)| line);
        Self::ALL.into_iter().find(|product| product.name() == line)
    }

    /// Returns the product with this combined CPUID family and model (AMD 56860, CPUID_FAM_ID and
    /// CPUID_MOD_ID).
    pub const fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One part of the trusted computing base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Firmware of the boot controller; Turin only.
    Fmc,
    /// The secure processor's bootloader.
    Bootloader,
    /// The secure processor's operating system.
    Tee,
    /// The SNP firmware.
    Snp,
    /// The lowest microcode patch level of all cores.
    Microcode,
}

impl Component {
    /// All components of all products.
    pub const ALL: [Self; 5] = [
        Self::Fmc,
        Self::Bootloader,
        Self::Tee,
        Self::Snp,
        Self::Microcode,
    ];

    /// Returns the component's name in options and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fmc => "fmc",
            Self::Bootloader => "bootloader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        }
    }

    /// Returns the component's offset in a packed version, if the product has it.
    const fn offset(self, product: Product) -> Option<usize> {
        match (product, self) {
            (Product::Milan | Product::Genoa, Self::Fmc) => None,
            (Product::Milan | Product::Genoa, Self::Bootloader) => Some(0),
            (Product::Milan | Product::Genoa, Self::Tee) => Some(1),
            (Product::Milan | Product::Genoa, Self::Snp) => Some(6),
            (Product::Turin, Self::Fmc) => Some(0),
            (Product::Turin, Self::Bootloader) => Some(1),
            (Product::Turin, Self::Tee) => Some(2),
            (Product::Turin, Self::Snp) => Some(3),
            (_, Self::Microcode) => Some(7),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A TCB version as it is packed in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcbVersion {
    bytes: [u8; Self::BYTES],
    product: Product,
}

impl TcbVersion {
    /// The length of a packed version, in bytes.
    pub const BYTES: usize = 8;

    /// Wraps the bytes of a version with the layout of `product`.
    pub const fn new(bytes: [u8; Self::BYTES], product: Product) -> Self {
        Self { bytes, product }
    }

    /// Returns the version as it is packed.
    pub const fn bytes(&self) -> [u8; Self::BYTES] {
        self.bytes
    }

    /// Returns the version of one component; none where the product does not have it.
    pub fn component(&self, component: Component) -> Option<u8> {
        component
            .offset(self.product)
            .map(|offset| self.bytes[offset])
    }

    /// Returns the components that the product has, with their versions.
    pub fn components(&self) -> impl Iterator<Item = (Component, u8)> + '_ {
        Component::ALL
            .into_iter()
            .filter_map(|component| Some((component, self.component(component)?)))
    }

    /// Returns whether every byte that is no component is zero.
    pub fn is_canonical(&self) -> bool {
        let used = |offset| {
            Component::ALL
                .into_iter()
                .any(|component| component.offset(self.product) == Some(offset))
        };
        self.bytes
            .iter()
            .enumerate()
            .all(|(offset, byte)| *byte == 0 || used(offset))
    }
}

impl fmt::Display for TcbVersion {
    /// Writes the syntax of the options, and the packed bytes where a reserved one is not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self
            .components()
            .map(|(component, version)| format!("{component}={version}"))
            .collect();
        f.write_str(&named.join(","))?;
        if self.is_canonical() {
            Ok(())
        } else {
            write!(f, " (bytes {})", hex::encode(self.bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_products() {
        let bytes = [1, 2, 3, 4, 0, 0, 7, 8];
        let milan = TcbVersion::new(bytes, Product::Milan);
        assert_eq!(
            milan.to_string(),
            "bootloader=1,tee=2,snp=7,microcode=8 (bytes 0102030400000708)"
        );
        assert_eq!(milan.component(Component::Fmc), None);
        let turin = TcbVersion::new([1, 2, 3, 4, 0, 0, 0, 8], Product::Turin);
        assert_eq!(
            turin.to_string(),
            "fmc=1,bootloader=2,tee=3,snp=4,microcode=8"
        );
        assert!(turin.is_canonical() && !milan.is_canonical());
    }

    #[test]
    fn products_are_named_by_certificates_and_processors() {
        assert_eq!(Product::from_certificate("Milan-B0"), Some(Product::Milan));
        assert_eq!(Product::from_certificate("Genoa"), Some(Product::Genoa));
        assert_eq!(Product::from_certificate("Milano"), None);
        assert_eq!(Product::from_cpuid(0x19, 0xa0), Some(Product::Genoa));
        assert_eq!(Product::from_cpuid(0x1a, 2), Some(Product::Turin));
        assert_eq!(Product::from_cpuid(0x19, 0x20), None);
    }
}
