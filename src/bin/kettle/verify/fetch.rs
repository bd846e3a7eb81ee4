//! `--fetch`. Comes in: evidence that lacks something. Goes out: expectations with a certificate and a list from AMD's key
//! service. Never: anything that is not given to the checks as if the reader had given it, or a root.

use std::env;
use std::path::PathBuf;

use kettle::kds::{Cache, Https, KdsError, Service};
use kettle::verifier::{Evidence, Expectations};

/// What may be fetched.
#[derive(Clone)]
pub struct Fetching {
    /// The revocation list too.
    pub list: bool,
    /// The folder of `--cache`.
    pub cache: Option<PathBuf>,
}

impl Fetching {
    /// Adds the certificate, unless the reader or the bundle has one, and the list if it is wanted.
    ///
    /// # Errors
    /// The service did not give it.
    pub fn complete(
        &self,
        expectations: &mut Expectations,
        evidence: &Evidence,
    ) -> Result<(), KdsError> {
        let service = Service::new(
            Https,
            self.cache.clone().or_else(default_folder).map(Cache::new),
        );
        let (roots, at) = (&expectations.roots, expectations.at);
        let given = expectations
            .certificate
            .as_ref()
            .or(evidence.certificate.as_ref());
        let certificate = match given {
            Some(certificate) => Some(certificate.clone()),
            None => service.certificate(&evidence.report, |found| {
                roots.certify(&evidence.report, found, at)
            })?,
        };
        // Without an issuer that AMD has there is no list to ask for, and nothing that passes.
        let issuer = certificate
            .as_deref()
            .and_then(|found| Some((found, roots.issuing_product(found)?)));
        if let Some((certificate, product)) = issuer.filter(|_| self.list) {
            let key = evidence.report.signing_key();
            let list = service.revocation_list(product, key, |found| {
                roots.recognise_list(certificate, found, at)
            })?;
            expectations.crl = Some(list);
        }
        expectations.certificate = certificate;
        Ok(())
    }
}

/// `$XDG_CACHE_HOME/kettle` or `~/.cache/kettle` (XDG base directory specification); none without a home.
fn default_folder() -> Option<PathBuf> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(base.join("kettle"))
}
