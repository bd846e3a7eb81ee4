//! AMD's certificates that sign the chips' and the clouds'. Goes out: DER. Never: a certificate from elsewhere.
//!
//! They are what AMD's key distribution service hands out under `/vcek/v1/PRODUCT/cert_chain` and
//! `/vlek/v1/PRODUCT/cert_chain`. ARK and ASK are also in the `sev` crate; a test compares.

use super::tcb::Product;

/// The certificates of one product.
#[derive(Clone, Copy, Debug)]
pub struct ProductRoots {
    /// Whose.
    pub product: Product,
    /// The AMD root key's, signed by itself.
    pub ark: &'static [u8],
    /// The AMD SEV key's, which signs VCEKs.
    pub ask: &'static [u8],
    /// The AMD SEV VLEK key's, which signs VLEKs.
    pub asvk: &'static [u8],
}

/// All there are.
pub const AMD: [ProductRoots; 3] = [
    ProductRoots {
        product: Product::Milan,
        ark: include_bytes!("roots/milan-ark.der"),
        ask: include_bytes!("roots/milan-ask.der"),
        asvk: include_bytes!("roots/milan-asvk.der"),
    },
    ProductRoots {
        product: Product::Genoa,
        ark: include_bytes!("roots/genoa-ark.der"),
        ask: include_bytes!("roots/genoa-ask.der"),
        asvk: include_bytes!("roots/genoa-asvk.der"),
    },
    ProductRoots {
        product: Product::Turin,
        ark: include_bytes!("roots/turin-ark.der"),
        ask: include_bytes!("roots/turin-ask.der"),
        asvk: include_bytes!("roots/turin-asvk.der"),
    },
];
