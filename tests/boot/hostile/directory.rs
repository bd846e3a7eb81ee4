//! Fills its own directory until nothing more fits, and prints much about it.

use std::io::Write;

fn main() {
    let directory = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut file = std::fs::File::create(directory.join("full")).expect("a first file");
    while file.write_all(&[1; 1 << 12]).is_ok() {}
    // Cargo passes this on, because it fails.
    for line in 0..100_000 {
        println!("line {line} of many");
    }
    panic!("nothing more fits");
}
