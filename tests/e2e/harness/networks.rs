//! What phases that fetch may reach in tests, beside public addresses.

use std::net::{SocketAddr, ToSocketAddrs};

/// Where the servers of tests are.
const LOOPBACK: &str = "127.0.0.0/8";
/// Cargo's registry: its index, and its archives.
const REGISTRY: [&str; 2] = ["index.crates.io", "static.crates.io"];

/// Returns the options of `kettle-init serve` that let phases reach the servers of a test, and the
/// registry wherever this machine has it: some have a mirror of it in a network of their own.
pub fn allowed() -> Vec<String> {
    let names = REGISTRY.into_iter();
    let addresses = names.filter_map(|name| (name, 443).to_socket_addrs().ok()).flatten();
    let ranges = addresses.map(|address| of_one(&address));
    let all = [LOOPBACK.to_owned()].into_iter().chain(ranges);
    all.flat_map(|range| ["--allow-network".to_owned(), range]).collect()
}

fn of_one(address: &SocketAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{}/{bits}", address.ip())
}
