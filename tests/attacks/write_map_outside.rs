//! Tries: to have the linker write outside the directories of the build
//! Aims at: host
//! Stopped by: a read-only root
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: Read-only file system

fn main() {
    println!("cargo::rustc-link-arg=-Wl,-Map=/usr/lib/planted.map");
}
