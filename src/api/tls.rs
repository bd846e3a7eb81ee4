//! Generates the TLS key of this machine. The evidence that binds the public key vouches for the
//! key; its certificate does not, because the key signed that itself.
//!
//! * In: random bytes, at the start.
//! * Out: a key with its certificate.
//! * Never: a key that is written to a file.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::time_provider::TimeProvider;

use crate::clock::Date;

/// The name of the machine in the certificate; nobody should believe it.
const COMMON_NAME: &str = "kettle appliance";

/// The clock for session tickets. The library's own clock panics before 1970.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = Duration::from_secs(Date::now().seconds());
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

/// The reason why there is no TLS key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key or its certificate could not be generated.
    #[error("the TLS key or its certificate could not be generated")]
    Key(#[from] rcgen::Error),
    /// The TLS library refused the configuration.
    #[error("the TLS configuration was refused")]
    Configuration(#[from] rustls::Error),
}

/// A fresh ECDSA P-256 key with its certificate.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    public_key: Vec<u8>,
}

impl TlsIdentity {
    /// Generates a key, and signs a certificate with it.
    ///
    /// # Errors
    /// There are no random bytes, or the TLS library refuses the configuration.
    pub fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()])?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, COMMON_NAME);
        let certificate = parameters.self_signed(&key)?.der().clone();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)?;
        config.time_provider = Arc::new(WallClock);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            public_key: key.subject_public_key_info(),
        })
    }

    /// Returns the public key, a DER SubjectPublicKeyInfo (RFC 5280, section 4.1).
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
