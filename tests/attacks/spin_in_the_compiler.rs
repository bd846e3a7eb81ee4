//! Tries: to hold the build for ever with a macro that has no end, and all processors
//! Aims at: host
//! Stopped by: the limit of time
//! Expect: fails
//! Fails with: BuildTimeout: the build took longer than 5 s
//! Template: macro
//! Seconds: 5

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    for _ in 0..8 {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    loop {
        std::hint::spin_loop();
    }
}
