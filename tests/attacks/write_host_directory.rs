//! Tries: to write into a directory of the machine that everybody may write
//! Aims at: host
//! Stopped by: the mount namespace
//! Expect: contained
//! Errors: ENOENT

mod attack;

use attack::*;

fn main() {
    let canary = std::path::Path::new(host("canary"));
    attempt("overwrite the canary", std::fs::OpenOptions::new().write(true).open(canary));
    attempt("a file beside it", std::fs::write(canary.with_file_name("planted"), "x"));
}
