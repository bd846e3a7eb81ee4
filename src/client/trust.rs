//! Decides which TLS keys are accepted.
//!
//! * In: a server's certificate, with its proof that it has the key.
//! * Out: settings for TLS.
//! * Never: a resumed session, in which the server would not show its key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::error::ClientError;
use crate::digest::Sha256Digest;

/// Files in which systems keep the authorities of the web, in the order in which they are tried.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The server's key is not the one that was verified.
#[derive(Debug, thiserror::Error)]
#[error("the key has the SHA-256 {actual}, and {expected} was verified")]
pub struct AnotherKey {
    /// SHA-256 of the verified key's DER SubjectPublicKeyInfo.
    pub expected: Sha256Digest,
    /// SHA-256 of the same part of the server's key.
    pub actual: Sha256Digest,
}

/// Returns the DER SubjectPublicKeyInfo of a certificate.
pub fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let decoded = Certificate::from_der(certificate).ok()?;
    let key = decoded.tbs_certificate.subject_public_key_info;
    key.to_der().ok()
}

/// Returns settings that accept every key, for a server that is yet to be verified.
///
/// # Errors
/// The cryptography of TLS cannot be used.
pub fn of_any_key() -> Result<Arc<ClientConfig>, ClientError> {
    with_keys(None)
}

/// Returns settings that accept only the key with this DER SubjectPublicKeyInfo.
///
/// # Errors
/// The cryptography of TLS cannot be used.
pub fn of_key(public_key: &[u8]) -> Result<Arc<ClientConfig>, ClientError> {
    with_keys(Some(Sha256Digest::of(public_key)))
}

fn with_keys(expected: Option<Sha256Digest>) -> Result<Arc<ClientConfig>, ClientError> {
    let provider = Arc::new(ring::default_provider());
    let keys = Arc::new(Keys {
        expected,
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(keys);
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns settings that accept certificates of the web's authorities: those in the file that
/// `SSL_CERT_FILE` names, or else the system's.
///
/// # Errors
/// There is no such file, or it cannot be used.
pub fn web_roots() -> Result<Arc<ClientConfig>, ClientError> {
    let system = || {
        let mut files = AUTHORITIES.iter().map(PathBuf::from);
        files.find(|path| path.is_file())
    };
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let path = given.or_else(system).ok_or(ClientError::NoAuthorities)?;
    let roots = roots(&path)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Provider)?;
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

fn roots(path: &Path) -> Result<RootCertStore, ClientError> {
    let failed = |source| ClientError::Authorities {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::read(path).map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for result in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = result.map_err(|error| failed(io::Error::other(error.to_string())))?;
        // The library refuses some old authorities; the others are still used.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(failed(io::Error::other("it contains no authority")));
    }
    Ok(roots)
}

/// Accepts one key, or any. The rest of the certificate has no meaning. That the server possesses
/// the key is verified in any case.
#[derive(Debug)]
struct Keys {
    expected: Option<Sha256Digest>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Keys {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(key) = public_key(certificate) else {
            return Err(rustls::Error::InvalidCertificate(
                CertificateError::BadEncoding,
            ));
        };
        let actual = Sha256Digest::of(&key);
        match self.expected {
            Some(expected) if expected != actual => {
                let another = OtherError(Arc::new(AnotherKey { expected, actual }));
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(
                    another,
                )))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Returns both keys if a handshake failed because the server's key was not the expected one.
pub fn another_key(error: &io::Error) -> Option<&AnotherKey> {
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = cause else {
        return None;
    };
    other.0.downcast_ref()
}
