//! Tries: to link a file of the machine into the artifact
//! Stopped by: the mount namespace: the linker does not find it
//! Expect: fails

fn main() {
    println!("cargo::rustc-link-arg=/etc/shadow");
}
