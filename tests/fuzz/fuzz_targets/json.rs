#![no_main]

#[path = "../targets/decoding.rs"]
mod decoding;
#[path = "../targets/json.rs"]
mod json;

libfuzzer_sys::fuzz_target!(|data: &[u8]| json::target(data));
