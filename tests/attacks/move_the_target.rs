//! Tries: to put another directory where the service will look for artifacts
//! Aims at: result
//! Stopped by: it is a mount, which nothing inside can move, below a directory that cannot be written
//! Expect: contained
//! Errors: EBUSY EROFS EPERM EXDEV EACCES

mod attack;

use attack::*;

fn main() {
    attempt("rename", std::fs::rename("/kettle/target", "/kettle/other"));
    attempt("remove", std::fs::remove_dir("/kettle/target"));
    attempt("link", std::os::unix::fs::symlink("/etc", "/kettle/artifacts"));
    attempt("exchange", exchange("/kettle/target".as_ref(), "/tmp".as_ref()));
    attempt("rename upwards", std::fs::rename(release_directory(), "/kettle/release"));
}
