//! How long does the server wait? Each claim takes as long as the limit that it is about, so they
//! run at once.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kettle::api::limits::{EVENT_HEARTBEAT, HEADER_TIMEOUT, TLS_HANDSHAKE_TIMEOUT};

use crate::support::{Appliance, JSON, post_head};

/// Waits for the end of the server's output, which has to come about `limit` after `start`, a
/// moment before the server began to wait; returns the output.
fn ends_after(limit: Duration, start: Instant, mut stream: impl std::io::Read) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let elapsed = start.elapsed();
    assert!(elapsed >= limit && elapsed < 3 * limit, "{elapsed:?}");
    answer
}

#[test]
fn patience_has_an_end_where_it_should_and_nowhere_else() {
    let claims: [fn(); 5] = [
        a_header_that_does_not_end_ends_the_connection,
        an_idle_connection_ends,
        a_tls_handshake_that_does_not_begin_ends_the_connection,
        a_reader_of_events_gets_a_comment_when_nothing_happens,
        a_waiting_client_is_not_idle,
    ];
    // The scope fails when a claim does.
    std::thread::scope(|scope| {
        for claim in claims {
            scope.spawn(claim);
        }
    });
}

fn a_header_that_does_not_end_ends_the_connection() {
    let appliance = Appliance::start();
    let start = Instant::now();
    let mut client = appliance.connect();
    client.send(b"GET /health HTTP/1.1\r\nHost: ");
    let answer = ends_after(HEADER_TIMEOUT, start, client.into_inner());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));
}

fn an_idle_connection_ends() {
    let appliance = Appliance::start();
    let start = Instant::now();
    let mut client = appliance.connect();
    assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
    ends_after(HEADER_TIMEOUT, start, client.into_inner());
}

fn a_tls_handshake_that_does_not_begin_ends_the_connection() {
    let appliance = Appliance::start();
    let start = Instant::now();
    let stream = TcpStream::connect(appliance.addresses.tls).unwrap();
    stream
        .set_read_timeout(Some(6 * TLS_HANDSHAKE_TIMEOUT))
        .unwrap();
    assert_eq!(ends_after(TLS_HANDSHAKE_TIMEOUT, start, stream), b"");
}

fn a_reader_of_events_gets_a_comment_when_nothing_happens() {
    let appliance = Appliance::start();
    let (_running, id) = appliance.accepted();
    let start = Instant::now();
    let mut client = appliance.connect();
    client.send_head(&format!("GET /build/{id}/events?from=2 HTTP/1.1"));
    assert_eq!(client.head().status, 200);
    let chunk = client.chunk().unwrap();
    assert!(
        chunk.starts_with(b":") && chunk.ends_with(b"\n\n"),
        "{chunk:?}"
    );
    assert!(start.elapsed() >= EVENT_HEARTBEAT, "{:?}", start.elapsed());
}

fn a_waiting_client_is_not_idle() {
    let appliance = Appliance::start();
    let mut client = appliance.connect();
    let form = crate::support::FORM;
    client.send_head(&post_head("/build", form, "valid"));
    client.send(b"valid");
    let running = appliance.build();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // A connection that goes idle now ends when the waiting one would, if it counted as idle.
        scope.spawn(|| {
            let mut idle = appliance.connect();
            idle.ask("GET /health HTTP/1.1", "");
            let _ = idle.into_inner().read(&mut [0]);
            sender.send(()).unwrap();
        });
        receiver.recv().unwrap();
        appliance.succeed(running, b"bundle");
    });
    assert_eq!(client.response(false).text(), "bundle");
    assert_eq!(appliance.post("/build", JSON, "valid").status, 409);
}
