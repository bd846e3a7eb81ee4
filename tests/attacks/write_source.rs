//! Tries: to change the source that provenance names, after it was hashed
//! Aims at: provenance
//! Stopped by: an overlay over the source, which is thrown away; without root a read-only mount
//! Expect: consistent
//! Shows: tried to change the source
//! Errors: EXDEV EBUSY EROFS

mod attack;

use attack::*;

fn main() {
    let source = std::env::current_dir().unwrap();
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    let tried = [
        std::fs::write(source.join("src/added.rs"), "x"),
        std::fs::write(source.join("src/main.rs"), "fn main() { println!(\"changed\") }"),
        std::fs::set_permissions(source.join("src/main.rs"), writable),
        std::fs::remove_file(source.join("Cargo.lock")),
    ];
    attempt("rename the directory", std::fs::rename(&source, "/tmp/source"));
    println!("cargo:warning=tried to change the source: {tried:?}");
}
