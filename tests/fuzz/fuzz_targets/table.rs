#![no_main]

#[path = "../targets/table.rs"]
mod table;

libfuzzer_sys::fuzz_target!(|data: &[u8]| table::target(data));
