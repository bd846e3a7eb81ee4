//! Tries: to reach the world by TCP and UDP
//! Aims at: host
//! Stopped by: the network namespace: it has no route
//! Expect: contained
//! Errors: ENETUNREACH

mod attack;

use attack::*;

fn main() {
    let address = "1.1.1.1:443".parse().unwrap();
    attempt("TCP", std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(2)));
    let datagram = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"secret", "8.8.8.8:53"));
    attempt("UDP", datagram);
}
