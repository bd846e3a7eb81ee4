//! Whether what a key service answered is worth keeping. Comes in: an answer. Goes out: yes or no. Never: a verdict: what is
//! kept goes through every check each time it is used.

use crate::snp::report::Report;
use crate::snp::tcb::Product;

use super::binding;
use super::certificate::Certificate;
use super::endorsements::{TrustRoots, verify_not_revoked};
use super::rejection::{Rejection, Role};

impl TrustRoots {
    /// Whether `certificate` (DER or PEM) is vouched for at `at` (seconds since 1970), and is the one for `report`'s key.
    pub fn certify(&self, report: &Report, certificate: &[u8], at: u64) -> bool {
        let Ok(leaf) = Certificate::read(certificate, Role::Leaf) else {
            return false;
        };
        self.verify(&leaf, None, at)
            .is_ok_and(|endorsed| binding::verify(report, &leaf, Some(endorsed)).is_ok())
    }

    /// The product that the issuer of `certificate` (DER or PEM) signs for, by its name alone. None for a certificate that
    /// cannot be read or whose issuer is not trusted: neither passes `endorsements`.
    pub fn issuing_product(&self, certificate: &[u8]) -> Option<Product> {
        let leaf = Certificate::read(certificate, Role::Leaf).ok()?;
        self.chain_of(&leaf).ok()?.product
    }

    /// Whether `list` (DER or PEM) is a revocation list about the issuer of `certificate`, in order and in date at `at`,
    /// whatever it revokes.
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
