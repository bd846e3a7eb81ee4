//! Who may ask, and in which words? Requests that two readers could read in two ways are refused
//! before any of them is routed, and so are requests of a web page for its reader; over both ports.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;

use crate::connections::connect_tls;
use crate::support::{Appliance, JSON, post_head};

/// A request that follows every raw request. No other response here has the status of its response.
const SMUGGLED: &str = "DELETE /health HTTP/1.1\r\nHost: kettle\r\n\r\n";
const SMUGGLED_STATUS: u16 = 405;

/// The port that a request is sent to.
#[derive(Clone, Copy, Debug)]
enum Port {
    Plaintext,
    Tls,
}

const PORTS: [Port; 2] = [Port::Plaintext, Port::Tls];

/// Sends bytes, ends this side, and returns everything that comes until the server has ended its
/// own.
fn exchange(appliance: &Appliance, port: Port, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    // Whoever is refused early may find the connection closed.
    match port {
        Port::Plaintext => {
            let mut stream = TcpStream::connect(appliance.addresses.plaintext).unwrap();
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            stream.read_to_end(&mut answer).unwrap();
        }
        Port::Tls => {
            let mut stream = connect_tls(appliance).into_inner();
            let _ = stream.write_all(bytes);
            stream.conn.send_close_notify();
            let _ = stream.flush();
            stream.read_to_end(&mut answer).unwrap();
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all responses on one connection.
fn statuses(responses: &str) -> Vec<u16> {
    // A problem document may speak of versions, too.
    responses
        .split("HTTP/1.")
        .skip(1)
        .filter_map(|rest| rest.get(2..5)?.parse().ok())
        .collect()
}

/// Each row has a name, the request as it is sent, and the expected status and code.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    // Lines.
    (
        "bare line feeds everywhere",
        "GET /health HTTP/1.1\nHost: kettle\n\n",
        400,
        "header-malformed",
    ),
    (
        "a bare line feed after the request line",
        "GET /health HTTP/1.1\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a bare line feed after a field",
        "GET /health HTTP/1.1\r\nX: a\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a bare line feed at the end",
        "GET /health HTTP/1.1\r\nHost: kettle\r\n\n",
        400,
        "header-malformed",
    ),
    (
        "a bare line feed before the request",
        "\nGET /health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a bare carriage return",
        "GET /health HTTP/1.1\r\nX: a\rHost: b\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "two carriage returns",
        "GET /health HTTP/1.1\r\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a folded line",
        "GET /health HTTP/1.1\r\nHost: kettle\r\nX: a\r\n b: c\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a folded first line",
        "GET /health HTTP/1.1\r\n Host: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a NUL in a value",
        "GET /health HTTP/1.1\r\nHost: kettle\r\nX: a\0b\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a form feed in a value",
        "GET /health HTTP/1.1\r\nHost: kettle\r\nX: a\x0cb\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a space before a colon",
        "GET /health HTTP/1.1\r\nHost : kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a field without a colon",
        "GET /health HTTP/1.1\r\nHost: kettle\r\nX\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a field without a name",
        "GET /health HTTP/1.1\r\nHost: kettle\r\n: x\r\n\r\n",
        400,
        "header-malformed",
    ),
    // The request line.
    ("HTTP/0.9", "GET /health\r\n\r\n", 400, "header-malformed"),
    (
        "HTTP/2",
        "GET /health HTTP/2.0\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "HTTP/1.2",
        "GET /health HTTP/1.2\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a version in small letters",
        "GET /health http/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "two spaces",
        "GET  /health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a tab for a space",
        "GET\t/health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a space at the end",
        "GET /health HTTP/1.1 \r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a space at the beginning",
        " GET /health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    (
        "a target that is not ASCII",
        "GET /h\u{e9}alth HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "header-malformed",
    ),
    // The host.
    (
        "no host",
        "GET /health HTTP/1.1\r\n\r\n",
        400,
        "host-missing",
    ),
    (
        "no host in HTTP/1.0",
        "GET /health HTTP/1.0\r\n\r\n",
        400,
        "host-missing",
    ),
    (
        "two hosts",
        "GET /health HTTP/1.1\r\nHost: kettle\r\nHost: other\r\n\r\n",
        400,
        "host-repeated",
    ),
    (
        "the same host twice",
        "GET /health HTTP/1.1\r\nHost: kettle\r\nhost: kettle\r\n\r\n",
        400,
        "host-repeated",
    ),
    (
        "two hosts in one field",
        "GET /health HTTP/1.1\r\nHost: kettle, other\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "an empty host",
        "GET /health HTTP/1.1\r\nHost:\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "a host with a user",
        "GET /health HTTP/1.1\r\nHost: kettle@other\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "a host with a path",
        "GET /health HTTP/1.1\r\nHost: kettle/x\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "a port that is no number",
        "GET /health HTTP/1.1\r\nHost: kettle:+80\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "a target at another host",
        "GET http://other/health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "a target of another scheme",
        "GET ftp://kettle/health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "a target with a user",
        "GET http://a@kettle/health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        400,
        "host-invalid",
    ),
    (
        "an unknown name",
        "GET /health HTTP/1.1\r\nHost: other.example\r\n\r\n",
        403,
        "cross-origin",
    ),
    // The end of the request.
    (
        "no coding and chunks",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nTransfer-Encoding: identity, chunked\r\n\r\n5\r\nvalid\r\n0\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    (
        "chunks and then no coding",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nvalid\r\n0\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    (
        "chunks twice",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    (
        "chunks with a parameter",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    (
        "chunks in HTTP/1.0",
        "POST /build HTTP/1.0\r\nHost: kettle\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    (
        "a length and chunks",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    (
        "two lengths",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nvalid",
        400,
        "body-framing-invalid",
    ),
    (
        "the same length twice",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nvalid",
        400,
        "body-framing-invalid",
    ),
    (
        "two lengths in one field",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nContent-Length: 5, 5\r\n\r\nvalid",
        400,
        "body-framing-invalid",
    ),
    (
        "a length with a sign",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nContent-Length: +5\r\n\r\nvalid",
        400,
        "body-framing-invalid",
    ),
    (
        "a length without digits",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nContent-Length:\r\n\r\n",
        400,
        "body-framing-invalid",
    ),
    // The caller's origin.
    (
        "a page of another site",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
    (
        "a page of a site beside",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nSec-Fetch-Site: same-site\r\nContent-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
    (
        "a page of another origin",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nOrigin: http://other.example\r\nContent-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
    (
        "a page that hides its origin",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nOrigin: null\r\nContent-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
    (
        "a page of another port",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nOrigin: http://kettle:8080\r\nContent-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
    (
        "a page of another port of TLS",
        "POST /build HTTP/1.1\r\nHost: kettle\r\nOrigin: https://kettle:8080\r\nContent-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
    (
        "a page that was given the appliance's address under its own name",
        "POST /build HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Length: 5\r\n\r\nvalid",
        403,
        "cross-origin",
    ),
];

#[test]
fn raw_requests_that_two_readers_read_differently_are_refused_before_they_are_routed() {
    let appliance = Appliance::start();
    for (name, request, status, code) in REFUSED {
        for port in PORTS {
            let responses = exchange(&appliance, port, format!("{request}{SMUGGLED}").as_bytes());
            assert_eq!(
                statuses(&responses),
                [*status],
                "{name}, {port:?}: {responses}"
            );
            let problem = format!("\"type\":\"/problems/{code}\"");
            assert!(
                responses.contains(&problem),
                "{name}, {port:?}: {responses}"
            );
            assert!(
                responses.contains("\r\nconnection: close\r\n"),
                "{name}, {port:?}: {responses}"
            );
        }
    }
    assert!(REFUSED.len() >= 26);
    assert_eq!(
        appliance.counts.begun.load(Ordering::SeqCst),
        0,
        "a body was read"
    );
    assert!(appliance.no_build());
    assert_eq!(appliance.get("/health").text(), "ok");
}

#[test]
fn raw_requests_that_are_unusual_and_clear_are_served() {
    let appliance = Appliance::start();
    for (name, request) in [
        (
            "empty lines before it",
            "\r\n\r\nGET /health HTTP/1.1\r\nHost: kettle\r\n\r\n",
        ),
        (
            "a name in large letters",
            "GET /health HTTP/1.1\r\nHOST: KETTLE\r\n\r\n",
        ),
        (
            "spaces and tabs around a value",
            "GET /health HTTP/1.1\r\nHost: \t kettle \t\r\n\r\n",
        ),
        (
            "an empty value",
            "GET /health HTTP/1.1\r\nHost: kettle\r\nX:\r\n\r\n",
        ),
        (
            "a value beyond ASCII",
            "GET /health HTTP/1.1\r\nHost: kettle\r\nX: \u{e9}\r\n\r\n",
        ),
        (
            "an address",
            "GET /health HTTP/1.1\r\nHost: 192.0.2.1:8443\r\n\r\n",
        ),
        (
            "an address in brackets",
            "GET /health HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
        ),
        (
            "localhost",
            "GET /health HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
        ),
        (
            "a person who typed it",
            "GET /health HTTP/1.1\r\nHost: kettle\r\nSec-Fetch-Site: none\r\n\r\n",
        ),
        (
            "a page of its own",
            "GET /health HTTP/1.1\r\nHost: kettle\r\nSec-Fetch-Site: same-origin\r\n\r\n",
        ),
        (
            "no body, said so",
            "GET /health HTTP/1.1\r\nHost: kettle\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        for port in PORTS {
            let responses = exchange(&appliance, port, format!("{request}{SMUGGLED}").as_bytes());
            assert_eq!(
                statuses(&responses),
                [200, SMUGGLED_STATUS],
                "{name}, {port:?}: {responses}"
            );
        }
    }
    for (port, origin) in [
        (Port::Plaintext, "http://kettle"),
        (Port::Tls, "https://kettle"),
    ] {
        let request = format!("GET /health HTTP/1.1\r\nHost: kettle\r\nOrigin: {origin}\r\n\r\n");
        assert_eq!(
            statuses(&exchange(&appliance, port, request.as_bytes())),
            [200],
            "{origin}"
        );
        let (_, other) = origin.split_once("://").unwrap();
        for scheme in [
            "ftp",
            if matches!(port, Port::Tls) {
                "http"
            } else {
                "https"
            },
        ] {
            let request = format!(
                "GET /health HTTP/1.1\r\nHost: kettle\r\nOrigin: {scheme}://{other}\r\n\r\n"
            );
            assert_eq!(
                statuses(&exchange(&appliance, port, request.as_bytes())),
                [403],
                "{scheme}, {port:?}"
            );
        }
    }
    // In the old version a connection ends with its first response.
    let old = format!("GET /health HTTP/1.0\r\nHost: kettle\r\n\r\n{SMUGGLED}");
    for port in PORTS {
        assert_eq!(
            statuses(&exchange(&appliance, port, old.as_bytes())),
            [200],
            "{port:?}"
        );
    }
}

/// The header comes in two writes, cut at each byte, after another request or first.
#[test]
fn the_place_where_a_header_is_cut_makes_no_difference() {
    let appliance = Appliance::start();
    let refused = "HEAD /health HTTP/1.1\r\nHost: kettle\nX: y\r\n\r\n";
    let served = "GET /health HTTP/1.1\r\nHost: kettle\r\n\r\n";
    for (request, expected) in [
        (refused.to_owned(), &[400][..]),
        (format!("{served}{refused}"), &[200, 400]),
    ] {
        for cut in 1..request.len() {
            let mut stream = TcpStream::connect(appliance.addresses.plaintext).unwrap();
            stream.set_nodelay(true).unwrap();
            let (first, second) = request.as_bytes().split_at(cut);
            stream.write_all(first).unwrap();
            std::thread::yield_now();
            let _ = stream.write_all(second);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(
                statuses(&String::from_utf8_lossy(&answer)),
                expected,
                "{cut}"
            );
        }
    }
}

#[test]
fn a_web_page_neither_submits_nor_reads_for_its_reader() {
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let form = "Content-Type: multipart/form-data; boundary=x";
    for foreign in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        for path in ["/build", "/v1/build", "/api/build/stream"] {
            for kind in [JSON, form, "Content-Type: text/plain"] {
                appliance
                    .post(path, &format!("{kind}\r\n{foreign}"), "valid")
                    .is_problem(403, "cross-origin");
            }
        }
        for path in ["", "/events", "/result", "/provenance.json"] {
            let asked = appliance.ask(&format!("GET /build/{id}{path} HTTP/1.1\r\n{foreign}"));
            asked.is_problem(403, "cross-origin");
            assert_eq!(asked.json().get("build_id"), None);
        }
        let preflight =
            format!("OPTIONS /build HTTP/1.1\r\n{foreign}\r\nAccess-Control-Request-Method: POST");
        let refused = appliance.ask(&preflight);
        refused.is_problem(403, "cross-origin");
        let allowed = |(name, _): &(String, String)| name.starts_with("access-control-");
        assert!(!refused.headers.iter().any(allowed), "{refused:?}");
    }
    assert_eq!(
        appliance.counts.begun.load(Ordering::SeqCst),
        1,
        "only the first body was read"
    );
}

/// The name in a page's URL now resolves to this machine, but `Host` still has the name.
#[test]
fn a_dns_name_that_changes_to_this_machine_reaches_nothing() {
    let appliance = Appliance::start();
    let head = post_head("/build", JSON, "valid");
    for name in [
        "rebound.example",
        "rebound.example:80",
        "localhost.rebound.example",
        "127.0.0.1.rebound.example",
    ] {
        for port in PORTS {
            let own = "Sec-Fetch-Site: same-origin";
            let scheme = if matches!(port, Port::Tls) {
                "https"
            } else {
                "http"
            };
            let request = format!(
                "{head}\r\nHost: {name}\r\n{own}\r\nOrigin: {scheme}://{name}\r\n\r\nvalid"
            );
            let responses = exchange(&appliance, port, request.as_bytes());
            assert_eq!(statuses(&responses), [403], "{name}, {port:?}");
            assert!(
                responses.contains("--host "),
                "it says what to do: {responses}"
            );
        }
    }
    assert!(appliance.no_build());
    appliance.accepted();
}
