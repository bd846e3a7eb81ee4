//! Tries: to have a hundred thousand files copied, by announcing its program as often, by as many names
//! Aims at: result
//! Stopped by: names are those of the project's targets, each counted once
//! Expect: contained
//! Shows: 100000 messages are printed
//! Template: macro

use proc_macro::TokenStream;

#[proc_macro]
pub fn trick(_: TokenStream) -> TokenStream {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in 0..100_000 {
        let name = if number % 2 == 0 {
            "attack".to_owned()
        } else {
            format!("attack{number}")
        };
        let head = r#"{"reason":"compiler-artifact","package_id":"path+file:///kettle/source#attack@0.1.0""#;
        // Every other one is of the program itself.
        let target = if number % 4 < 2 { "attack" } else { &name };
        let target =
            format!(r#""target":{{"kind":["bin"],"crate_types":["bin"],"name":"{target}"}}"#);
        writeln!(
            out,
            r#"{head},{target},"filenames":["/kettle/target/release/{name}"]}}"#
        )
        .unwrap();
    }
    out.flush().unwrap();
    eprintln!("ATTACK: contained: 100000 messages are printed");
    TokenStream::new()
}
