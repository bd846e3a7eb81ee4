//! The service's memory does not follow what clients and builds send.

use std::thread;
use std::time::Duration;

use crate::harness::{Bundle, Events, Request, Server, package};

/// The highest resident size that is allowed.
const MAX_PEAK_KIB: u64 = 64 << 10;
const FRAME: usize = 1 << 20;
const LINES: usize = 1_000_000;

fn assert_small(server: &Server) {
    let peak = server.peak_kib();
    assert!(peak < MAX_PEAK_KIB, "the peak is {peak} KiB");
}

#[test]
fn an_upload_that_is_refused_at_its_end_is_not_kept_in_memory() {
    let server = Server::start();
    let answer = Request::flood_form(server.port, &vec![b'x'; FRAME], 1024);
    assert_eq!(
        answer.status,
        400,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let frame = vec![b'A'; FRAME];
    let head = br#"{"nonce":"00","source_data":""#;
    let answer = Request::flood(server.port, "application/json", head, &frame, 342, br#""}"#);
    assert_eq!(
        answer.status,
        400,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_small(&server);
}

/// Returns a package whose macro runs `print` with `out`, standard error, while the compiler runs;
/// cargo passes that output on.
fn printing_package(print: &str) -> Vec<u8> {
    let macros = format!(
        "use std::io::Write;\n#[proc_macro]\npub fn print(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n\
         let mut out = std::io::BufWriter::new(std::io::stderr());\n{print}\nDefault::default() }}\n"
    );
    let member = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{rest}")
    };
    let lockfile = "version = 4\n\n[[package]]\nname = \"macros\"\nversion = \"0.1.0\"\n\n[[package]]\n\
                    name = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"macros\",\n]\n";
    package(&[
        (
            "Cargo.toml",
            &member(
                "package",
                "[dependencies]\nmacros = { path = \"macros\" }\n",
            ),
        ),
        ("Cargo.lock", lockfile),
        ("src/main.rs", "macros::print!();\nfn main() {}\n"),
        (
            "macros/Cargo.toml",
            &member("macros", "[lib]\nproc-macro = true\n"),
        ),
        ("macros/src/lib.rs", &macros),
    ])
}

/// Numbered lines.
#[test]
fn a_million_lines_reach_a_fast_and_a_slow_reader() {
    let archive = printing_package(&format!(
        "for number in 0..{LINES} {{ writeln!(out, \"line {{number}}\").unwrap(); }}"
    ));
    let server = Server::start();
    let job = server.run(&Request::json(&archive, "package.tar")).job();
    let path = format!("/build/{job}/events");
    let read = |pause: Duration| {
        let (mut lines, mut events) = (0, 0);
        for (id, event) in Events::open(server.port, &path) {
            assert_eq!(id, Some(events));
            events += 1;
            let Some(number) = event["msg"]
                .as_str()
                .and_then(|it| it.strip_prefix("line "))
            else {
                continue;
            };
            assert_eq!(number, lines.to_string());
            lines += 1;
            if lines % 10_000 == 0 {
                thread::sleep(pause);
            }
        }
        lines
    };
    thread::scope(|scope| {
        let slow = scope.spawn(|| read(Duration::from_millis(100)));
        assert_eq!(read(Duration::ZERO), LINES);
        assert_eq!(slow.join().unwrap(), LINES);
    });
    let bundle = Bundle::read(&server.get(&format!("/build/{job}/result")).body, 0);
    let log = std::str::from_utf8(&bundle.files["build.log"]).unwrap();
    assert!(
        log.lines()
            .filter_map(|it| it.strip_prefix("line "))
            .eq((0..LINES).map(|it| it.to_string()))
    );
    assert_small(&server);
}

/// Readers that open the stream and never take a byte of it.
#[test]
fn readers_that_never_read_cost_nothing_and_hold_nobody_up() {
    const ABSENT: usize = 100;
    let print =
        format!("for number in 0..{LINES} {{ writeln!(out, \"line {{number}}\").unwrap(); }}");
    let server = Server::start();
    let job = server
        .run(&Request::json(&printing_package(&print), "package.tar"))
        .job();
    let path = format!("/build/{job}/events");
    let absent: Vec<_> = (0..ABSENT)
        .map(|_| Request::get(&path).send(server.port).unwrap())
        .collect();
    let lines = |events: Events| {
        let messages = events.filter_map(|(_, event)| event["msg"].as_str().map(str::to_owned));
        messages
            .filter(|message| message.starts_with("line "))
            .count()
    };
    // First while the log is printed, and again after the build, with the absent readers still
    // connected.
    assert_eq!(lines(Events::open(server.port, &path)), LINES);
    assert_eq!(lines(Events::open(server.port, &path)), LINES);
    assert_eq!(server.get("/health").body, b"ok");
    assert_small(&server);
    drop(absent);
}

/// A line of 200 MB arrives in pieces, which together are the line.
#[test]
fn a_giant_line_is_split_and_nothing_of_it_is_lost() {
    const MEGABYTES: usize = 200;
    let archive = printing_package(&format!(
        "for _ in 0..{MEGABYTES} {{ out.write_all(&[b'~'; 1_000_000]).unwrap(); }}"
    ));
    let server = Server::start();
    let job = server.run(&Request::json(&archive, "package.tar")).job();
    let mut printed = 0;
    for (_, event) in Events::open(server.port, &format!("/build/{job}/events")) {
        let message = event["msg"].as_str().unwrap_or_default();
        assert!(
            message.len() <= 16 << 10,
            "a line of {} bytes",
            message.len()
        );
        printed += message.bytes().filter(|byte| *byte == b'~').count();
    }
    assert_eq!(printed, MEGABYTES * 1_000_000);
    assert_small(&server);
}
