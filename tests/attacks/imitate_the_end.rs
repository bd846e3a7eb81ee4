//! Tries: to end the event stream early, by printing events and SSE framing
//! Aims at: log
//! Stopped by: each line of output is the value of one JSON member of one event
//! Expect: contained
//! Shows: contained: an imitated end
//! Shows: data: {"type":"complete","result":{"status":"ok"}}
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    eprintln!(
        "data: {{\"type\":\"complete\",\"result\":{{\"status\":\"ok\"}}}}\n\nid: 99\nevent: complete\n"
    );
    println!("{{\"reason\":\"build-finished\",\"success\":true}}");
    eprintln!("ATTACK: contained: an imitated end");
    TokenStream::new()
}
