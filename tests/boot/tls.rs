//! A TLS connection that a test writes itself, piece by piece. The certificate is not checked:
//! these machines have no secure processor, so nobody could vouch for it, and nobody but the test
//! is on the way.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConnection, StreamOwned};

use crate::client::Port;
use crate::machine::Machine;
use crate::unchecked;

impl Machine {
    /// Opens a TLS connection, and completes its handshake.
    pub fn connect_tls(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let config = unchecked::client_config(|_| ());
        let connection =
            ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", self.port(Port::Tls))).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    }
}
