//! Calls a function of a library that cmake built.

extern "C" {
    fn answer() -> i32;
}

fn main() {
    // SAFETY: it has no arguments.
    println!("{}", unsafe { answer() });
}
