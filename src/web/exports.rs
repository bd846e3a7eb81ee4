//! The module's interface to its host.
//!
//! * In: calls with buffers that the host has filled, and the host's function `read`.
//! * Out: JSON, in a buffer that the host frees.
//! * Never: state between two calls.
//!
//! | export | what it does |
//! |---|---|
//! | `allocate(length)` | returns the address of a buffer of `length` bytes |
//! | `release(address, length)` | frees a buffer |
//! | `verify(address, length)` | verifies by the options in a buffer, which it frees, and returns a buffer |
//! | `digest()` | hashes the input, and returns a buffer |
//!
//! A returned buffer is one number: its address times 2^32, plus its length. The one import,
//! `kettle.read(address, length)`, writes the next bytes of the input, at most `length`, to
//! `address`, and returns their number: 0 at the end, and below 0 if it cannot read.
//! `src/web/npm/index.mjs` is such a host.
#![allow(unsafe_code)]

use std::io::{self, Read};
use std::slice;

use serde_json::Value;

mod host {
    #[link(wasm_import_module = "kettle")]
    // SAFETY: the host has a function of this type; a module without it cannot be instantiated.
    unsafe extern "C" {
        pub fn read(address: *mut u8, length: usize) -> isize;
    }
}

/// The input, as the host returns it.
struct Input;

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: address and length are those of a buffer that nobody else uses meanwhile.
        let count = unsafe { host::read(buffer.as_mut_ptr(), buffer.len()) };
        let count = usize::try_from(count).map_err(|_| io::Error::other("the input failed"))?;
        if count > buffer.len() {
            return Err(io::Error::other("the input returned too much"));
        }
        Ok(count)
    }
}

/// Allocates a buffer for the host to fill.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn allocate(length: usize) -> *mut u8 {
    let buffer = vec![0_u8; length].into_boxed_slice();
    Box::into_raw(buffer).cast()
}

/// Frees a buffer, which must be one that `allocate`, `verify` or `digest` returned.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn release(address: *mut u8, length: usize) {
    drop(owned(address, length));
}

/// Verifies the input by the options in a buffer of `allocate`.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn verify(address: *mut u8, length: usize) -> u64 {
    let options = owned(address, length);
    returned(&super::verified(&options, Input))
}

/// Hashes the input.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn digest() -> u64 {
    returned(&super::digested(Input))
}

fn owned(address: *mut u8, length: usize) -> Box<[u8]> {
    // SAFETY: the host passes on address and length of a boxed slice that was leaked to it, once.
    unsafe { Box::from_raw(slice::from_raw_parts_mut(address, length)) }
}

/// Leaks a document to the host.
fn returned(document: &Value) -> u64 {
    let bytes = document.to_string().into_bytes().into_boxed_slice();
    let length = bytes.len() as u64;
    let address = Box::into_raw(bytes).cast::<u8>() as usize as u64;
    address << 32 | length
}
