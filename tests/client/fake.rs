//! A machine that pretends to be an appliance: its own TLS key, and responses that a test chooses.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::attester::Attester as _;
use kettle::provenance::{Nonce, session_report_data};
use kettle::simulator::Processor;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// A TLS key with a certificate that nobody signed.
pub struct Key {
    pub public_key: Vec<u8>,
    config: Arc<ServerConfig>,
}

impl Key {
    pub fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["fake".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        let private = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        Self {
            public_key: kettle::verifier::public_key_of(certificate.der(), true).unwrap(),
            config: Arc::new(config),
        }
    }
}

/// A request as it came inside TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The server name in the TLS handshake.
    pub server_name: String,
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn nonce(&self) -> Nonce {
        let text = self
            .line
            .split("nonce=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        Nonce::parse(text).unwrap()
    }
}

/// Returns the response to a request: status and body; `None` cuts the connection.
pub type Response = Option<(u16, Value)>;

/// A server that records every byte that it could read.
pub struct Fake {
    pub port: u16,
    pub requests: Arc<Mutex<Vec<Request>>>,
    /// The number of handshakes that began, complete or not.
    pub connections: Arc<Mutex<usize>>,
}

impl Fake {
    /// Starts a server; the key of the nth connection is `key(n)`.
    pub fn start(
        key: impl Fn(usize) -> Arc<Key> + Send + 'static,
        answer: impl Fn(usize, &Request) -> Response + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, connections) = (Arc::default(), Arc::new(Mutex::new(0)));
        let fake = Self {
            port,
            requests: Arc::clone(&requests),
            connections: Arc::clone(&connections),
        };
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                *connections.lock().unwrap() += 1;
                // Some of these tests want a client that goes away.
                let _ = serve(stream.unwrap(), &key(number), &requests, |request| {
                    answer(number, request)
                });
            }
        });
        fake
    }

    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns every request that came through TLS.
    pub fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Fails if anything but requests for evidence came.
    #[track_caller]
    pub fn got_nothing(&self) {
        for request in self.seen() {
            assert!(
                request.line.starts_with("GET /attestation?nonce="),
                "{request:?}"
            );
            assert!(request.body.is_empty(), "{request:?}");
        }
    }
}

fn serve(
    stream: TcpStream,
    key: &Key,
    requests: &Mutex<Vec<Request>>,
    answer: impl Fn(&Request) -> Response,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(&key.config)).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut request = Request::default();
    stream.read_line(&mut request.line)?;
    let server_name = stream.get_ref().conn.server_name();
    request.server_name = server_name.unwrap_or_default().to_owned();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    request.body = body;
    requests.lock().unwrap().push(request.clone());
    let Some((status, document)) = answer(&request) else {
        return Ok(());
    };
    let body = document.to_string();
    let length = body.len();
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Returns the evidence of a machine with this processor about this key under this nonce.
pub fn session(processor: &Processor, public_key: &[u8], nonce: &Nonce) -> Value {
    let evidence = processor
        .attest(&session_report_data(public_key, nonce))
        .unwrap();
    let mut document = serde_json::to_value(evidence.envelope()).unwrap();
    document["tls_public_key"] = json!(STANDARD.encode(public_key));
    document["state"] = json!("idle");
    document
}
