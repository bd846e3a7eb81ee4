//! Listens on the two ports and serves their connections.
//!
//! * In: connections, on one port unencrypted, on the other with TLS.
//! * Out: requests to the service, responses to the clients.
//! * Never: a wait without a deadline, a response that is lost because its request went on, or a
//!   request that the HTTP library reads before its header block was checked.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::caller::Scheme;
use super::checked_stream::{CheckedStream, Finding, Findings};
use super::flush::Flushes;
use super::header_block::BodyFraming;
use super::limits;
use super::problem::Problem;
use super::resolution::Peer;
use super::respond::Body;
use super::stall::StallTimeout;
use super::submit::LocalFuture;
use super::tls::TlsIdentity;
use super::{Service, respond};
use crate::clock;

/// Both ports, open, with the key for TLS.
#[derive(Debug)]
pub struct Listeners {
    plaintext: TcpListener,
    tls: TcpListener,
    identity: TlsIdentity,
}

/// The addresses at which the service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The address of the plaintext port.
    pub plaintext: SocketAddr,
    /// The address of the port with TLS.
    pub tls: SocketAddr,
}

impl Listeners {
    /// Opens both ports; port 0 stands for a free one.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn bind(
        plaintext: SocketAddr,
        tls: SocketAddr,
        identity: TlsIdentity,
    ) -> io::Result<Self> {
        Ok(Self {
            plaintext: TcpListener::bind(plaintext).await?,
            tls: TcpListener::bind(tls).await?,
            identity,
        })
    }

    /// Returns the addresses of the open ports.
    ///
    /// # Errors
    /// The kernel does not return an address.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            plaintext: self.plaintext.local_addr()?,
            tls: self.tls.local_addr()?,
        })
    }
}

/// Serves for ever. Everything runs on the calling thread, in its own `LocalSet`.
pub async fn serve(listeners: Listeners, service: Rc<Service>) -> Infallible {
    let Listeners {
        plaintext,
        tls,
        identity,
    } = listeners;
    let acceptor = TlsAcceptor::from(identity.config());
    let permits = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    let (tls_permits, tls_service) = (Arc::clone(&permits), Rc::clone(&service));
    let local = LocalSet::new();
    local.spawn_local(accept(tls, tls_permits, move |stream, permit| {
        let service = Rc::clone(&tls_service);
        spawn_local(serve_tls(acceptor.clone(), stream, service, permit));
    }));
    let serving = accept(plaintext, permits, move |stream, permit| {
        spawn_local(serve_plaintext(stream, Rc::clone(&service), permit));
    });
    local.run_until(serving).await
}

type Stream = StallTimeout<TcpStream>;

/// Accepts for ever. A connection is taken from the kernel's queue only when there is room for it.
async fn accept(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    serve: impl Fn(Stream, OwnedSemaphorePermit),
) -> Infallible {
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            // Nobody closes the semaphore.
            std::future::pending().await
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("a connection stays with Nagle's algorithm: {error}");
                }
                let stream = StallTimeout::new(stream, limits::WRITE_STALL_TIMEOUT);
                serve(stream, permit);
            }
            Err(error) => {
                log::warn!("a connection could not be accepted: {error}");
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one plaintext connection; the permit is returned at its end.
async fn serve_plaintext(stream: Stream, service: Rc<Service>, _permit: OwnedSemaphorePermit) {
    let peer = Peer(stream.peer());
    serve_connection(stream, service, (Scheme::Http, peer), |stream| stream).await;
}

/// Serves one connection with TLS; the permit is returned at its end.
async fn serve_tls(
    acceptor: TlsAcceptor,
    stream: Stream,
    service: Rc<Service>,
    _permit: OwnedSemaphorePermit,
) {
    let peer = Peer(stream.peer());
    match timeout(limits::TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let socket = |stream: TlsStream<Stream>| stream.into_inner().0;
            serve_connection(stream, service, (Scheme::Https, peer), socket).await
        }
        Ok(Err(error)) => log::debug!("a TLS handshake failed: {error}"),
        Err(_) => log::debug!("a TLS handshake took too long"),
    }
}

/// Serves requests until the connection ends; `socket` returns the connection below the stream.
async fn serve_connection<S>(
    stream: S,
    service: Rc<Service>,
    (scheme, peer): (Scheme, Peer),
    socket: impl FnOnce(S) -> Stream,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut connection = http_connection(stream, service, (scheme, peer));
    let served = std::future::poll_fn(|cx| match clock::has_date() {
        true => connection.poll_without_shutdown(cx).map(Some),
        // hyper panics where it has no date for its responses.
        false => Poll::Ready(None),
    });
    match served.await {
        Some(Ok(())) => (),
        // hyper has answered a request that it could not parse.
        Some(Err(error)) if error.is_parse() => {
            log::debug!("a request could not be parsed: {error}")
        }
        Some(Err(error)) => return log::debug!("a connection failed: {error}"),
        None => return log::debug!("a connection was given up: the clock has no valid date"),
    }
    let stream = connection.into_parts().io.into_inner().into_inner();
    // An error here means that the client is gone, which is what we wait for.
    let _ = timeout(limits::LINGER_TIMEOUT, linger(stream, socket)).await;
}

type HttpConnection<S> = http1::Connection<TokioIo<CheckedStream<S>>, ConnectionService>;

fn http_connection<S>(
    stream: S,
    service: Rc<Service>,
    (scheme, peer): (Scheme, Peer),
) -> HttpConnection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stream = CheckedStream::new(stream);
    let service = ConnectionService {
        service,
        scheme,
        peer,
        findings: stream.findings(),
        flushes: stream.flushes(),
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has ended its side still waits for its response.
        .half_close(true)
        .header_read_timeout(limits::HEADER_TIMEOUT)
        .max_buf_size(limits::MAX_BUFFER_BYTES)
        .max_header_size(limits::MAX_HEADER_BYTES)
        .max_headers(limits::MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
}

/// The service as the requests of one connection reach it.
struct ConnectionService {
    service: Rc<Service>,
    scheme: Scheme,
    peer: Peer,
    findings: Findings,
    flushes: Flushes,
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LocalFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let finding = self.findings.take();
        request.extensions_mut().insert(self.flushes.clone());
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.scheme);
        let (service, scheme) = (Rc::clone(&self.service), self.scheme);
        Box::pin(async move { Ok(answer(&service, request, scheme, finding).await) })
    }
}

/// Answers a request, unless its header block was refused. The connection ends after a request
/// whose end only the HTTP library knows, and after one whose body nobody reads.
async fn answer(
    service: &Service,
    request: Request<Incoming>,
    scheme: Scheme,
    finding: Option<Finding>,
) -> Response<Body> {
    let body = match finding {
        Some(Ok(body)) => body,
        Some(Err(error)) => return refused(Problem::new(error.status(), error.code(), error)),
        None => return refused(unchecked()),
    };
    let is_post = request.method() == Method::POST;
    let mut response = service.answer(request, scheme).await;
    let is_last = match body {
        BodyFraming::Absent => false,
        BodyFraming::Length(_) => !is_post,
        BodyFraming::Chunked => true,
    };
    if is_last && !response.headers().contains_key(header::CONNECTION) {
        respond::set(response.headers_mut(), header::CONNECTION, "close");
    }
    response
}

fn unchecked() -> Problem {
    Problem::new(400, "header-malformed", "the request could not be checked")
}

fn refused(problem: Problem) -> Response<Body> {
    problem.with(header::CONNECTION, "close").into_response()
}

/// Ends our side, then reads on until the client has ended its own: a connection that is closed
/// with unread bytes is reset, and the client loses the response (RFC 9112, section 9.6). The bytes
/// are thrown away without being decrypted: after our end TLS has nothing more to send to a client,
/// whatever the client sends.
async fn linger<S: AsyncWrite + Unpin>(
    mut stream: S,
    socket: impl FnOnce(S) -> Stream,
) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = socket(stream).take(limits::MAX_LINGER_BYTES);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await?;
    Ok(())
}
