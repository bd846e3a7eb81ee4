//! Has the layout of a type, and a function, from headers that libclang read.
#![allow(non_camel_case_types)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

fn main() {
    // SAFETY: it has no arguments, and its text has a NUL at its end.
    let version = unsafe { std::ffi::CStr::from_ptr(zlibVersion()) };
    println!("{ANSWER} {} {version:?}", std::mem::size_of::<answer>());
}
