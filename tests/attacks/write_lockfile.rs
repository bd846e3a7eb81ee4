//! Tries: to change the lockfile that provenance records
//! Aims at: provenance
//! Stopped by: an overlay over the source, which is thrown away; without root a read-only mount
//! Expect: consistent
//! Shows: tried to change the lockfile
//! Errors: EROFS EXDEV EACCES

mod attack;

use attack::*;

fn main() {
    attempt("replace", std::fs::rename("/dev/null", "Cargo.lock"));
    let tried = [std::fs::write("Cargo.lock", "version = 4\n"), std::fs::remove_file("Cargo.lock")];
    println!("cargo:warning=tried to change the lockfile: {tried:?}");
}
