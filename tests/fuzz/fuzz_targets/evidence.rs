#![no_main]

#[path = "../targets/evidence.rs"]
mod evidence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| evidence::target(data));
