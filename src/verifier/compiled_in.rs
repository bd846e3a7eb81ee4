//! The bytes of the files in `measurements/` when the verifier was compiled; `build.rs` lists them.

include!(concat!(env!("OUT_DIR"), "/published.rs"));
