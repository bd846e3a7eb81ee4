//! Tries: to put a second name of a file of the machine in the place of a finished artifact
//! Aims at: result
//! Stopped by: mounts: no hard link crosses one
//! Expect: contained
//! Errors: EXDEV
//! Template: late

mod attack;

use attack::*;

fn main() {
    let artifact = release_directory().join("attack");
    if !wait_for(&artifact) {
        panic!("the artifact never appeared");
    }
    let planted = out_directory().join("planted");
    attempt("a hard link to a program", std::fs::hard_link("/usr/bin/true", &planted));
    attempt("a hard link to the source", std::fs::hard_link("Cargo.toml", &planted));
}
