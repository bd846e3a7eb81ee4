#![no_main]

#[path = "../targets/report.rs"]
mod report;

libfuzzer_sys::fuzz_target!(|data: &[u8]| report::target(data));
