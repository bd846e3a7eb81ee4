//! Reasons why there is no response from another machine.

use std::io;
use std::path::PathBuf;

use crate::digest::Sha256Digest;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum ClientError {
    #[error(
        "{host} has no address in /etc/hosts, and no name server of /etc/resolv.conf knows one"
    )]
    NameUnknown { host: String },
    #[error("the name {host} cannot be resolved")]
    Name { host: String, source: io::Error },
    #[error("{place} cannot be reached")]
    Unreachable { place: String, source: io::Error },
    #[error("{variable} is not the address of a proxy such as http://HOST:PORT")]
    ProxyAddress { variable: String },
    #[error("the proxy {proxy} does not connect to {place}: status {status}")]
    ProxyRefusal {
        proxy: String,
        place: String,
        status: u16,
    },
    #[error("the proxy {proxy} sent a response that is not HTTP")]
    ProxyResponse { proxy: String },
    #[error(
        "the TLS key of {place} is not the one that was verified: SHA-256 {expected} was \
         verified, and the server has {actual} now; nothing was sent to it"
    )]
    KeyChanged {
        place: String,
        expected: Sha256Digest,
        actual: Sha256Digest,
    },
    #[error("TLS with {place} failed")]
    Tls { place: String, source: io::Error },
    #[error("{place} showed no certificate whose key can be read")]
    NoKey { place: String },
    #[error("the connection to {place} was cut")]
    Cut { place: String, source: hyper::Error },
    #[error("{place} has been silent for {seconds} seconds")]
    Silent { place: String, seconds: u64 },
    #[error("{place} closed the connection {missing} bytes before the end of the response")]
    Short { place: String, missing: u64 },
    #[error("the events of {place} ended before the build did")]
    Ended { place: String },
    #[error("a response of {place} has more than {limit} bytes ({name})")]
    TooLong {
        place: String,
        limit: u64,
        name: &'static str,
    },
    #[error("the request cannot be written: {what}")]
    Request { what: &'static str },
    #[error("{place} responded with {what}, which its API does not allow")]
    Unexpected { place: String, what: String },
    #[error("the authorities in {path} cannot be used")]
    Authorities { path: PathBuf, source: io::Error },
    #[error(
        "this machine has no file with the web's authorities: name one in SSL_CERT_FILE, or \
         install the package ca-certificates"
    )]
    NoAuthorities,
    #[error("the cryptography of TLS cannot be used")]
    Provider(#[source] rustls::Error),
    #[error("the kernel returned no random numbers")]
    Random(#[source] io::Error),
    #[error("the file with the source or the bundle cannot be used")]
    File(#[source] io::Error),
    #[error("the bundle has the SHA-256 {actual}, and {place} announced {announced}")]
    Digest {
        place: String,
        announced: String,
        actual: String,
    },
}

impl ClientError {
    /// Returns whether the same request may succeed later, because only the connection failed. A
    /// handshake that failed because of its content fails again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Cut { .. } | Self::Silent { .. } | Self::Short { .. } | Self::Ended { .. } => {
                true
            }
            _ => self.is_unreachable(),
        }
    }

    /// Returns whether there was no server, so that nothing of the request was sent. A load
    /// balancer without a machine accepts a connection and ends it in the handshake.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Tls { source, .. } => source.kind() != io::ErrorKind::InvalidData,
            Self::NameUnknown { .. }
            | Self::Name { .. }
            | Self::Unreachable { .. }
            | Self::ProxyRefusal { .. }
            | Self::ProxyResponse { .. } => true,
            _ => false,
        }
    }
}
