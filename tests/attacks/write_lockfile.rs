//! Tries: to change the lockfile that provenance records
//! Aims at: provenance
//! Stopped by: a read-only mount
//! Expect: contained
//! Errors: EROFS EXDEV EACCES

mod attack;

use attack::*;

fn main() {
    attempt("append", std::fs::OpenOptions::new().append(true).open("Cargo.lock"));
    attempt("replace", std::fs::rename("/dev/null", "Cargo.lock"));
    attempt("remove", std::fs::remove_file("Cargo.lock"));
}
