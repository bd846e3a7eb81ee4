//! The listener. Comes in: connections on two ports, one in clear, one with TLS. Goes out: requests to the service,
//! answers to the clients. Never: a wait without a deadline, an answer that is lost because its request went on, or a
//! request that the HTTP library reads before its header block was checked.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::caller::Scheme;
use super::checked_stream::{CheckedStream, Finding};
use super::header_block::BodyFraming;
use super::limits;
use super::problem::Problem;
use super::resolution::Peer;
use super::respond::Body;
use super::stall::Impatient;
use super::tls::TlsIdentity;
use super::{Service, respond};
use crate::clock;

/// Both ports, open.
#[derive(Debug)]
pub struct Listeners {
    clear: TcpListener,
    tls: TcpListener,
    identity: TlsIdentity,
}

/// Where the service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP.
    pub clear: SocketAddr,
    /// HTTPS.
    pub tls: SocketAddr,
}

impl Listeners {
    /// Opens both ports; port 0 takes a free one.
    ///
    /// # Errors
    /// An address cannot be had.
    pub async fn bind(
        clear: SocketAddr,
        tls: SocketAddr,
        identity: TlsIdentity,
    ) -> io::Result<Self> {
        Ok(Self {
            clear: TcpListener::bind(clear).await?,
            tls: TcpListener::bind(tls).await?,
            identity,
        })
    }

    /// The addresses that were taken.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            clear: self.clear.local_addr()?,
            tls: self.tls.local_addr()?,
        })
    }
}

/// Serves for ever. Everything runs on the calling thread, in a `LocalSet` of its own.
pub async fn serve(listeners: Listeners, service: Rc<Service>) -> Infallible {
    let Listeners {
        clear,
        tls,
        identity,
    } = listeners;
    let acceptor = TlsAcceptor::from(identity.config());
    let permits = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    let local = LocalSet::new();
    let for_tls = (Arc::clone(&permits), Rc::clone(&service));
    local.spawn_local(async move {
        let (permits, service) = for_tls;
        accept(tls, permits, move |stream, permit| {
            spawn_local(serve_tls(
                acceptor.clone(),
                stream,
                Rc::clone(&service),
                permit,
            ));
        })
        .await
    });
    let in_clear = accept(clear, permits, move |stream, permit| {
        spawn_local(serve_clear(stream, Rc::clone(&service), permit));
    });
    local.run_until(in_clear).await
}

type Stream = Impatient<TcpStream>;

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
                serve(Impatient::new(stream, limits::WRITE_STALL_TIMEOUT), permit);
            }
            Err(error) => {
                log::warn!("a connection could not be accepted: {error}");
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection in clear; the permit is given back at its end.
async fn serve_clear(stream: Stream, service: Rc<Service>, _permit: OwnedSemaphorePermit) {
    let peer = Peer(stream.peer());
    serve_connection(stream, service, (Scheme::Http, peer), |stream| stream).await;
}

/// The same with TLS.
async fn serve_tls(
    acceptor: TlsAcceptor,
    stream: Stream,
    service: Rc<Service>,
    _permit: OwnedSemaphorePermit,
) {
    let peer = Peer(stream.peer());
    match timeout(limits::TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            serve_connection(stream, service, (Scheme::Https, peer), |stream| {
                stream.into_inner().0
            })
            .await
        }
        Ok(Err(error)) => log::debug!("a TLS handshake failed: {error}"),
        Err(_) => log::debug!("a TLS handshake took too long"),
    }
}

/// Serves requests until there are no more; `socket` gives what is below the stream.
async fn serve_connection<S>(
    stream: S,
    service: Rc<Service>,
    (scheme, peer): (Scheme, Peer),
    socket: impl FnOnce(S) -> Stream,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stream = CheckedStream::new(stream);
    let (findings, flushes) = (stream.findings(), stream.flushes());
    let service = service_fn(move |request| {
        let (service, finding) = (Rc::clone(&service), findings.take());
        let flushes = flushes.clone();
        Box::pin(async move {
            let mut request: Request<Incoming> = request;
            request.extensions_mut().insert(flushes);
            request.extensions_mut().insert(peer);
            Ok::<_, Infallible>(answer(&service, request, scheme, finding).await)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has nothing more to say still waits for its answer.
        .half_close(true)
        .header_read_timeout(limits::HEADER_TIMEOUT)
        .max_buf_size(limits::MAX_BUFFER_BYTES)
        .max_header_size(limits::MAX_HEADER_BYTES)
        .max_headers(limits::MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let served = std::future::poll_fn(|cx| match clock::has_date() {
        true => connection.poll_without_shutdown(cx).map(Some),
        // hyper panics where it has no date for its answers.
        false => Poll::Ready(None),
    });
    match served.await {
        Some(Ok(())) => (),
        // hyper has answered what it could not parse.
        Some(Err(error)) if error.is_parse() => {
            log::debug!("a request could not be parsed: {error}")
        }
        Some(Err(error)) => return log::debug!("a connection failed: {error}"),
        None => return log::debug!("a connection was given up: the clock says no date"),
    }
    let stream = connection.into_parts().io.into_inner().into_inner();
    // An error here means that the client is gone, which is what we wait for.
    let _ = timeout(limits::LINGER_TIMEOUT, linger(stream, socket)).await;
}

/// Answers a request, unless its header block was refused. A connection ends with a request whose end the HTTP library
/// alone knows, and with one whose body nobody reads.
async fn answer(
    service: &Service,
    request: Request<Incoming>,
    scheme: Scheme,
    finding: Option<Finding>,
) -> Response<Body> {
    let body = match finding {
        Some(Ok(body)) => body,
        Some(Err(error)) => return refused(Problem::new(error.status(), error.code(), error)),
        None => {
            return refused(Problem::new(
                400,
                "header-malformed",
                "the request could not be checked",
            ));
        }
    };
    let posted = request.method() == Method::POST;
    let mut response = service.answer(request, scheme).await;
    let last = match body {
        BodyFraming::Absent => false,
        BodyFraming::Length(_) => !posted,
        BodyFraming::Chunked => true,
    };
    if last && !response.headers().contains_key(header::CONNECTION) {
        respond::set(response.headers_mut(), header::CONNECTION, "close");
    }
    response
}

fn refused(problem: Problem) -> Response<Body> {
    problem.with(header::CONNECTION, "close").into_response()
}

/// Ends our side, then reads on until the client has ended its own: a connection that is closed with unread bytes is
/// reset, and the client loses the answer (RFC 9112, section 9.6). What is thrown away is not deciphered: behind our end TLS
/// has nothing more to say to a client, whatever that one sends.
async fn linger<S: AsyncWrite + Unpin>(
    mut stream: S,
    socket: impl FnOnce(S) -> Stream,
) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(
        &mut socket(stream).take(limits::MAX_LINGER_BYTES),
        &mut tokio::io::sink(),
    )
    .await?;
    Ok(())
}
