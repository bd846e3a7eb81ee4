//! Whether a trusted root vouches for the key that signed a report.
//!
//! * In: the VCEK or VLEK, and the certificates that are trusted.
//! * Out: the product that the issuer signs for, and the kind of key.
//! * Never: a root, an issuer or a revocation list that came with the evidence.

use der::Decode;
use x509_cert::crl::CertificateList;

use crate::snp::report::SigningKey;
use crate::snp::roots::AMD;
use crate::snp::tcb::Product;

use super::certificate::{Certificate, Signed, der_of, pem_blocks};
use super::rejection::{Rejection, Role};

/// The roots and intermediates that are trusted in one run.
#[derive(Clone, Debug)]
pub struct TrustRoots {
    chains: Vec<TrustedChain>,
    is_amd: bool,
}

/// A root and an intermediate that it certifies.
#[derive(Clone, Debug)]
pub(super) struct TrustedChain {
    ark: Certificate,
    intermediate: Certificate,
    /// The product that AMD's intermediate signs for; none for a test hierarchy, which names none.
    pub(super) product: Option<Product>,
    /// The kind of certificate that the intermediate signs, by its own name: an ASK signs VCEKs, an
    /// ASVK signs VLEKs.
    signs: Option<SigningKey>,
}

/// Why a file is no test hierarchy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum TrustRootError {
    #[error("a trust root is PEM with two certificates, its ARK then its ASK; there are {actual}")]
    Count { actual: usize },
    #[error("the trust root cannot be used")]
    Certificate(#[source] Rejection),
}

impl TrustRoots {
    /// Returns AMD's roots and intermediates for all products.
    ///
    /// # Errors
    /// A certificate that is compiled in cannot be read: this program is damaged.
    pub fn amd() -> Result<Self, TrustRootError> {
        let mut chains = Vec::new();
        for roots in AMD {
            for intermediate in [roots.ask, roots.asvk] {
                let chain = TrustedChain::read(roots.ark, intermediate, Some(roots.product))?;
                chains.push(chain);
            }
        }
        Ok(Self {
            chains,
            is_amd: true,
        })
    }

    /// Reads a test hierarchy to trust instead of AMD: PEM, its ARK then its ASK (or ASVK). Its
    /// signatures are not verified here: that is part of each verification.
    ///
    /// # Errors
    /// The file does not contain two certificates that can be read.
    pub fn test_only(pem: &[u8]) -> Result<Self, TrustRootError> {
        let blocks = pem_blocks(pem);
        let [ark, intermediate] = blocks[..] else {
            return Err(TrustRootError::Count {
                actual: blocks.len(),
            });
        };
        let chain = TrustedChain::read(ark.as_bytes(), intermediate.as_bytes(), None)?;
        Ok(Self {
            chains: vec![chain],
            is_amd: false,
        })
    }

    /// Returns whether these are AMD's own roots.
    pub fn is_amd(&self) -> bool {
        self.is_amd
    }

    /// Verifies `leaf` up to its root: names, signatures, validity at `at` (seconds since 1970),
    /// extensions, and that `crl`, if there is one, revokes neither intermediate nor root.
    ///
    /// # Errors
    /// The first of them that does not hold.
    pub fn verify(
        &self,
        leaf: &Certificate,
        crl: Option<&[u8]>,
        at: u64,
    ) -> Result<Endorsed, Rejection> {
        let chain = self.chain_of(leaf)?;
        leaf.verify_issued_by(&chain.intermediate)?;
        chain.intermediate.verify_issued_by(&chain.ark)?;
        chain.ark.verify_issued_by(&chain.ark)?;
        for certificate in [leaf, &chain.intermediate, &chain.ark] {
            certificate.verify_validity(at)?;
            certificate.verify_extensions()?;
        }
        leaf.p384_point()?;
        if let Some(crl) = crl {
            verify_not_revoked(chain, crl, at)?;
        }
        Ok(Endorsed {
            product: chain.product,
            signs: chain.signs,
        })
    }

    /// Returns the chain whose intermediate is named as the issuer of `leaf`.
    pub(super) fn chain_of(&self, leaf: &Certificate) -> Result<&TrustedChain, Rejection> {
        let issuer = leaf.issuer();
        self.chains
            .iter()
            .find(|chain| chain.intermediate.subject() == issuer)
            .ok_or_else(|| Rejection::IssuerUnknown {
                role: Role::Leaf,
                trusted: self
                    .chains
                    .iter()
                    .map(|chain| chain.intermediate.subject_text())
                    .collect(),
                actual: leaf.issuer_text(),
            })
    }
}

/// A certificate that a trusted root endorses: the receipt of [`TrustRoots::verify`].
#[derive(Clone, Copy, Debug)]
pub struct Endorsed {
    product: Option<Product>,
    signs: Option<SigningKey>,
}

impl Endorsed {
    /// Returns the kind of key that the issuer certifies, by its name; none for a name of neither
    /// kind.
    pub fn signs(&self) -> Option<SigningKey> {
        self.signs
    }

    /// Returns the product that the issuer signs for, where that is known.
    pub fn product(&self) -> Option<Product> {
        self.product
    }
}

impl TrustedChain {
    fn read(
        ark: &[u8],
        intermediate: &[u8],
        product: Option<Product>,
    ) -> Result<Self, TrustRootError> {
        let ark = Certificate::read(ark, Role::Root).map_err(TrustRootError::Certificate)?;
        let intermediate = Certificate::read(intermediate, Role::Intermediate)
            .map_err(TrustRootError::Certificate)?;
        let signs = intermediate
            .subject_common_name()
            .as_deref()
            .and_then(certified_by);
        Ok(Self {
            ark,
            intermediate,
            product,
            signs,
        })
    }
}

/// Returns the kind of key that an intermediate of this name certifies (AMD 57230 revision 0.53,
/// section 3: `SEV-Milan` signs VCEKs, `SEV-VLEK-Milan` VLEKs).
fn certified_by(name: &str) -> Option<SigningKey> {
    const ASVK: &str = "SEV-VLEK-";
    const ASK: &str = "SEV-";
    match name {
        "SEV-VCEK" | "SEV-VLEK" => None,
        name if name.starts_with(ASVK) => Some(SigningKey::Vlek),
        name if name.starts_with(ASK) => Some(SigningKey::Vcek),
        _ => None,
    }
}

/// Verifies a revocation list, and that it revokes neither intermediate nor root. AMD's leaf
/// certificates all have serial number 0, so a list cannot name one of them.
pub(super) fn verify_not_revoked(
    chain: &TrustedChain,
    crl: &[u8],
    at: u64,
) -> Result<(), Rejection> {
    let malformed = |reason: String| Rejection::CertificateMalformed {
        role: Role::Crl,
        reason,
    };
    let der = der_of(crl, "X509 CRL").map_err(malformed)?;
    let list = CertificateList::from_der(&der).map_err(|error| malformed(error.to_string()))?;
    if list.signature_algorithm != list.tbs_cert_list.signature {
        return Err(malformed("it names two signature algorithms".to_owned()));
    }
    verify_crl_issuer(chain, &list)?;
    let signed = Signed::new(&der, &list.signature_algorithm, list.signature.as_bytes());
    signed
        .map_err(|error| malformed(error.to_string()))?
        .verify_by(&chain.ark, Role::Crl)?;
    verify_crl_date(&list, at)?;
    let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
    let serials: Vec<_> = revoked
        .iter()
        .map(|entry| hex::encode(entry.serial_number.as_bytes()))
        .collect();
    for (role, certificate) in [
        (Role::Intermediate, &chain.intermediate),
        (Role::Root, &chain.ark),
    ] {
        let serial = certificate.serial();
        if serials.contains(&serial) {
            return Err(Rejection::Revoked { role, serial });
        }
    }
    Ok(())
}

fn verify_crl_issuer(chain: &TrustedChain, list: &CertificateList) -> Result<(), Rejection> {
    let issuer = der::Encode::to_der(&list.tbs_cert_list.issuer).unwrap_or_default();
    if issuer != chain.ark.subject() {
        return Err(Rejection::IssuerUnknown {
            role: Role::Crl,
            trusted: vec![chain.ark.subject_text()],
            actual: list.tbs_cert_list.issuer.to_string(),
        });
    }
    let critical = list
        .tbs_cert_list
        .crl_extensions
        .iter()
        .flatten()
        .find(|extension| extension.critical);
    match critical {
        Some(extension) => Err(Rejection::CriticalExtension {
            role: Role::Crl,
            oid: extension.extn_id.to_string(),
        }),
        None => Ok(()),
    }
}

/// Verifies that a list is current at `at`. One without an end date never is.
fn verify_crl_date(list: &CertificateList, at: u64) -> Result<(), Rejection> {
    let this_update = list.tbs_cert_list.this_update.to_unix_duration().as_secs();
    let next_update = list
        .tbs_cert_list
        .next_update
        .map(|time| time.to_unix_duration().as_secs());
    if at < this_update {
        return Err(Rejection::CrlNotYetValid { this_update, at });
    }
    if next_update.is_none_or(|next_update| at > next_update) {
        return Err(Rejection::CrlOutOfDate { next_update, at });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amds_intermediates_say_what_they_sign() {
        let roots = TrustRoots::amd().unwrap();
        let signs: Vec<_> = roots.chains.iter().map(|chain| chain.signs).collect();
        assert_eq!(
            signs,
            [Some(SigningKey::Vcek), Some(SigningKey::Vlek)].repeat(AMD.len())
        );
        for name in [
            "",
            "SEV",
            "SEV-VCEK",
            "SEV-VLEK",
            "ARK-Milan",
            "sev-Milan",
            "xSEV-Milan",
        ] {
            assert_eq!(certified_by(name), None, "{name}");
        }
    }
}
