#![no_main]

#[path = "../targets/decoding.rs"]
mod decoding;
#[path = "../targets/form.rs"]
mod form;

libfuzzer_sys::fuzz_target!(|data: &[u8]| form::target(data));
