//! Tries: to have cargo start a thousand compilers at once, or none any more, by the tokens that they share
//! Aims at: host
//! Stopped by: the limit of tasks, and cargo's own token for each waiting process
//! Expect: contained
//! Shows: contained: a thousand tokens are added
//! Template: late

mod attack;

use attack::*;

use std::io::Write;

fn main() {
    let flags = std::env::var("CARGO_MAKEFLAGS").unwrap();
    let pair = flags.split(' ').find_map(|flag| flag.strip_prefix("--jobserver-auth=")).unwrap();
    let (_, write) = pair.split_once(',').expect("two descriptors");
    let mut tokens = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{write}")).unwrap();
    tokens.write_all(&[b'+'; 1000]).unwrap();
    contained("a thousand tokens are added");
}
