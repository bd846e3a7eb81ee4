//! Tries: to have a file of the machine compiled into the artifact
//! Aims at: host
//! Stopped by: the mount namespace: the compiler does not find it
//! Expect: fails
//! Fails with: BuildFailed: the build failed (exit status 101)
//! Shows: couldn't read `/etc/shadow`

fn main() {
    print!("{}", include_str!("/etc/shadow"));
}
