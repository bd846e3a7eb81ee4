//! Whether a response of the key service is worth keeping in a cache.
//!
//! * In: a certificate or a revocation list that was fetched.
//! * Out: whether it fits the report, or the certificate's issuer.
//! * Never: a verdict: what is kept goes through every check each time it is used.

use crate::snp::report::Report;
use crate::snp::tcb::Product;

use super::binding;
use super::certificate::Certificate;
use super::endorsements::{TrustRoots, verify_not_revoked};
use super::rejection::{Rejection, Role};

impl TrustRoots {
    /// Returns whether `certificate` (DER or PEM) is endorsed at `at` (seconds since 1970), and is
    /// the one for `report`'s key.
    pub fn certify(&self, report: &Report, certificate: &[u8], at: u64) -> bool {
        let Ok(leaf) = Certificate::read(certificate, Role::Leaf) else {
            return false;
        };
        match self.verify(&leaf, None, at) {
            Ok(endorsed) => binding::verify(report, &leaf, Some(endorsed)).is_ok(),
            Err(_) => false,
        }
    }

    /// Returns the product that the issuer of `certificate` (DER or PEM) signs for, by its name
    /// alone. None for a certificate that cannot be read or whose issuer is not trusted: neither
    /// passes `endorsements`.
    pub fn issuing_product(&self, certificate: &[u8]) -> Option<Product> {
        let leaf = Certificate::read(certificate, Role::Leaf).ok()?;
        self.chain_of(&leaf).ok()?.product
    }

    /// Returns whether `list` (DER or PEM) is a valid revocation list about the issuer of
    /// `certificate`, and current at `at` (seconds since 1970), whatever it revokes.
    pub fn recognise_list(&self, certificate: &[u8], list: &[u8], at: u64) -> bool {
        let Ok(leaf) = Certificate::read(certificate, Role::Leaf) else {
            return false;
        };
        let found = self
            .chain_of(&leaf)
            .and_then(|chain| verify_not_revoked(chain, list, at));
        matches!(found, Ok(()) | Err(Rejection::Revoked { .. }))
    }
}
