//! Tries: to take all memory of the machine by a file without end that the compiler includes
//! Aims at: host
//! Stopped by: the limit of memory
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Needs: memory limit

static ZEROS: &[u8] = include_bytes!("/dev/zero");

fn main() {
    println!("{}", ZEROS.len());
}
