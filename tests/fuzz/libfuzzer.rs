//! One target under libFuzzer: the one that `KETTLE_FUZZ_TARGET` named when this was compiled.
#![no_main]

mod targets;

/// Chosen by the compiler, so that no other target is in the program.
const TARGET: targets::Target = targets::named(env!("KETTLE_FUZZ_TARGET"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
