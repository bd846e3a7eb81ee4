//! Tries: to find a descriptor of the service among its own
//! Aims at: signer
//! Stopped by: close-on-exec for all but the three
//! Expect: contained
//! Shows: is pipe:

mod attack;

use attack::*;

fn main() {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let name = target.to_string_lossy();
        let ordinary = name.starts_with("pipe:") || name == "/dev/null" || name.starts_with("/proc/");
        let line = format!("{} is {name}", entry.path().display());
        if ordinary { contained(line) } else { succeeded(line) }
    }
}
