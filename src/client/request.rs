//! Sends one request over its own connection.
//!
//! * In: a machine, and a request.
//! * Out: the response, whose body is read piece by piece.
//! * Never: a connection that is used twice, a redirect that is followed, or a wait without a
//!   limit.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName};
use hyper::http::request::Builder;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::address::Address;
use super::connect::connect;
use super::error::ClientError;
use super::form::Form;
use super::proxy::Proxies;
use super::target::Target;

/// How long a server may neither receive nor send a byte. The appliance sends one every 15 seconds
/// while a build prints nothing, but a repository's ref may take it a while to resolve.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);

/// How often the number of bytes that were sent is reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);

/// Sends requests to one machine, with settings for TLS and proxies.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    proxies: Proxies,
    tls: Arc<ClientConfig>,
}

/// A response. Dropping it ends its connection.
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The fields of the header block.
    pub headers: HeaderMap,
    /// DER SubjectPublicKeyInfo of the server's TLS key; `None` without TLS.
    pub public_key: Option<Vec<u8>>,
    body: Incoming,
    place: String,
    driver: JoinHandle<()>,
}

impl Client {
    /// Returns a client for a server of the web, with the settings `tls` and the proxies of the
    /// environment.
    pub fn new(address: Address, tls: Arc<ClientConfig>) -> Self {
        Self::of_target(Target::of_web(address), tls)
    }

    pub(super) fn of_target(target: Target, tls: Arc<ClientConfig>) -> Self {
        Self {
            target,
            proxies: Proxies::of_environment(),
            tls,
        }
    }

    /// Returns a client for the same machine and proxies, with other settings for TLS.
    pub fn with_tls(&self, tls: Arc<ClientConfig>) -> Self {
        Self {
            tls,
            ..self.clone()
        }
    }

    /// Returns the address of the machine.
    pub const fn address(&self) -> &Address {
        self.target.address()
    }

    /// Starts a request for `path`, which begins with a slash.
    pub fn request(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address().host_header())
            .header(
                header::USER_AGENT,
                concat!("kettle/", env!("CARGO_PKG_VERSION")),
            )
    }

    /// Sends a GET request with these header fields.
    ///
    /// # Errors
    /// There is no response.
    pub async fn get(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Reply, ClientError> {
        let mut request = self.request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.send(request, Form::default(), &mut |_| ()).await
    }

    /// Sends a request, and calls `sent` now and then with the number of bytes sent so far.
    ///
    /// # Errors
    /// There is no response.
    pub async fn send(
        &self,
        request: Builder,
        body: Form,
        sent: &mut dyn FnMut(u64),
    ) -> Result<Reply, ClientError> {
        let counter = body.sent();
        let request = request.body(body).map_err(|_| ClientError::Request {
            what: "a header field is not text",
        })?;
        let connection = connect(&self.target, &self.proxies, &self.tls).await?;
        let public_key = connection.public_key();
        let (mut sender, driven) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|source| self.cut(source))?;
        let driver = Driver(Some(tokio::spawn(async move {
            // The request reports the same error.
            let _ = driven.await;
        })));
        let responding = sender.send_request(request);
        let response = self.respond(responding, &counter, sent).await?;
        let place = self.address().to_string();
        Ok(Reply::new(response, public_key, place, driver))
    }

    /// Waits for the response, as long as bytes of the body are sent.
    async fn respond(
        &self,
        responding: impl Future<Output = hyper::Result<Response<Incoming>>>,
        counter: &AtomicU64,
        sent: &mut dyn FnMut(u64),
    ) -> Result<Response<Incoming>, ClientError> {
        let mut responding = pin!(responding);
        let (mut before, mut since) = (0, Instant::now());
        loop {
            if let Ok(response) = timeout(REPORT_INTERVAL, &mut responding).await {
                return response.map_err(|source| self.cut(source));
            }
            let now = counter.load(Ordering::Relaxed);
            if now != before {
                (before, since) = (now, Instant::now());
                sent(now);
            } else if since.elapsed() > SILENCE_TIMEOUT {
                return Err(silent(self.address().to_string()));
            }
        }
    }

    fn cut(&self, source: hyper::Error) -> ClientError {
        ClientError::Cut {
            place: self.address().to_string(),
            source,
        }
    }
}

fn silent(place: String) -> ClientError {
    ClientError::Silent {
        place,
        seconds: SILENCE_TIMEOUT.as_secs(),
    }
}

/// The task that runs a connection. Dropping it ends the connection.
struct Driver(Option<JoinHandle<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl Reply {
    fn new(
        response: Response<Incoming>,
        public_key: Option<Vec<u8>>,
        place: String,
        mut driver: Driver,
    ) -> Self {
        let (parts, body) = response.into_parts();
        let driver = driver.0.take().unwrap_or_else(|| tokio::spawn(async {}));
        Self {
            status: parts.status,
            headers: parts.headers,
            public_key,
            body,
            place,
            driver,
        }
    }

    /// Returns a header field, if it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the next piece of the body, or `None` at its end.
    ///
    /// # Errors
    /// The connection was cut, or is silent.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = timeout(SILENCE_TIMEOUT, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| silent(self.place.clone()))? else {
                return Ok(None);
            };
            let cut = |source| ClientError::Cut {
                place: self.place.clone(),
                source,
            };
            if let Ok(bytes) = frame.map_err(cut)?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Returns the whole body, of at most `limit` bytes. `name` is the name of that limit, for the
    /// message.
    ///
    /// # Errors
    /// The body is longer, or the connection was cut.
    pub async fn whole(
        &mut self,
        limit: usize,
        name: &'static str,
    ) -> Result<Vec<u8>, ClientError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                let place = self.place.clone();
                return Err(ClientError::TooLong {
                    place,
                    limit: limit as u64,
                    name,
                });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Returns an error about a response that the API does not know.
    pub fn unexpected(&self, what: &str) -> ClientError {
        ClientError::Unexpected {
            place: self.place.clone(),
            what: what.to_owned(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
