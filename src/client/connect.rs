//! One connection: name, proxy, TCP, TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::error::ClientError;
use super::proxy::Proxies;
use super::{names, trust};

/// How long one address may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the proxy and the TLS handshake may take, each.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection, encrypted or not.
pub enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Returns the DER SubjectPublicKeyInfo of the key that the other side proved to have.
    pub fn public_key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                trust::public_key(stream.get_ref().1.peer_certificates()?.first()?)
            }
        }
    }
}

/// Connects to `address`; with TLS, under the settings `tls`.
///
/// # Errors
/// Any step of the way.
pub async fn connect(
    address: &Address,
    proxies: &Proxies,
    tls: &Arc<ClientConfig>,
) -> Result<Connection, ClientError> {
    let stream = match proxies.of_address(address)? {
        None => tcp(address).await?,
        Some(proxy) => {
            let mut stream = tcp(&proxy.address).await?;
            let tunnel = timeout(HANDSHAKE_TIMEOUT, proxy.tunnel(&mut stream, address));
            tunnel
                .await
                .map_err(|_| silent(&proxy.address, HANDSHAKE_TIMEOUT))??;
            stream
        }
    };
    if !address.is_tls() {
        return Ok(Connection::Plain(stream));
    }
    let place = address.to_string();
    let failed = |source| ClientError::Tls {
        place: place.clone(),
        source,
    };
    let name = ServerName::try_from(address.host().to_owned());
    let name = name.map_err(|error| failed(io::Error::other(error)))?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Err(_) => Err(silent(address, HANDSHAKE_TIMEOUT)),
        Ok(Ok(stream)) => Ok(Connection::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(match trust::another_key(&error) {
            Some(&trust::AnotherKey { expected, actual }) => ClientError::KeyChanged {
                place,
                expected,
                actual,
            },
            None => failed(error),
        }),
    }
}

async fn tcp(address: &Address) -> Result<TcpStream, ClientError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for ip in names::resolve(address.host()).await? {
        let connecting = TcpStream::connect(SocketAddr::new(ip, address.port()));
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => {
                // Small requests would wait for nothing; where it fails, they wait.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(ClientError::Unreachable {
        place: address.to_string(),
        source: last,
    })
}

fn silent(address: &Address, limit: Duration) -> ClientError {
    ClientError::Silent {
        place: address.to_string(),
        seconds: limit.as_secs(),
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
