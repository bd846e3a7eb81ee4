//! How does the listener treat connections? Keep-alive, TLS, limits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use crate::support::{Appliance, Client, JSON, post_head};

/// Accepts certificates with one public key and no other.
#[derive(Debug)]
struct Pinned {
    public_key: Vec<u8>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let size = self.public_key.len();
        let known = certificate
            .windows(size)
            .any(|window| window == self.public_key);
        known
            .then(ServerCertVerified::assertion)
            .ok_or_else(|| rustls::Error::General("another key".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub fn connect_tls(appliance: &Appliance) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    connect_with(
        appliance,
        client_config(appliance, ring::default_provider(), ALL_VERSIONS),
    )
}

/// A client that knows the appliance's public key.
pub fn client_config(
    appliance: &Appliance,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let verifier = Pinned {
        public_key: appliance.public_key.clone(),
        provider: provider.clone(),
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

pub fn connect_with(
    appliance: &Appliance,
    config: ClientConfig,
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let connection =
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(appliance.addresses.tls).unwrap();
    Client::new(StreamOwned::new(connection, stream))
}

#[test]
fn tls_serves_the_same_with_the_key_made_at_start() {
    let appliance = Appliance::start();
    assert_eq!(
        connect_tls(&appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok"
    );
    let (running, id) = appliance.accepted();
    let bundle = vec![3; 1 << 20];
    appliance.succeed(running, &bundle);
    let response = connect_tls(&appliance).ask(&format!("GET /build/{id}/result HTTP/1.1"), "");
    assert!(response.body == bundle);
    let refused = connect_tls(&appliance).ask(&post_head("/build", JSON, "valid"), "valid");
    refused.is_problem(409, "slot-taken");
}

#[test]
fn the_public_key_is_the_one_in_the_certificate() {
    let appliance = Appliance::start();
    assert_eq!(
        appliance.public_key.len(),
        91,
        "the DER SubjectPublicKeyInfo of a P-256 key"
    );
    let mut other = Appliance::start();
    assert_ne!(other.public_key, appliance.public_key);
    assert_eq!(
        connect_tls(&other).ask("GET /health HTTP/1.1", "").text(),
        "ok"
    );
    other.public_key.clone_from(&appliance.public_key);
    let provider = ring::default_provider();
    let config = client_config(&other, provider, ALL_VERSIONS);
    let mut connection =
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = TcpStream::connect(other.addresses.tls).unwrap();
    let refused = connection.complete_io(&mut stream).unwrap_err();
    assert!(refused.to_string().contains("another key"), "{refused}");
}

#[test]
fn one_connection_serves_many_requests() {
    let appliance = Appliance::start();
    let mut client = appliance.connect();
    for _ in 0..100 {
        assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
        assert_eq!(client.ask("GET /nothing HTTP/1.1", "").status, 404);
        assert_eq!(client.ask("HEAD /health HTTP/1.1", "").status, 200);
    }
}

#[test]
fn a_header_block_over_the_limit_is_refused() {
    let appliance = Appliance::start();
    let long = "x".repeat(70 * 1024);
    let mut client = appliance.connect();
    client.send_head(&format!("GET /health HTTP/1.1\r\nX: {long}"));
    assert_eq!(client.head().status, 431);
    let mut client = appliance.connect();
    client.send_head(&format!("GET /health?{long} HTTP/1.1"));
    client.response(false).is_problem(414, "target-too-long");
    let many = "\r\nX: y".repeat(200);
    let mut client = appliance.connect();
    client.send_head(&format!("GET /health HTTP/1.1{many}"));
    assert_eq!(client.head().status, 431);
}

#[test]
fn garbage_costs_one_connection_and_nothing_else() {
    let appliance = Appliance::start();
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ] {
        let mut stream = TcpStream::connect(appliance.addresses.plaintext).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{answer:?}"
        );
    }
    for _ in 0..20 {
        let mut stream = TcpStream::connect(appliance.addresses.tls).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    }
    assert_eq!(
        connect_tls(&appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok"
    );
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let appliance = Appliance::start();
    let mut clients: Vec<_> = (0..kettle::api::limits::MAX_CONNECTIONS - 1)
        .map(|_| appliance.connect())
        .collect();
    // One place is left, which the listener for TLS holds ready.
    for client in &mut clients {
        assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
    }
    let mut waiting = appliance.connect();
    waiting.send_head("GET /health HTTP/1.1");
    assert_eq!(clients[0].ask("GET /health HTTP/1.1", "").text(), "ok");
    clients.truncate(1);
    assert_eq!(waiting.response(false).text(), "ok");
    assert_eq!(
        connect_tls(&appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok"
    );
}
