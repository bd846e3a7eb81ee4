//! Machines in the middle: each tries everything that it could have, and gets nothing of the
//! source.

use std::sync::{Arc, Mutex};

use kettle::provenance::Nonce;
use kettle::simulator::Processor;
use serde_json::{Value, json};

use super::command::{
    Desk, MARKER, NO_FREE_MACHINE, NOTHING, REJECTED, Run, appliance, has_no_job, processor,
};
use super::fake::{Fake, Key, Request, session};
use super::harness::Server;

const NOTHING_MORE: &[&str] = &[];

fn open() -> Processor {
    Processor::open(processor().path()).unwrap()
}

/// The control: a source that is sent to the fake without verification arrives whole.
#[test]
fn the_recording_machine_records() {
    let key = Arc::new(Key::new());
    let answer = |_: usize, request: &Request| match request.line.starts_with("GET") {
        true => Some((200, json!("ok"))),
        false => Some((409, json!({"error": "taken", "error_type": "SlotTaken"}))),
    };
    let fake = Fake::start(move |_| Arc::clone(&key), answer);
    let desk = Desk::new();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("package", desk.source()).unwrap();
    std::fs::write(desk.path("source.tar"), archive.into_inner().unwrap()).unwrap();
    let mut command = desk.bare("source.tar", &fake.address());
    command.args(["--insecure-no-evidence", "--wait", "0"]);
    Run::of(&mut command).expect(NO_FREE_MACHINE, "SlotTaken");
    let seen = fake.seen().pop().unwrap();
    assert!(seen.line.starts_with("POST /build "), "{seen:?}");
    let marker = MARKER.as_bytes();
    assert!(
        seen.body
            .windows(marker.len())
            .any(|window| window == marker)
    );
}

/// It has its own key, and passes on the real machine's evidence about the real machine's key.
#[test]
fn with_another_key() {
    let (desk, server, key) = (Desk::new(), appliance(), Arc::new(Key::new()));
    let port = server.port;
    let relay = move |_: usize, request: &Request| {
        let path = request.line.split(' ').nth(1).unwrap().to_owned();
        Some((200, super::harness::Request::get(&path).run(port).json()))
    };
    let fake = Fake::start(move |_| Arc::clone(&key), relay);
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(REJECTED, "session-document");
    fake.got_nothing();
    assert!(desk.is_empty());
    // The same with its own key in the document.
    let key = Arc::new(Key::new());
    let public_key = key.public_key.clone();
    let forge = move |_: usize, request: &Request| {
        let path = request.line.split(' ').nth(1).unwrap().to_owned();
        let mut document = super::harness::Request::get(&path).run(port).json();
        let own = session(&open(), &public_key, &request.nonce());
        document["tls_public_key"] = own["tls_public_key"].clone();
        Some((200, document))
    };
    let fake = Fake::start(move |_| Arc::clone(&key), forge);
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(REJECTED, "session-key");
    fake.got_nothing();
    assert!(has_no_job(&server));
}

/// A genuine processor signs for another program under its own key.
#[test]
fn with_another_measurement() {
    let (desk, key) = (Desk::new(), Arc::new(Key::new()));
    let public_key = key.public_key.clone();
    let mut other = open();
    other.measurement = kettle::snp::measurement::LaunchMeasurement::from_bytes([0xa5; 48]);
    let other = Mutex::new(other);
    let answer = move |_: usize, request: &Request| {
        Some((
            200,
            session(&other.lock().unwrap(), &public_key, &request.nonce()),
        ))
    };
    let fake = Fake::start(move |_| Arc::clone(&key), answer);
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(REJECTED, "measurement-unknown");
    fake.got_nothing();
    // A missing trust root is not believed either.
    let key = Arc::new(Key::new());
    let public_key = key.public_key.clone();
    let answer = move |_: usize, request: &Request| {
        Some((200, session(&open(), &public_key, &request.nonce())))
    };
    let fake = Fake::start(move |_| Arc::clone(&key), answer);
    Run::of(&mut desk.bare("package", &fake.address())).expect(REJECTED, "issuer-unknown");
    fake.got_nothing();
    assert!(desk.is_empty());
}

/// It returns evidence that was true under another nonce.
#[test]
fn with_a_replayed_session() {
    let (desk, key) = (Desk::new(), Arc::new(Key::new()));
    let old = session(
        &open(),
        &key.public_key,
        &Nonce::parse(&"00".repeat(16)).unwrap(),
    );
    let fake = Fake::start(
        move |_| Arc::clone(&key),
        move |_, _| Some((200, old.clone())),
    );
    let run = desk.build(&fake.address(), NOTHING_MORE);
    run.expect(REJECTED, "nonce-not-in-report");
    fake.got_nothing();
    // Each run asks with its own nonce.
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(REJECTED, "nonce-not-in-report");
    let nonces: Vec<_> = fake.seen().iter().map(Request::nonce).collect();
    assert!(nonces.len() == 2 && nonces[0] != nonces[1] && nonces[0].as_bytes().len() == 16);
}

/// Evidence about a build is not evidence about a session.
#[test]
fn with_evidence_about_a_build() {
    let (desk, key) = (Desk::new(), Arc::new(Key::new()));
    let public_key = key.public_key.clone();
    let answer = move |_: usize, request: &Request| {
        use kettle::attester::Attester as _;
        let nonce = request.nonce();
        let mut document = session(&open(), &public_key, &nonce);
        let data = kettle::provenance::report_data(&public_key, &nonce);
        let evidence = open().attest(&data).unwrap();
        document["evidence"] =
            serde_json::to_value(evidence.envelope()).unwrap()["evidence"].take();
        Some((200, document))
    };
    let fake = Fake::start(move |_| Arc::clone(&key), answer);
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(REJECTED, "report-data-tag");
    fake.got_nothing();
}

/// The verified key is used once; every later connection has another one.
#[test]
fn with_a_key_that_is_swapped_after_the_evidence() {
    let (desk, keys) = (Desk::new(), [Arc::new(Key::new()), Arc::new(Key::new())]);
    let public_key = keys[0].public_key.clone();
    let answer = move |_: usize, request: &Request| match request.line.starts_with("GET /att") {
        true => Some((200, session(&open(), &public_key, &request.nonce()))),
        false => Some((202, json!({"job_id": "00".repeat(16)}))),
    };
    let fake = Fake::start(move |number| Arc::clone(&keys[number.min(1)]), answer);
    let run = desk.build(&fake.address(), NOTHING_MORE);
    run.expect(NOTHING, "is not the one that was verified");
    fake.got_nothing();
    assert_eq!(
        (fake.seen().len(), *fake.connections.lock().unwrap()),
        (1, 2),
        "no other try"
    );
    assert!(desk.is_empty());
}

/// The key is swapped once the build runs: nothing is believed after that.
#[test]
fn with_a_key_that_is_swapped_after_the_submission() {
    let (desk, keys) = (Desk::new(), [Arc::new(Key::new()), Arc::new(Key::new())]);
    let public_key = keys[0].public_key.clone();
    let answer = move |_: usize, request: &Request| match request.line.starts_with("GET /att") {
        true => Some((200, session(&open(), &public_key, &request.nonce()))),
        false => Some((202, json!({"job_id": "00".repeat(16)}))),
    };
    let fake = Fake::start(
        move |number| Arc::clone(&keys[usize::from(number > 1)]),
        answer,
    );
    let run = desk.build(&fake.address(), NOTHING_MORE);
    run.expect(NOTHING, "is not the one that was verified");
    assert_eq!(fake.seen().len(), 2);
    assert!(desk.is_empty());
}

/// A redirect is not followed.
#[test]
fn with_a_redirect() {
    let (desk, key) = (Desk::new(), Arc::new(Key::new()));
    let fake = Fake::start(move |_| Arc::clone(&key), |_, _| Some((307, json!({}))));
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(NOTHING, "status 307");
    fake.got_nothing();
}

/// The control: the processor's own service is believed under the same options.
#[test]
fn the_real_machine_is_accepted() {
    let (desk, server): (Desk, Server) = (Desk::new(), appliance());
    let address = format!("https://127.0.0.1:{}", server.tls_port);
    desk.build(&address, NOTHING_MORE).expect(0, "ACCEPTED");
}

/// A submission whose confirmation was lost is sent again under the same key.
#[test]
fn a_lost_confirmation_is_asked_for_under_the_same_key() {
    let (desk, key) = (Desk::new(), Arc::new(Key::new()));
    let public_key = key.public_key.clone();
    let answer = move |number: usize, request: &Request| -> Option<(u16, Value)> {
        match (number, request.line.starts_with("GET /att")) {
            (_, true) => Some((200, session(&open(), &public_key, &request.nonce()))),
            (1 | 2, _) => None,
            _ => Some((409, json!({"error": "taken", "error_type": "SlotTaken"}))),
        }
    };
    let fake = Fake::start(move |_| Arc::clone(&key), answer);
    desk.build(&fake.address(), NOTHING_MORE)
        .expect(NOTHING, "perhaps by this very build");
    let posts: Vec<_> = fake
        .seen()
        .into_iter()
        .filter(|it| it.line.starts_with("POST /build "))
        .collect();
    assert_eq!(posts.len(), 3);
    let contents: Vec<_> = posts.iter().map(content).collect();
    assert!(
        contents.iter().all(|it| *it == contents[0]),
        "the same submission"
    );
    let key = posts[0].header("idempotency-key");
    assert!(
        key.len() == 32
            && posts
                .iter()
                .all(|post| post.header("idempotency-key") == key)
    );
    let nonce = format!("name=\"nonce\"\r\n\r\n{key}\r\n");
    assert!(
        String::from_utf8_lossy(&posts[0].body).contains(&nonce),
        "the nonce is the key"
    );
}

/// Returns a body without its boundary, which is random in each attempt.
fn content(post: &Request) -> Vec<u8> {
    let boundary = post
        .header("content-type")
        .split("boundary=")
        .nth(1)
        .unwrap()
        .as_bytes();
    let mut content = post.body.clone();
    while let Some(at) = content
        .windows(boundary.len())
        .position(|window| window == boundary)
    {
        content.drain(at..at + boundary.len());
    }
    content
}
