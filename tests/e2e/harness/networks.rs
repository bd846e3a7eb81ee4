//! The networks that phases that fetch may reach in tests, beside public addresses.

use std::env;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The network of the tests' servers.
const LOOPBACK: &str = "127.0.0.0/8";
/// The port of registries.
const HTTPS: u16 = 443;

/// Returns the options of `kettle-host serve` that let phases reach the servers of a test, and the
/// registries wherever this machine has them: some have a mirror in a private network.
pub fn allowed() -> Vec<String> {
    let hosts = indexes().into_iter().flat_map(|index| hosts_of(&index));
    let addresses = hosts
        .filter_map(|host| (host, HTTPS).to_socket_addrs().ok())
        .flatten();
    let ranges = addresses.map(|address| of_one(&address));
    let all = [LOOPBACK.to_owned()].into_iter().chain(ranges);
    all.flat_map(|range| ["--allow-network".to_owned(), range])
        .collect()
}

/// Returns the directories of the registries' indexes that this machine's cargo has, which are
/// called `HOST-HASH`: the dependencies of these tests came from one of them.
fn indexes() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let entries = home.and_then(|home| fs::read_dir(home.join("registry/index")).ok());
    entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Returns the host of an index, and the one that its settings name for archives.
fn hosts_of(index: &Path) -> Vec<String> {
    let name = index.file_name().unwrap().to_string_lossy();
    let of_index = name.rsplit_once('-').map(|(host, _)| host.to_owned());
    of_index
        .into_iter()
        .chain(host_of_archives(index))
        .collect()
}

fn host_of_archives(index: &Path) -> Option<String> {
    let settings: Value =
        serde_json::from_slice(&fs::read(index.join("config.json")).ok()?).ok()?;
    let (_, rest) = settings["dl"].as_str()?.split_once("://")?;
    let authority = rest.split('/').next()?;
    Some(authority.split(':').next()?.to_owned())
}

fn of_one(address: &SocketAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{}/{bits}", address.ip())
}
