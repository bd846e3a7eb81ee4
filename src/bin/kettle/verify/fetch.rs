//! `--fetch`: gets a certificate and a revocation list from AMD's key service.
//!
//! * In: evidence that lacks them.
//! * Out: expectations that contain them, as if the user had given them by an option.
//! * Never: a root, or anything that the checks do not verify.

use std::env;
use std::path::PathBuf;

use kettle::kds::{Cache, Https, KdsError, Service};
use kettle::verifier::{Evidence, Expectations};

/// Settings of --fetch: what may be fetched.
#[derive(Clone)]
pub struct Fetching {
    /// Whether the revocation list is fetched too.
    pub list: bool,
    /// The directory of `--cache`.
    pub cache: Option<PathBuf>,
}

impl Fetching {
    /// Adds the certificate, unless an option has one, or the evidence has the one of its report: a
    /// host may pass on another. Adds the list if it is wanted.
    ///
    /// # Errors
    /// AMD's key service did not return one of them.
    pub fn complete(
        &self,
        expectations: &mut Expectations,
        evidence: &Evidence,
    ) -> Result<(), KdsError> {
        let cache = self.cache.clone().or_else(default_directory);
        let service = Service::new(Https, cache.map(Cache::new));
        let (roots, at) = (&expectations.roots, expectations.at);
        let given = expectations.certificate.as_ref();
        let certifies = |certificate: &&Vec<u8>| roots.certify(&evidence.report, certificate, at);
        let own = evidence.certificate.as_ref().filter(certifies);
        let certificate = match given.or(own) {
            Some(certificate) => Some(certificate.clone()),
            None => service.certificate(&evidence.report, |found| {
                roots.certify(&evidence.report, found, at)
            })?,
        };
        // A certificate that AMD did not issue has no list, and is rejected in any case.
        if self.list
            && let Some(issued) = certificate.as_deref()
            && let Some(product) = roots.issuing_product(issued)
        {
            let key = evidence.report.signing_key();
            let list = service.revocation_list(product, key, |found| {
                roots.recognise_list(issued, found, at)
            })?;
            expectations.crl = Some(list);
        }
        expectations.certificate = certificate;
        Ok(())
    }
}

/// Returns `$XDG_CACHE_HOME/kettle` or `~/.cache/kettle` (XDG base directory specification); `None`
/// without a home directory.
fn default_directory() -> Option<PathBuf> {
    let directory = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let base = match directory("XDG_CACHE_HOME") {
        Some(cache) => cache,
        None => directory("HOME")?.join(".cache"),
    };
    Some(base.join("kettle"))
}
