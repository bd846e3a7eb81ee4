//! Tries: to fill the disk with the log
//! Aims at: log
//! Stopped by: a log that cannot be written ends the build
//! Expect: fails
//! Fails with: BuildFailed: there is no room left for what the build writes
//! Template: macro
//! Needs: small disk

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    for _ in 0..128 {
        if stderr.write_all(&[b'x'; 1 << 20]).is_err() {
            break;
        }
    }
    TokenStream::new()
}
