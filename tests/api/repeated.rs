//! Does a lost response, or a mistyped ref, cost a client the machine?

use std::sync::atomic::Ordering;

use kettle::error_type::ErrorType;

use crate::support::{Appliance, FORM, JSON, LONG_NONCE, fail, post_head};

fn with_key(key: &str) -> String {
    format!("{JSON}\r\nIdempotency-Key: {key}")
}

#[test]
fn the_same_request_gets_the_same_response_again() {
    let appliance = Appliance::start();
    let key = with_key(LONG_NONCE);
    let first = appliance.post("/build", &key, "valid long");
    let running = appliance.build();
    for key in [&key, &with_key(&LONG_NONCE.to_uppercase())] {
        let again = appliance.post("/build", key, "valid long");
        assert_eq!(
            (again.status, again.header("location"), again.text()),
            (202, first.header("location"), first.text())
        );
    }
    fail(running, ErrorType::BuildFailed);
    let again = appliance.post("/build", &key, "valid long");
    assert_eq!((again.status, again.text()), (202, first.text()));
    let waiting = format!("{FORM}\r\nIdempotency-Key: {LONG_NONCE}");
    let response = appliance.post("/build", &waiting, "valid long");
    response.is_problem(422, "build-failed");
    assert!(appliance.no_build());
    assert_eq!(appliance.counts.discarded.load(Ordering::SeqCst), 4);
}

#[test]
fn a_repeated_repository_is_not_resolved_again() {
    let appliance = Appliance::start();
    let key = with_key(LONG_NONCE);
    let body = "valid long repository v1";
    let first = appliance.post("/build", &key, body);
    let _running = appliance.build();
    let again = appliance.post("/build", &key, body);
    assert_eq!((again.status, again.text()), (202, first.text()));
    assert_eq!(appliance.refs.asked.load(Ordering::SeqCst), 1);
    let other = appliance.post("/build", &key, "valid long repository v2");
    other.is_problem(409, "slot-taken");
    assert_eq!(appliance.refs.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn another_request_or_key_gets_409_and_no_job() {
    let appliance = Appliance::start();
    appliance.post("/build", &with_key(LONG_NONCE), "valid long");
    let running = appliance.build();
    let id = running.id().to_string();
    let other = LONG_NONCE.replace("ff", "fe");
    for (headers, body) in [
        (JSON.to_owned(), "valid long"),
        (with_key(&other), "valid long"),
        (with_key("00ffab"), "valid long"),
        (with_key(LONG_NONCE), "valid"),
        (with_key(LONG_NONCE), "valid long repository"),
        (
            format!("{}\r\nIdempotency-Key: {LONG_NONCE}", with_key(LONG_NONCE)),
            "valid long",
        ),
    ] {
        let response = appliance.post("/build", &headers, body);
        response.is_problem(409, "slot-taken");
        assert!(!format!("{response:?}{}", response.text()).contains(&id));
    }
}

#[test]
fn a_short_nonce_names_no_job() {
    let appliance = Appliance::start();
    appliance.post("/build", &with_key("00ffab"), "valid");
    let _running = appliance.build();
    let response = appliance.post("/build", &with_key("00ffab"), "valid");
    response.is_problem(409, "slot-taken");
}

#[test]
fn a_body_is_read_for_the_key_of_the_job_only() {
    let appliance = Appliance::start();
    appliance.post("/build", &with_key(LONG_NONCE), "valid long");
    let _running = appliance.build();
    let mut client = appliance.connect();
    let head = format!("POST /build HTTP/1.1\r\n{JSON}\r\nContent-Length: 1000000000");
    client.send_head(&head);
    client.response(false).is_problem(409, "slot-taken");
    let mut client = appliance.connect();
    client.send_head(&format!("{head}\r\nIdempotency-Key: {LONG_NONCE}"));
    client.send(b"invalid");
    while appliance.counts.begun.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
}

#[test]
fn an_upload_goes_on_when_its_own_first_try_takes_the_slot() {
    let appliance = Appliance::start();
    let key = with_key(LONG_NONCE);
    let mut slow = appliance.connect();
    slow.send_head(&post_head("/build", &key, "valid long"));
    slow.send(b"valid");
    while appliance.counts.begun.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let first = appliance.post("/build", &key, "valid long");
    let _running = appliance.build();
    slow.send(b" long");
    let second = slow.response(false);
    assert_eq!((second.status, second.text()), (202, first.text()));
}

#[test]
fn a_ref_that_cannot_be_resolved_leaves_the_slot_free() {
    let appliance = Appliance::start();
    let response = appliance.post("/build", JSON, "valid repository missing");
    response.is_problem(422, "source-fetch-failed");
    assert_eq!(response.json()["error_type"], "SourceFetchFailed");
    assert_eq!(response.json()["error"], "no ref missing");
    let response = appliance.post("/build", JSON, "valid repository broken");
    response.is_problem(500, "internal");
    assert!(!response.text().contains("/internal/path"));
    assert!(appliance.no_build());
    let response = appliance.post("/build", JSON, "valid repository v1");
    assert_eq!(response.status, 202);
    appliance.build();
}

#[test]
fn one_ref_is_resolved_at_a_time_and_archives_do_not_wait() {
    let appliance = Appliance::start();
    let mut slow = appliance.connect();
    let body = "valid repository slow";
    slow.send_head(&post_head("/build", JSON, body));
    slow.send(body.as_bytes());
    while appliance.refs.asked.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let second = appliance.post("/build", JSON, "valid repository v1");
    second.is_problem(429, "ref-being-resolved");
    assert!(second.header("retry-after").is_some());
    let _running = appliance.accepted();
    slow.response(false).is_problem(409, "slot-taken");
}

#[test]
fn a_client_that_goes_away_keeps_its_turn_until_git_has_ended() {
    let appliance = Appliance::start();
    let mut slow = appliance.connect();
    let body = "valid repository slow";
    slow.send_head(&post_head("/build", JSON, body));
    slow.send(body.as_bytes());
    while appliance.refs.asked.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    drop(slow);
    let second = appliance.post("/build", JSON, "valid repository v1");
    second.is_problem(429, "ref-being-resolved");
    appliance.refs.go_on.store(true, Ordering::SeqCst);
    let status = loop {
        let response = appliance.post("/build", JSON, "valid repository v1");
        if response.status != 429 {
            break response.status;
        }
    };
    // Both requests were valid, and the first one may have been resolved before the service noticed
    // that nobody waits for it.
    assert!(matches!(status, 202 | 409), "{status}");
    appliance.build();
    assert!(appliance.no_build());
}

#[test]
fn one_address_has_a_limited_number_of_tries() {
    let appliance = Appliance::start();
    for _ in 0..kettle::api::limits::MAX_REF_TRIES {
        let response = appliance.post("/build", JSON, "valid repository missing");
        response.is_problem(422, "source-fetch-failed");
    }
    let response = appliance.post("/build", JSON, "valid repository v1");
    response.is_problem(429, "too-many-refs");
    appliance.accepted();
}
