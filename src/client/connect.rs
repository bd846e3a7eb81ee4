//! Opens a connection: name, proxy, TCP, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
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
use super::target::Target;
use super::{names, trust};

/// How long one address may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the proxy and the TLS handshake may take, each.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection, encrypted or not.
pub enum Connection {
    /// A connection without TLS.
    Plain(TcpStream),
    /// A connection with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Returns the DER SubjectPublicKeyInfo of the key whose possession the server proved.
    pub fn public_key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                trust::public_key(stream.get_ref().1.peer_certificates()?.first()?)
            }
        }
    }
}

/// Connects to `target`, directly or through a proxy. `tls` are the settings for TLS, if the
/// address has it.
///
/// # Errors
/// A step fails: the name, the proxy, TCP or TLS.
pub async fn connect(
    target: &Target,
    proxies: &Proxies,
    tls: &Arc<ClientConfig>,
) -> Result<Connection, ClientError> {
    let address = target.address();
    let Some(proxy) = proxies.of_address(address)? else {
        let (stream, ip) = tcp(address, target.ips().await?).await?;
        let connection = handshake(stream, target, tls).await?;
        target.settle(ip);
        return Ok(connection);
    };
    let ips = names::resolve(proxy.address.host()).await?;
    let (mut stream, _) = tcp(&proxy.address, ips).await?;
    let tunnel = proxy.tunnel(&mut stream, address);
    match timeout(HANDSHAKE_TIMEOUT, tunnel).await {
        Ok(result) => result?,
        Err(_) => return Err(silent(&proxy.address, HANDSHAKE_TIMEOUT)),
    }
    handshake(stream, target, tls).await
}

/// Starts TLS on a connection, if the address has it.
async fn handshake(
    stream: TcpStream,
    target: &Target,
    tls: &Arc<ClientConfig>,
) -> Result<Connection, ClientError> {
    let address = target.address();
    if !address.is_tls() {
        return Ok(Connection::Plain(stream));
    }
    let place = address.to_string();
    let failed = |source| ClientError::Tls {
        place: place.clone(),
        source,
    };
    let name = ServerName::try_from(target.server_name().to_owned())
        .map_err(|error| failed(io::Error::other(error)))?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
    let Ok(result) = timeout(HANDSHAKE_TIMEOUT, handshake).await else {
        return Err(silent(address, HANDSHAKE_TIMEOUT));
    };
    let error = match result {
        Ok(encrypted) => return Ok(Connection::Tls(Box::new(encrypted))),
        Err(error) => error,
    };
    match trust::another_key(&error) {
        Some(&trust::AnotherKey { expected, actual }) => Err(ClientError::KeyChanged {
            place,
            expected,
            actual,
        }),
        None => Err(failed(error)),
    }
}

/// Connects to the first of these IP addresses that accepts, and returns which one it was.
async fn tcp(address: &Address, ips: Vec<IpAddr>) -> Result<(TcpStream, IpAddr), ClientError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for ip in ips {
        let connecting = TcpStream::connect(SocketAddr::new(ip, address.port()));
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => {
                // Without this option small requests wait for acknowledgements. They still work.
                let _ = stream.set_nodelay(true);
                return Ok((stream, ip));
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
