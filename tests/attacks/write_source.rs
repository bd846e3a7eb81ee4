//! Tries: to change the source that provenance names, after it was hashed
//! Aims at: provenance
//! Stopped by: a read-only mount
//! Expect: contained
//! Errors: EROFS EXDEV

mod attack;

use attack::*;

fn main() {
    let source = std::env::current_dir().unwrap();
    attempt("add a file", std::fs::write(source.join("src/added.rs"), "x"));
    attempt("change a file", std::fs::write(source.join("src/main.rs"), "fn main() {}"));
    attempt("remove a file", std::fs::remove_file(source.join("src/main.rs")));
    attempt("rename the directory", std::fs::rename(&source, "/tmp/source"));
    attempt(
        "change modes",
        std::fs::set_permissions(source.join("src/main.rs"), std::os::unix::fs::PermissionsExt::from_mode(0o777)),
    );
}
