//! The API under fire: requests whose framing two readers could read differently, requests over a
//! limit, names that are paths, connections that hang. Each gets its response or its end, and the
//! server goes on.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use kettle::api::limits::{MAX_CONNECTIONS, MAX_HEADER_BYTES, MAX_HEADERS};

use crate::support::{Appliance, FORM, JSON, Response, fail};

/// The longest time that anything here takes, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request that is smuggled after another one; no other response here has its status.
const SMUGGLED: &str = "DELETE /health HTTP/1.1\r\nHost: kettle\r\n\r\n";
const SMUGGLED_STATUS: u16 = 405;
/// The length of a line that is longer than any accepted one.
const LONG: usize = 2 * MAX_HEADER_BYTES;

/// Sends bytes, ends our side, and returns all bytes that come until the server has ended its own.
fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Whoever is refused early may find the connection closed.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Returns the statuses of all responses on one connection.
fn statuses(appliance: &Appliance, request: &str) -> Vec<u16> {
    let answer =
        exchange(appliance.addresses.plaintext, request.as_bytes()).expect("an end in time");
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|rest| rest[..3].parse().ok())
        .collect()
}

fn is_well(appliance: &Appliance) {
    assert_eq!(appliance.get("/health").text(), "ok");
}

#[test]
fn a_body_has_one_length_or_the_request_is_refused() {
    let appliance = Appliance::start();
    let chunks = "5\r\nvalid\r\n0\r\n\r\n";
    for (name, headers, body) in [
        (
            "two lengths",
            "Content-Length: 0\r\nContent-Length: 5",
            "valid",
        ),
        ("two lengths in one", "Content-Length: 0, 5", "valid"),
        ("a length with a sign", "Content-Length: +5", "valid"),
        ("a negative length", "Content-Length: -1", ""),
        ("a length in hexadecimal", "Content-Length: 0x5", "valid"),
        (
            "a length that overflows",
            "Content-Length: 18446744073709551621",
            "valid",
        ),
        (
            "chunks by another name",
            "Transfer-Encoding: xchunked",
            chunks,
        ),
        (
            "chunks not last",
            "Transfer-Encoding: chunked, identity",
            chunks,
        ),
        (
            "chunks twice",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: x",
            chunks,
        ),
        ("another coding", "Transfer-Encoding: gzip", chunks),
        (
            "no coding and chunks",
            "Transfer-Encoding: identity, chunked",
            chunks,
        ),
        (
            "a coding in two lines",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            chunks,
        ),
        (
            "a coding with a parameter",
            "Transfer-Encoding: chunked;q=1",
            chunks,
        ),
        (
            "chunks of chunks",
            "Transfer-Encoding: chunked, chunked",
            chunks,
        ),
        (
            "a length and chunks",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            chunks,
        ),
        (
            "chunks and a length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            chunks,
        ),
        (
            "the same length twice",
            "Content-Length: 5\r\nContent-Length: 5",
            "valid",
        ),
        ("a coding folded", "Transfer-Encoding:\r\n chunked", chunks),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked",
            chunks,
        ),
        ("a NUL in a value", "X: a\0b\r\nContent-Length: 5", "valid"),
        ("a NUL in a name", "X\0: a\r\nContent-Length: 5", "valid"),
        (
            "a carriage return in a value",
            "X: a\rContent-Length: 5",
            "valid",
        ),
        (
            "a line without a colon",
            "nothing\r\nContent-Length: 5",
            "valid",
        ),
    ] {
        let request = format!(
            "POST /build HTTP/1.1\r\nHost: kettle\r\n{JSON}\r\n{headers}\r\n\r\n{body}{SMUGGLED}"
        );
        assert_eq!(statuses(&appliance, &request), [400], "{name}");
        is_well(&appliance);
    }
    assert!(appliance.no_build());
}

/// Only one reader finds the end of the chunks, so nothing that follows them is a request.
#[test]
fn a_body_in_chunks_is_the_last_of_its_connection() {
    for (path, status) in [
        ("/build", 202),
        ("/build/stream", 200),
        ("/health", 405),
        ("/nothing", 404),
    ] {
        let appliance = Appliance::start();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: kettle\r\n{JSON}\r\nTransfer-Encoding: chunked");
        let request = format!("{head}\r\n\r\n5\r\nvalid\r\n0\r\n\r\n{SMUGGLED}");
        let found = std::thread::scope(|scope| {
            let asking = scope.spawn(|| statuses(&appliance, &request));
            if status < 300 {
                fail(
                    appliance.build(),
                    kettle::error_type::ErrorType::BuildFailed,
                );
            }
            asking.join().unwrap()
        });
        assert_eq!(found, [status], "{path}");
        is_well(&appliance);
    }
}

/// A request with a body that the route does not read ends its connection, or its body is skipped
/// exactly.
#[test]
fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let appliance = Appliance::start();
    let length = SMUGGLED.len();
    for first in [
        "GET /health",
        "GET /nothing",
        "POST /health",
        "DELETE /health",
    ] {
        let request = format!(
            "{first} HTTP/1.1\r\nHost: kettle\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
        );
        assert_eq!(statuses(&appliance, &request).len(), 1, "{first}");
        is_well(&appliance);
    }
}

#[test]
fn chunks_are_what_they_say_or_the_body_is_broken() {
    let appliance = Appliance::start();
    let long = "x".repeat(LONG);
    for (name, body) in [
        (
            "a size that overflows",
            "FFFFFFFFFFFFFFFFF\r\nvalid\r\n0\r\n\r\n".to_owned(),
        ),
        ("a negative size", "-5\r\nvalid\r\n0\r\n\r\n".to_owned()),
        (
            "a size that is no number",
            "five\r\nvalid\r\n0\r\n\r\n".to_owned(),
        ),
        ("no size", "\r\nvalid\r\n0\r\n\r\n".to_owned()),
        (
            "a chunk that goes on",
            "5\r\nvalid!\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a chunk that ends with a line feed alone",
            "5\r\nvalid\n0\r\n\r\n".to_owned(),
        ),
        (
            "an extension that is too long",
            format!("5;{long}\r\nvalid\r\n0\r\n\r\n"),
        ),
        (
            "an extension with a line feed",
            "5;a\nb\r\nvalid\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "trailers without end",
            format!("5\r\nvalid\r\n0\r\n{}\r\n", "X: y\r\n".repeat(20_000)),
        ),
        ("an end that does not come", "5\r\nvalid\r\n".to_owned()),
        ("half a chunk", "FF\r\nvalid".to_owned()),
    ] {
        let head =
            format!("POST /build HTTP/1.1\r\nHost: kettle\r\n{JSON}\r\nTransfer-Encoding: chunked");
        let found = statuses(&appliance, &format!("{head}\r\n\r\n{body}{SMUGGLED}"));
        assert_eq!(found, [400], "{name}");
        is_well(&appliance);
    }
    assert!(appliance.no_build());
}

#[test]
fn a_request_line_is_one_or_the_connection_ends() {
    let appliance = Appliance::start();
    let long = "x".repeat(LONG);
    for (name, request, expected) in [
        ("HTTP/0.9", "GET /health\r\n\r\n".to_owned(), &[400][..]),
        (
            "HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
            &[400],
        ),
        (
            "HTTP/3.7",
            "GET /health HTTP/3.7\r\n\r\n".to_owned(),
            &[400],
        ),
        ("no version", "GET /health HTTP/\r\n\r\n".to_owned(), &[400]),
        (
            "two spaces",
            "GET  /health HTTP/1.1\r\n\r\n".to_owned(),
            &[400],
        ),
        ("a tab", "GET\t/health HTTP/1.1\r\n\r\n".to_owned(), &[400]),
        (
            "a NUL in the path",
            "GET /hea\0lth HTTP/1.1\r\n\r\n".to_owned(),
            &[400],
        ),
        (
            "a control in the method",
            "G\x1bT /health HTTP/1.1\r\n\r\n".to_owned(),
            &[400],
        ),
        (
            "a folded header",
            "GET /health HTTP/1.1\r\nX: a\r\n b\r\n\r\n".to_owned(),
            &[400],
        ),
        ("nothing but line ends", "\r\n".repeat(10), &[]),
        (
            "a path that is too long",
            format!("GET /{long} HTTP/1.1\r\n\r\n"),
            &[414],
        ),
        (
            "a query that is too long",
            format!("GET /health?{long} HTTP/1.1\r\n\r\n"),
            &[414],
        ),
        (
            "a method that is too long",
            format!("{long} /health HTTP/1.1\r\n\r\n"),
            &[431],
        ),
        (
            "a name that is too long",
            format!("GET /health HTTP/1.1\r\n{long}: x\r\n\r\n"),
            &[431],
        ),
        (
            "too many headers",
            format!(
                "GET /health HTTP/1.1\r\n{}\r\n",
                "X: y\r\n".repeat(MAX_HEADERS + 1)
            ),
            &[431],
        ),
        (
            "an absolute target",
            "GET http://kettle/health HTTP/1.1\r\nHost: kettle\r\n\r\n".to_owned(),
            &[200],
        ),
        (
            "a target without a path",
            "GET http://kettle HTTP/1.1\r\nHost: kettle\r\n\r\n".to_owned(),
            &[404],
        ),
        (
            "a tunnel",
            "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n".to_owned(),
            &[404],
        ),
        (
            "the server itself",
            "OPTIONS * HTTP/1.1\r\nHost: kettle\r\n\r\n".to_owned(),
            &[404],
        ),
        (
            "a trace",
            "TRACE /health HTTP/1.1\r\nHost: kettle\r\nSecret: x\r\n\r\n".to_owned(),
            &[405],
        ),
        (
            "an upgrade",
            "GET /health HTTP/1.1\r\nHost: kettle\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
                .to_owned(),
            &[200],
        ),
        (
            "lines that end with a line feed alone",
            "GET /health HTTP/1.1\nHost: kettle\n\n".to_owned(),
            &[400],
        ),
        (
            "an old version",
            "GET /health HTTP/1.0\r\nHost: kettle\r\n\r\n".to_owned(),
            &[200],
        ),
        (
            "an old version without a host",
            "GET /health HTTP/1.0\r\n\r\n".to_owned(),
            &[400],
        ),
    ] {
        let found =
            exchange(appliance.addresses.plaintext, request.as_bytes()).expect("an end in time");
        let text = String::from_utf8_lossy(&found).into_owned();
        let found = text
            .split("HTTP/1.")
            .skip(1)
            .filter_map(|rest| rest[2..5].parse().ok())
            .collect::<Vec<u16>>();
        assert_eq!(found, expected, "{name}");
        assert!(!text.contains("Secret"), "{name}: a request is repeated");
        is_well(&appliance);
    }
}

#[test]
fn bytes_after_a_refused_post_are_never_taken_for_a_request() {
    let appliance = Appliance::start();
    // The body is longer than what is read of it; its rest looks like a request.
    for (headers, status) in [
        (JSON, 400),
        (FORM, 400),
        ("Content-Type: text/plain", 415),
        ("X: no type", 415),
    ] {
        let head =
            format!("POST /build HTTP/1.1\r\nHost: kettle\r\n{headers}\r\nContent-Length: 9");
        let found = statuses(&appliance, &format!("{head}\r\n\r\nnot valid{SMUGGLED}"));
        if headers == JSON {
            assert_eq!(found, [status], "{headers}");
        }
        assert!(!found.contains(&SMUGGLED_STATUS), "{headers}: {found:?}");
        is_well(&appliance);
    }
    // After a response that keeps the connection open, the next request gets its own response.
    let twice = format!("GET /health HTTP/1.1\r\nHost: kettle\r\n\r\n{SMUGGLED}");
    assert_eq!(statuses(&appliance, &twice), [200, SMUGGLED_STATUS]);
}

#[test]
fn ranges_are_one_or_none() {
    let appliance = Appliance::start();
    let bundle: Vec<u8> = (0..=255).collect();
    let path = format!("/build/{}/result", appliance.finished(&bundle));
    let many = format!("bytes={}", vec!["0-0"; 3000].join(","));
    for (range, status, length) in [
        ("bytes=0-0,1-1,2-2", 200, 256),
        (many.as_str(), 200, 256),
        ("bytes=0-,0-,0-,0-", 200, 256),
        ("bytes=18446744073709551615-", 416, 0),
        ("bytes=18446744073709551616-", 416, 0),
        ("bytes=0-99999999999999999999999999", 206, 256),
        ("bytes=-99999999999999999999999999", 206, 256),
        ("bytes=-0", 416, 0),
        ("bytes=255-254", 200, 256),
        ("bytes=255-", 206, 1),
        ("bytes=256-", 416, 0),
        ("bytes=--1", 200, 256),
        ("bytes=0x1-0x2", 200, 256),
        ("bytes=0-0\u{7f}", 400, 0),
        ("bytes", 200, 256),
        ("", 200, 256),
    ] {
        let found: Response = appliance.ask(&format!("GET {path} HTTP/1.1\r\nRange: {range}"));
        let range = &range[..range.len().min(40)];
        assert_eq!(found.status, status, "{range}");
        assert!(
            [400, 416].contains(&status) || found.body.len() == length,
            "{range}: {}",
            found.body.len()
        );
        is_well(&appliance);
    }
    let twice = appliance.ask(&format!(
        "GET {path} HTTP/1.1\r\nRange: bytes=0-0\r\nRange: bytes=5-9"
    ));
    assert!(
        [200, 206].contains(&twice.status) && [1, 256].contains(&twice.body.len()),
        "{twice:?}"
    );
}

#[test]
fn ids_and_names_are_compared_and_never_paths() {
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let other = "0".repeat(32);
    let upper = id.to_uppercase();
    let long = "a/".repeat(10_000);
    let ids = [
        "..",
        ".",
        "",
        "%2e%2e",
        "%2e%2e%2f",
        "%00",
        "*",
        "-1",
        "1",
        " ",
        "%20",
        "%ff",
        "%c3%a4",
        "ä",
        "job-",
        "null",
        other.as_str(),
        upper.as_str(),
    ];
    for wrong in ids.into_iter().filter(|wrong| *wrong != id) {
        for path in [
            "/build/ID/result",
            "/build/ID/events",
            "/builds/ID/artifacts/hello",
            "/build/ID",
        ] {
            let found = appliance.ask(&format!("GET {} HTTP/1.1", path.replace("ID", wrong)));
            assert!(
                [400, 404, 405].contains(&found.status),
                "{wrong:?} in {path}: {found:?}"
            );
        }
    }
    for wrong in [
        format!("{id}%00"),
        format!("{id}%20"),
        format!("%20{id}"),
        format!("{id}/../{id}"),
        format!("./{id}"),
    ] {
        let found = appliance.get(&format!("/build/{wrong}/result"));
        assert_eq!(found.status, 404, "{wrong}");
    }
    for name in [
        "..",
        "../bundle",
        "%2e%2e/bundle",
        "%2e%2e%2fbundle",
        "..%5cbundle",
        "%00",
        "hello%00",
        "hello%00.txt",
        "//hello",
        "/hello",
        "hello//",
        "hello/.",
        "./hello",
        "%2fetc%2fpasswd",
        "hello%20",
        "HELLO",
        "bundle",
        "artifact-0",
        "events",
        "*",
        "%ff",
        "%c0%ae%c0%ae/bundle",
        "h%C3%A9llo",
        "hell%6f/..",
        long.as_str(),
    ] {
        for directory in ["artifacts", "build-config"] {
            let found = appliance.get(&format!("/builds/{id}/{directory}/{name}"));
            assert_eq!(found.status, 404, "{directory}/{name}");
        }
    }
    // Another way to write the same name is the same name.
    assert_eq!(
        appliance
            .get(&format!("/builds/{id}/artifacts/%68ello"))
            .text(),
        "ELF"
    );
    is_well(&appliance);
}

#[test]
fn a_half_closed_connection_gets_its_response_and_ends() {
    let appliance = Appliance::start();
    // `exchange` ends its side before it reads.
    assert_eq!(
        statuses(&appliance, "GET /health HTTP/1.1\r\nHost: kettle\r\n\r\n"),
        [200]
    );
    let (running, id) = appliance.accepted();
    let request = format!("GET /build/{id}/events HTTP/1.1\r\nHost: kettle\r\n\r\n");
    fail(running, kettle::error_type::ErrorType::BuildFailed);
    assert_eq!(statuses(&appliance, &request), [200]);
    // One that ends in the middle of its header, or of its body, is not waited for.
    assert!(statuses(&appliance, "GET /health HTTP/1.1\r\nHo").is_empty());
    let form = format!(
        "POST /build HTTP/1.1\r\nHost: kettle\r\n{FORM}\r\nContent-Length: 1000\r\n\r\n--x"
    );
    assert_eq!(statuses(&appliance, &form), [409]);
    is_well(&appliance);
}

/// Handshake records that are invalid, of refused versions, or cut off.
#[test]
fn a_handshake_that_is_none_costs_one_connection() {
    let appliance = Appliance::start();
    let record = |kind: u8, version: u16, body: &[u8]| {
        [
            &[kind],
            &version.to_be_bytes()[..],
            &(body.len() as u16).to_be_bytes(),
            body,
        ]
        .concat()
    };
    // A ClientHello: version, random, no session, suites, no compression, and no extensions, so
    // none of TLS 1.3.
    let hello = |version: u16, suites: &[u16]| {
        let suites: Vec<u8> = suites
            .iter()
            .flat_map(|suite| suite.to_be_bytes())
            .collect();
        let body = [
            &version.to_be_bytes()[..],
            &[7; 32],
            &[0],
            &(suites.len() as u16).to_be_bytes(),
            &suites,
            &[1, 0],
        ];
        let body = body.concat();
        let length = (body.len() as u32).to_be_bytes();
        record(22, 0x0301, &[&[1], &length[1..], &body].concat())
    };
    for (name, bytes) in [
        ("nothing", Vec::new()),
        (
            "a request in plaintext",
            b"GET /health HTTP/1.1\r\n\r\n".to_vec(),
        ),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        ("SSL 3", hello(0x0300, &[0x002f])),
        ("TLS 1.0", hello(0x0301, &[0xc013, 0x002f])),
        ("TLS 1.1", hello(0x0302, &[0xc013, 0x002f])),
        (
            "TLS 1.2 with a suite that has no secrecy",
            hello(0x0303, &[0x003c, 0x002f]),
        ),
        ("TLS 1.2 with no suite", hello(0x0303, &[])),
        (
            "a renegotiation before there is anything",
            record(22, 0x0303, &[0, 0, 0, 0]),
        ),
        ("data before a handshake", record(23, 0x0303, &[0; 64])),
        (
            "a record that is too long",
            record(22, 0x0303, &[1; 20_000]),
        ),
        (
            "a message that never ends",
            record(22, 0x0303, &[1, 0xff, 0xff, 0xff]),
        ),
        ("an empty record", record(22, 0x0303, &[])),
        ("an unknown kind", record(99, 0x0303, &[1, 2, 3])),
        ("an alert", record(21, 0x0303, &[2, 40])),
        (
            "noise",
            (0..4096_u32)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect(),
        ),
    ] {
        let answer = match exchange(appliance.addresses.tls, &bytes) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Vec::new(),
            answer => answer.expect("an end in time"),
        };
        // The server sends nothing or an alert: never a handshake that goes on, never HTTP.
        assert!(answer.is_empty() || answer[0] == 21, "{name}: {answer:?}");
        is_well(&appliance);
    }
    assert_eq!(
        crate::connections::connect_tls(&appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok"
    );
}

#[test]
fn handshakes_that_stall_leave_room_for_others() {
    let appliance = Appliance::start();
    let stalled = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(appliance.addresses.tls).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let held: Vec<_> = (0..MAX_CONNECTIONS / 2)
        .map(|_| stalled(&[22, 3, 1, 2, 0, 1]))
        .collect();
    is_well(&appliance);
    assert_eq!(
        crate::connections::connect_tls(&appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok"
    );
    drop(held);
    is_well(&appliance);
}
