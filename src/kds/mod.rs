//! AMD's key service (KDS). Comes in: a report without the certificate of its key, or a product. Goes out: what the service, or
//! the cache folder, has for it: a certificate, a revocation list. Never: a root; a verdict: what comes from here is as doubtful
//! as what comes with a bundle, and judged like it.
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

/// Longest answer that is taken, in bytes. A certificate has under 2 KiB, a list under 1 KiB.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What was answered, whatever it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// At most as long as was asked for.
    pub body: Vec<u8>,
}

/// Asks the network.
pub trait Transport {
    /// GETs `url` over TLS, from that host and no other.
    ///
    /// # Errors
    /// There is no answer, or one of more than `limit` bytes.
    fn get(&self, url: &str, limit: usize) -> Result<Answer, TransportError>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// It is no https address.
    #[error("this is no https address")]
    Url,
    /// The request cannot be started.
    #[error("the runtime")]
    Runtime(#[source] io::Error),
    /// The request had no success: no network, no such name, a TLS failure.
    #[error(transparent)]
    Client(ClientError),
    /// The server takes too long.
    #[error("there was no whole answer within {seconds} seconds (MAX_TIME)")]
    Slow {
        /// The limit.
        seconds: u64,
    },
    /// More than was asked for.
    #[error("the answer has over {limit} bytes (MAX_ANSWER_BYTES)")]
    Size {
        /// The limit.
        limit: usize,
    },
}

/// Why the service gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum KdsError {
    /// It could not be asked.
    #[error("AMD's key service gave no answer ({url})")]
    Transport {
        /// What was asked.
        url: String,
        /// Why not.
        source: TransportError,
    },
    /// Too many requests from here.
    #[error(
        "AMD's key service refuses more requests for now (status 429, {url}): try again later, or get the file elsewhere"
    )]
    RateLimit {
        /// What was asked.
        url: String,
    },
    /// It does not know the chip, or not at this TCB version.
    #[error("AMD's key service knows no such chip or TCB version (status 404, {url})")]
    Unknown {
        /// What was asked.
        url: String,
    },
    /// Another status than success.
    #[error("AMD's key service answered with status {status} ({url})")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// A success, and something else than was asked for.
    #[error(
        "what AMD's key service is said to have answered is no DER: somebody else may have ({url})"
    )]
    NotDer {
        /// What was asked.
        url: String,
    },
    /// The cache folder cannot be used.
    #[error("the cache: {}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The service, behind a cache if there is one.
#[derive(Debug)]
pub struct Service<T> {
    transport: T,
    cache: Option<Cache>,
}

impl<T: Transport> Service<T> {
    /// Asks by `transport` for what `cache` does not have.
    pub const fn new(transport: T, cache: Option<Cache>) -> Self {
        Self { transport, cache }
    }

    /// The certificate for the key that signed `report`, DER; none where the service cannot have one. Only what `fits` is
    /// taken from the cache or put there: a wrong answer is returned once, and asked for again the next time.
    ///
    /// # Errors
    /// It is not in the cache, and the service did not give it.
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

    /// The revocation list about the keys that sign certificates of `key` for `product`, DER, not older than a day.
    ///
    /// # Errors
    /// It is not in the cache, and the service did not give it.
    pub fn revocation_list(
        &self,
        product: Product,
        key: SigningKey,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, KdsError> {
        let address = Address::of_revocation_list(product, key);
        if let Some(kept) = self
            .kept(&address, Some(cache::MAX_LIST_AGE))?
            .filter(|bytes| fits(bytes))
        {
            return Ok(kept);
        }
        let bytes = self.ask(&address)?;
        if fits(&bytes) {
            self.keep(&address, &bytes)?;
        }
        Ok(bytes)
    }

    /// The answer to the first address that the service knows; its refusal of the last where it knows none.
    fn first_known<'a>(
        &self,
        addresses: &'a [Address],
    ) -> Result<Option<(&'a Address, Vec<u8>)>, KdsError> {
        let mut refusal = None;
        for address in addresses {
            match self.ask(address) {
                Ok(bytes) => return Ok(Some((address, bytes))),
                Err(error @ KdsError::Unknown { .. }) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    fn ask(&self, address: &Address) -> Result<Vec<u8>, KdsError> {
        let url = address.url();
        let answer = match self.transport.get(&url, MAX_ANSWER_BYTES) {
            Ok(answer) => answer,
            Err(source) => return Err(KdsError::Transport { url, source }),
        };
        match answer.status {
            200 if is_der(&answer.body) => Ok(answer.body),
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

/// One sequence and nothing behind it, as certificates and lists are.
fn is_der(bytes: &[u8]) -> bool {
    AnyRef::from_der(bytes).is_ok_and(|found| found.tag() == Tag::Sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Answers in turn, and remembers what was asked.
    struct Scripted(RefCell<Vec<u16>>, RefCell<Vec<String>>);

    impl Transport for Scripted {
        fn get(&self, url: &str, _: usize) -> Result<Answer, TransportError> {
            self.1.borrow_mut().push(url.to_owned());
            Ok(Answer {
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
    fn only_one_sequence_is_an_answer() {
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
