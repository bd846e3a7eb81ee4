//! AMD's root and intermediate certificates.
//!
//! * In: nothing; they are compiled in.
//! * Out: DER.
//! * Never: a certificate from elsewhere.
//!
//! AMD's key distribution service publishes them under `/vcek/v1/PRODUCT/cert_chain` and
//! `/vlek/v1/PRODUCT/cert_chain`. ARK and ASK are also in the `sev` crate; a test compares them.

use super::tcb::Product;

/// The certificates of one product.
#[derive(Clone, Copy, Debug)]
pub struct ProductRoots {
    /// The product whose certificates these are.
    pub product: Product,
    /// The certificate of the AMD root key, signed by itself.
    pub ark: &'static [u8],
    /// The certificate of the AMD SEV key, which signs VCEKs.
    pub ask: &'static [u8],
    /// The certificate of the AMD SEV VLEK key, which signs VLEKs.
    pub asvk: &'static [u8],
}

/// The certificates of all products.
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
