//! Tries: to link a file of the machine into the artifact
//! Aims at: host
//! Stopped by: the mount namespace: the linker does not find it
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: /etc/shadow

fn main() {
    println!("cargo::rustc-link-arg=/etc/shadow");
}
