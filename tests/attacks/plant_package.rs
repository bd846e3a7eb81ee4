//! Tries: to have its own archive delivered as the packed library
//! Aims at: result
//! Stopped by: the library is packed in a directory that the build never sees
//! Expect: contained
//! Shows: an archive lies where cargo would pack
//! Template: library

mod attack;

use attack::*;

fn main() {
    let directory = release_directory().with_file_name("package");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("attack-0.1.0.crate"), "ATTACK: SUCCEEDED").unwrap();
    std::fs::write(directory.join("extra-0.1.0.crate"), "ATTACK: SUCCEEDED").unwrap();
    contained("an archive lies where cargo would pack");
}
