//! Tries: to reach a service of the machine by a socket that has no file
//! Aims at: host
//! Stopped by: the network namespace, which such names belong to
//! Expect: contained
//! Errors: ECONNREFUSED

mod attack;

use attack::*;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

fn main() {
    for name in [host("socket"), "/org/freedesktop/systemd1/private", "/tmp/.X11-unix/X0"] {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        attempt(name, UnixStream::connect_addr(&address));
    }
}
