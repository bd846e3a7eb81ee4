//! Who vouches for the key that signed a report. Comes in: the VCEK or VLEK, and what is trusted. Goes out: the certificate
//! with the product that its issuer signs for. Never: a root, an issuer or a revocation list that came with the evidence.

use der::Decode;
use x509_cert::crl::CertificateList;

use crate::snp::report::SigningKey;
use crate::snp::roots::AMD;
use crate::snp::tcb::Product;

use super::certificate::{Certificate, Signed, der_of, pem_blocks};
use super::rejection::{Rejection, Role};

/// The roots and intermediates that are believed in one run.
#[derive(Clone, Debug)]
pub struct TrustRoots {
    chains: Vec<Chain>,
    is_amd: bool,
}

/// A root and one that it vouches for.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    ark: Certificate,
    intermediate: Certificate,
    /// AMD's certificates are of one product; of a test hierarchy it is not known.
    pub(super) product: Option<Product>,
    /// Whose certificates the intermediate signs, by its own name: an ASK those of VCEKs, an ASVK those of VLEKs.
    signs: Option<SigningKey>,
}

/// Why a file is no test hierarchy.
#[derive(Debug, thiserror::Error)]
pub enum TrustRootError {
    /// It has another number of certificates.
    #[error("a trust root is PEM with two certificates, its ARK then its ASK; there are {actual}")]
    Count {
        /// Certificates that there are.
        actual: usize,
    },
    /// One of them cannot be read.
    #[error("the trust root cannot be used")]
    Certificate(#[source] Rejection),
}

impl TrustRoots {
    /// AMD's, for all products.
    ///
    /// # Errors
    /// Never, unless this program is damaged.
    pub fn amd() -> Result<Self, TrustRootError> {
        let mut chains = Vec::new();
        for roots in AMD {
            for intermediate in [roots.ask, roots.asvk] {
                chains.push(Chain::read(roots.ark, intermediate, Some(roots.product))?);
            }
        }
        Ok(Self {
            chains,
            is_amd: true,
        })
    }

    /// A test hierarchy instead: PEM, its ARK then its ASK (or ASVK). Not verified yet: that is part of each verification.
    ///
    /// # Errors
    /// There are not two certificates.
    pub fn test_only(pem: &[u8]) -> Result<Self, TrustRootError> {
        let blocks = pem_blocks(pem);
        let [ark, intermediate] = blocks[..] else {
            return Err(TrustRootError::Count {
                actual: blocks.len(),
            });
        };
        let chain = Chain::read(ark.as_bytes(), intermediate.as_bytes(), None)?;
        Ok(Self {
            chains: vec![chain],
            is_amd: false,
        })
    }

    /// Whether these are AMD's own.
    pub fn is_amd(&self) -> bool {
        self.is_amd
    }

    /// Verifies `leaf` up to its root: names, signatures, validity at `at` (seconds since 1970), extensions, and that
    /// `crl`, if there is one, revokes nothing of it.
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

    pub(super) fn chain_of(&self, leaf: &Certificate) -> Result<&Chain, Rejection> {
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

/// The receipt of a verified certificate.
#[derive(Clone, Copy, Debug)]
pub struct Endorsed {
    product: Option<Product>,
    signs: Option<SigningKey>,
}

impl Endorsed {
    /// The kind of key that the issuer certifies, as its name says it; none for a name that says neither.
    pub fn signs(&self) -> Option<SigningKey> {
        self.signs
    }

    /// The product that the issuer signs for, where that is known.
    pub fn product(&self) -> Option<Product> {
        self.product
    }
}

impl Chain {
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

/// What an intermediate of this name signs (AMD 57230 revision 0.53, section 3: `SEV-Milan` signs VCEKs, `SEV-VLEK-Milan`
/// VLEKs).
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

/// AMD's leaf certificates all have serial number 0, so a list speaks of the intermediate and the root.
pub(super) fn verify_not_revoked(chain: &Chain, crl: &[u8], at: u64) -> Result<(), Rejection> {
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
    for (role, certificate) in [
        (Role::Intermediate, &chain.intermediate),
        (Role::Root, &chain.ark),
    ] {
        let serial = certificate.serial();
        if revoked
            .iter()
            .any(|entry| hex::encode(entry.serial_number.as_bytes()) == serial)
        {
            return Err(Rejection::Revoked { role, serial });
        }
    }
    Ok(())
}

fn verify_crl_issuer(chain: &Chain, list: &CertificateList) -> Result<(), Rejection> {
    let issuer = der::Encode::to_der(&list.tbs_cert_list.issuer).unwrap_or_default();
    if issuer != chain.ark.subject() {
        let (trusted, actual) = (
            vec![chain.ark.subject_text()],
            list.tbs_cert_list.issuer.to_string(),
        );
        return Err(Rejection::IssuerUnknown {
            role: Role::Crl,
            trusted,
            actual,
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

/// A list that does not say when it ends cannot be called current.
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
