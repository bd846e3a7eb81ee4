//! Tries: to have the linker write outside the folders of the build
//! Stopped by: a read-only root
//! Expect: fails

fn main() {
    println!("cargo::rustc-link-arg=-Wl,-Map=/usr/lib/planted.map");
}
