#![no_main]

#[path = "../targets/unpacking.rs"]
mod unpacking;
#[path = "../targets/zip.rs"]
mod zip;

libfuzzer_sys::fuzz_target!(|data: &[u8]| zip::target(data));
