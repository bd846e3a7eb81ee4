//! The addresses at which AMD's key service has certificates and lists.
//!
//! * In: the fields of a report.
//! * Out: an address, and a file name for the response in a cache.
//! * Never: anything from a report but digits in either.
//!
//! | address | what |
//! |---|---|
//! | `/vcek/v1/PRODUCT/CHIP?blSPL=N&teeSPL=N&snpSPL=N&ucodeSPL=N`, on Turin `fmcSPL=N` first | VCEK, DER |
//! | `/vcek/v1/PRODUCT/crl`, `/vlek/v1/PRODUCT/crl` | revocation list, DER |
//!
//! AMD gives a VLEK only to the cloud that uses it.

use crate::snp::report::{Report, SigningKey};
use crate::snp::tcb::{Component, Product};

/// The scheme and name of the service.
const HOST: &str = "https://kdsintf.amd.com";
/// The bytes of a chip id on Turin; earlier products use the whole field.
const TURIN_CHIP_ID_BYTES: usize = 8;
/// The components of a TCB version with their parameters, in the order of an address.
const PARAMETERS: [(Component, &str); 5] = [
    (Component::Fmc, "fmcSPL"),
    (Component::Bootloader, "blSPL"),
    (Component::Tee, "teeSPL"),
    (Component::Snp, "snpSPL"),
    (Component::Microcode, "ucodeSPL"),
];

/// The address of a certificate or list at the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    path: String,
    file: String,
}

impl Address {
    /// Returns where the certificate for the key that signed `report` can be: nowhere for a VLEK, a
    /// hidden chip or an unknown product; at one of two addresses where the report names no
    /// product.
    pub fn of_certificate(report: &Report) -> Vec<Self> {
        if report.signing_key() != SigningKey::Vcek || report.chip_id() == [0; 64] {
            return Vec::new();
        }
        products(report)
            .iter()
            .map(|product| Self::of_vcek(report, *product))
            .collect()
    }

    fn of_vcek(report: &Report, product: Product) -> Self {
        let chip_id = report.chip_id();
        let used = match product {
            Product::Turin => &chip_id[..TURIN_CHIP_ID_BYTES],
            Product::Milan | Product::Genoa => &chip_id[..],
        };
        let chip = hex::encode(used);
        let tcb = report.reported_tcb(product);
        let numbers = PARAMETERS
            .iter()
            .filter_map(|(component, name)| Some((name, tcb.component(*component)?)));
        let query: Vec<_> = numbers
            .map(|(name, number)| format!("{name}={number:02}"))
            .collect();
        Self {
            path: format!("/vcek/v1/{product}/{chip}?{}", query.join("&")),
            file: format!("vcek-{product}-{chip}-{}.der", hex::encode(tcb.bytes())),
        }
    }

    /// Returns where the list is that can revoke the ASK, or for a VLEK the ASVK.
    pub fn of_revocation_list(product: Product, key: SigningKey) -> Self {
        let kind = if key == SigningKey::Vlek {
            "vlek"
        } else {
            "vcek"
        };
        Self {
            path: format!("/{kind}/v1/{product}/crl"),
            file: format!("{kind}-{product}.crl"),
        }
    }

    /// Returns the whole address.
    pub fn url(&self) -> String {
        format!("{HOST}{}", self.path)
    }

    /// Returns a file name for the response in a cache.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// Returns the products that a report can be of. Before version 3 only the length of the chip id
/// tells products apart.
fn products(report: &Report) -> Vec<Product> {
    let has_short_id = report.chip_id()[TURIN_CHIP_ID_BYTES..]
        .iter()
        .all(|byte| *byte == 0);
    match report.cpuid() {
        Some((family, model)) => Product::from_cpuid(family, model).into_iter().collect(),
        None if has_short_id => vec![Product::Turin],
        None => vec![Product::Milan, Product::Genoa],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(version: u8, cpuid: [u8; 2], chip_bytes: usize, key: u8) -> Report {
        let mut bytes = [0; 1184];
        bytes[0] = version;
        bytes[0x48] = key << 2;
        bytes[0x188..0x18a].copy_from_slice(&cpuid);
        bytes[0x1a0..0x1a0 + chip_bytes].fill(0xab);
        bytes[0x180..0x188].copy_from_slice(&[1, 2, 3, 4, 0, 0, 24, 213]);
        Report::from(bytes)
    }

    fn urls(report: &Report) -> Vec<String> {
        Address::of_certificate(report)
            .iter()
            .map(Address::url)
            .collect()
    }

    #[test]
    fn the_address_has_the_products_layout() {
        let chip = "ab".repeat(64);
        let genoa = format!(
            "https://kdsintf.amd.com/vcek/v1/Genoa/{chip}?blSPL=01&teeSPL=02&snpSPL=24&ucodeSPL=213"
        );
        assert_eq!(urls(&report(3, [0x19, 0x11], 64, 0)), [genoa]);
        let turin = "https://kdsintf.amd.com/vcek/v1/Turin/abababababababab\
                     ?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=213";
        assert_eq!(urls(&report(5, [0x1a, 0x02], 8, 0)), [turin]);
        assert_eq!(urls(&report(2, [0, 0], 8, 0)), [turin]);
        let both = urls(&report(2, [0, 0], 64, 0));
        assert!(
            both[0].contains("/Milan/") && both[1].contains("/Genoa/") && both.len() == 2,
            "{both:?}"
        );
    }

    #[test]
    fn there_is_no_address_for_what_the_service_does_not_have() {
        for report in [
            report(3, [0x19, 0x11], 64, 1),
            report(3, [0x19, 0x11], 64, 7),
            report(3, [0x19, 0x11], 0, 0),
            report(3, [0x20, 0x11], 64, 0),
        ] {
            assert_eq!(Address::of_certificate(&report), []);
        }
    }

    #[test]
    fn lists_are_by_product_and_kind_of_key() {
        let list = |key| Address::of_revocation_list(Product::Milan, key).url();
        assert_eq!(
            list(SigningKey::Vcek),
            "https://kdsintf.amd.com/vcek/v1/Milan/crl"
        );
        assert_eq!(
            list(SigningKey::Vlek),
            "https://kdsintf.amd.com/vlek/v1/Milan/crl"
        );
    }
}
