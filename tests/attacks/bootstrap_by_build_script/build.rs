//! Tries: to have the compiler taken for a nightly one, which knows more back ends and flags, from its build script
//! Aims at: provenance
//! Stopped by: cargo, which does not pass this variable on
//! Expect: fails
//! Fails with: BuildFailed: the build failed (exit status 101)
//! Shows: annot set `RUSTC_BOOTSTRAP=1` from build script of

fn main() {
    println!("cargo::rustc-env=RUSTC_BOOTSTRAP=1");
}
