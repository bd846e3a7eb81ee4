#![no_main]

#[path = "../targets/unpacking.rs"]
mod unpacking;
#[path = "../targets/tar.rs"]
mod tar;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tar::target(data));
