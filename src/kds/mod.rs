//! AMD's key service (KDS).
//!
//! * In: a report without the certificate of its key, or a product.
//! * Out: the certificate or the revocation list that the service, or the cache, has for it.
//! * Never: a root, or a verdict: a response is trusted no more than a bundle, and verified like
//!   it.
//!
//! Addresses and parameters: AMD 57230, section 4.

mod address;
mod cache;
mod https;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use der::{AnyRef, Decode as _, Tag, Tagged as _};

use crate::client::ClientError;
use crate::snp::report::{Report, SigningKey};
use crate::snp::tcb::Product;

pub use address::Address;
pub use cache::Cache;
pub use https::Https;

/// The longest response that is read, in bytes. A certificate has under 2 KiB, a list under 1 KiB.
pub const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// A response of the service, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body, not longer than the limit of the request.
    pub body: Vec<u8>,
}

/// Sends requests over the network.
pub trait Transport {
    /// Gets `url` over TLS, from that host and no other.
    ///
    /// # Errors
    /// There is no response, or it has more than `limit` bytes.
    fn get(&self, url: &str, limit: usize) -> Result<Response, TransportError>;
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum TransportError {
    #[error("this is no https address")]
    Url,
    #[error("the runtime for the request cannot be started")]
    Runtime(#[source] io::Error),
    /// The request failed: no network, no such name, a TLS failure.
    #[error(transparent)]
    Client(ClientError),
    #[error("there was no whole response within {seconds} seconds (MAX_TIME)")]
    Slow { seconds: u64 },
    #[error("the response has over {limit} bytes (MAX_RESPONSE_BYTES)")]
    Size { limit: usize },
}

/// Why neither the service nor the cache returned a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum KdsError {
    #[error("AMD's key service gave no response ({url})")]
    Transport { url: String, source: TransportError },
    #[error(
        "AMD's key service refuses more requests for now (status 429, {url}): \
         try again later, or get the file elsewhere"
    )]
    RateLimit { url: String },
    #[error("AMD's key service knows no such chip or TCB version (status 404, {url})")]
    Unknown { url: String },
    #[error("AMD's key service responded with status {status} ({url})")]
    Status { url: String, status: u16 },
    #[error(
        "the response in the name of AMD's key service is no DER: it may come from another server \
         ({url})"
    )]
    NotDer { url: String },
    #[error("the cache cannot be used: {}", path.display())]
    Cache { path: PathBuf, source: io::Error },
}

/// The service, with a cache in front of it if there is one.
#[derive(Debug)]
pub struct Service<T> {
    transport: T,
    cache: Option<Cache>,
}

impl<T: Transport> Service<T> {
    /// Requests by `transport` only files that `cache` does not have.
    pub const fn new(transport: T, cache: Option<Cache>) -> Self {
        Self { transport, cache }
    }

    /// Returns the certificate for the key that signed `report`, DER; none where the service cannot
    /// have one. The cache is used only for bytes that `fits` accepts: a wrong response is returned
    /// once, and requested again the next time.
    ///
    /// # Errors
    /// The certificate is not in the cache, and the service did not return it.
    pub fn certificate(
        &self,
        report: &Report,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, KdsError> {
        let addresses = Address::of_certificate(report);
        for address in &addresses {
            if let Some(kept) = self.kept(address, None)?.filter(|bytes| fits(bytes)) {
                return Ok(Some(kept));
            }
        }
        let Some((address, bytes)) = self.first_known(&addresses)? else {
            return Ok(None);
        };
        if fits(&bytes) {
            self.keep(address, &bytes)?;
        }
        Ok(Some(bytes))
    }

    /// Returns the revocation list about the keys that sign certificates of `key` for `product`,
    /// DER, not older than a day.
    ///
    /// # Errors
    /// The list is not in the cache, and the service did not return it.
    pub fn revocation_list(
        &self,
        product: Product,
        key: SigningKey,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, KdsError> {
        let address = Address::of_revocation_list(product, key);
        let kept = self.kept(&address, Some(cache::MAX_LIST_AGE))?;
        if let Some(kept) = kept.filter(|bytes| fits(bytes)) {
            return Ok(kept);
        }
        let bytes = self.fetch(&address)?;
        if fits(&bytes) {
            self.keep(&address, &bytes)?;
        }
        Ok(bytes)
    }

    /// Returns the response from the first address that the service knows; its refusal of the last
    /// where it knows none.
    fn first_known<'a>(
        &self,
        addresses: &'a [Address],
    ) -> Result<Option<(&'a Address, Vec<u8>)>, KdsError> {
        let mut refusal = None;
        for address in addresses {
            match self.fetch(address) {
                Ok(bytes) => return Ok(Some((address, bytes))),
                Err(error @ KdsError::Unknown { .. }) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    fn fetch(&self, address: &Address) -> Result<Vec<u8>, KdsError> {
        let url = address.url();
        let response = match self.transport.get(&url, MAX_RESPONSE_BYTES) {
            Ok(response) => response,
            Err(source) => return Err(KdsError::Transport { url, source }),
        };
        match response.status {
            200 if is_der(&response.body) => Ok(response.body),
            200 => Err(KdsError::NotDer { url }),
            404 => Err(KdsError::Unknown { url }),
            429 => Err(KdsError::RateLimit { url }),
            status => Err(KdsError::Status { url, status }),
        }
    }

    fn kept(
        &self,
        address: &Address,
        max_age: Option<Duration>,
    ) -> Result<Option<Vec<u8>>, KdsError> {
        self.cache
            .as_ref()
            .map_or(Ok(None), |cache| cache.read(address.file(), max_age))
    }

    fn keep(&self, address: &Address, bytes: &[u8]) -> Result<(), KdsError> {
        self.cache
            .as_ref()
            .map_or(Ok(()), |cache| cache.write(address.file(), bytes))
    }
}

/// Returns whether bytes are one sequence and nothing after it, as certificates and lists are.
fn is_der(bytes: &[u8]) -> bool {
    AnyRef::from_der(bytes).is_ok_and(|found| found.tag() == Tag::Sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Responds with each status in turn, and records the requests.
    struct Scripted(RefCell<Vec<u16>>, RefCell<Vec<String>>);

    impl Transport for Scripted {
        fn get(&self, url: &str, _: usize) -> Result<Response, TransportError> {
            self.1.borrow_mut().push(url.to_owned());
            Ok(Response {
                status: self.0.borrow_mut().remove(0),
                body: vec![0x30, 0],
            })
        }
    }

    fn asked(statuses: &[u16], version: u8) -> (Result<Option<Vec<u8>>, KdsError>, usize) {
        let mut bytes = [0xab; 1184];
        bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
        bytes[0x48] = 0;
        bytes[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
        let service = Service::new(
            Scripted(RefCell::new(statuses.to_vec()), RefCell::default()),
            None,
        );
        let found = service.certificate(&Report::from(bytes), |_| true);
        (found, service.transport.1.borrow().len())
    }

    #[test]
    fn a_report_that_names_no_product_is_asked_for_at_two_addresses() {
        assert!(matches!(asked(&[404, 200], 2), (Ok(Some(_)), 2)));
        assert!(matches!(
            asked(&[404, 404], 2),
            (Err(KdsError::Unknown { .. }), 2)
        ));
        assert!(matches!(
            asked(&[404], 3),
            (Err(KdsError::Unknown { .. }), 1)
        ));
        assert!(matches!(
            asked(&[429], 2),
            (Err(KdsError::RateLimit { .. }), 1)
        ));
    }

    #[test]
    fn only_one_sequence_is_taken_as_a_response() {
        assert!(is_der(&[0x30, 0]));
        for bytes in [
            &b""[..],
            b"<html>",
            &[0x30, 0, 0],
            &[0x30, 1],
            &[0x31, 0],
            &[0x30, 0x81, 0],
        ] {
            assert!(!is_der(bytes), "{bytes:?}");
        }
    }
}
