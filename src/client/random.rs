//! Reads random bytes of the kernel, for names and pauses that nobody can predict.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Returns `N` random bytes.
///
/// # Errors
/// The kernel returns no random bytes.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
