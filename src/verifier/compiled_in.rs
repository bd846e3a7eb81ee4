//! What lies in `measurements/` when the verifier is compiled, as bytes: `build.rs` lists it.

include!(concat!(env!("OUT_DIR"), "/published.rs"));
