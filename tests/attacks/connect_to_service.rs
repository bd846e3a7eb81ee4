//! Tries: to talk to the service's own API
//! Aims at: host
//! Stopped by: the network namespace: its loopback is another one, and down
//! Expect: contained
//! Errors: ENETUNREACH EADDRNOTAVAIL ECONNREFUSED

mod attack;

use attack::*;

fn main() {
    let port = host("port");
    for address in ["127.0.0.1", "[::1]", "0.0.0.0", "10.0.2.2"] {
        let address = format!("{address}:{port}").parse().unwrap();
        let limit = std::time::Duration::from_secs(2);
        attempt(address, std::net::TcpStream::connect_timeout(&address, limit));
    }
}
