//! Which client gets the slot, and what does each kind of client get back?

use std::sync::Barrier;
use std::sync::atomic::Ordering;

use kettle::error_type::ErrorType;

use crate::support::{Appliance, Client, FORM, JSON, fail, post_head};

#[test]
fn json_gets_202_with_links() {
    for path in ["/build", "/v1/build", "/api/build"] {
        let appliance = Appliance::start();
        let response = appliance.post(path, JSON, "valid");
        let id = appliance.build().id().to_string();
        assert_eq!(response.status, 202);
        assert_eq!(
            response.header("location"),
            Some(format!("/build/{id}").as_str())
        );
        assert_eq!(response.header("preference-applied"), None);
        let expected = serde_json::json!({
            "job_id": id, "nonce": "00ffab", "events": format!("/build/{id}/events"),
            "result": format!("/build/{id}/result"),
        });
        assert_eq!(response.json(), expected);
    }
}

#[test]
fn a_body_in_chunks_is_requested_and_accepted() {
    let appliance = Appliance::start();
    let mut client = appliance.connect();
    client.send_head(&format!(
        "POST /build HTTP/1.1\r\n{JSON}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue"
    ));
    assert_eq!(client.head().status, 100);
    client.send(b"3\r\nval\r\n2\r\nid\r\n0\r\n\r\n");
    let response = client.response(false);
    assert_eq!(
        (response.status, response.header("connection")),
        (202, Some("close"))
    );
    assert!(client.at_end());
}

#[test]
fn forms_get_202_where_they_ask_for_it() {
    for (headers, applied) in [
        ("Accept: application/json", None),
        ("Prefer: respond-async", Some("respond-async")),
        (
            "Prefer: respond-async\r\nAccept: text/event-stream",
            Some("respond-async"),
        ),
    ] {
        let appliance = Appliance::start();
        let response = appliance.post(
            "/build",
            &format!("{FORM}\r\n{headers}"),
            "valid without nonce",
        );
        assert_eq!(
            (response.status, response.header("preference-applied")),
            (202, applied)
        );
        assert_eq!(response.json()["nonce_source"], "appliance");
        assert_eq!(response.header("kettle-nonce"), Some("00ffab"));
    }
}

#[test]
fn a_waiting_form_gets_the_bundle_itself() {
    let appliance = Appliance::start();
    let bundle = vec![7; 300_000];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            appliance
                .connect()
                .ask(&post_head("/build", FORM, "valid"), "valid")
        });
        let running = appliance.build();
        let id = running.id().to_string();
        assert!(!waiting.is_finished());
        appliance.succeed(running, &bundle);
        let response = waiting.join().unwrap();
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some("application/gzip"))
        );
        assert_eq!(response.header("kettle-job-id"), Some(id.as_str()));
        assert_eq!(response.header("content-length"), Some("300000"));
        assert_eq!(
            response.header("content-disposition"),
            Some("attachment; filename=\"hello-1.0.tar.gz\"")
        );
        assert!(response.body == bundle);
    });
}

#[test]
fn a_waiting_form_learns_why_there_is_no_bundle() {
    for (error_type, status, code) in [
        (ErrorType::BuildFailed, 422, "build-failed"),
        (ErrorType::OutOfMemory, 422, "out-of-memory"),
        (ErrorType::AttestationFailed, 500, "attestation-failed"),
        (ErrorType::Internal, 500, "internal"),
    ] {
        let appliance = Appliance::start();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| appliance.post("/build", FORM, "valid"));
            let running = appliance.build();
            let id = running.id().to_string();
            fail(running, error_type);
            let response = waiting.join().unwrap();
            response.is_problem(status, code);
            let document = response.json();
            assert_eq!(document["error_type"], error_type.as_str());
            assert_eq!(
                (&document["build_id"], &document["error"]),
                (&id.into(), &"it does not compile".into())
            );
        });
    }
}

#[test]
fn a_client_that_goes_away_does_not_end_the_build() {
    for headers in [
        FORM.to_owned(),
        format!("{JSON}\r\nAccept: text/event-stream"),
    ] {
        let appliance = Appliance::start();
        let mut client = appliance.connect();
        client.send_head(&post_head("/build", &headers, "valid"));
        client.send(b"valid");
        let running = appliance.build();
        let id = running.id().to_string();
        drop(client);
        appliance.succeed(running, b"bundle");
        assert_eq!(
            appliance.get(&format!("/build/{id}")).json()["state"],
            "succeeded"
        );
    }
}

#[test]
fn a_refused_request_does_not_take_the_slot() {
    let appliance = Appliance::start();
    for _ in 0..3 {
        appliance
            .post("/build", JSON, "nonsense")
            .is_problem(400, "json-malformed");
    }
    assert!(appliance.no_build());
    appliance.accepted();
}

#[test]
fn a_taken_slot_stays_taken_and_never_tells_the_job() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    fail(running, ErrorType::BuildFailed);
    for path in ["/build", "/build/stream", "/v1/build/stream"] {
        for headers in [JSON, FORM, "Content-Type: text/plain", ""] {
            let response = appliance.post(path, headers, "valid");
            response.is_problem(409, "slot-taken");
            assert!(!format!("{response:?}{}", response.text()).contains(&id));
            assert_eq!(response.json().get("build_id"), None);
        }
    }
    assert_eq!(appliance.counts.begun.load(Ordering::SeqCst), 1);
}

#[test]
fn responds_409_before_the_body_is_read() {
    let appliance = Appliance::start();
    let _running = appliance.accepted();
    for headers in [
        "Content-Length: 1000000000",
        "Transfer-Encoding: chunked",
        "Content-Length: 9\r\nExpect: 100-continue",
    ] {
        let mut client = appliance.connect();
        client.send_head(&format!("POST /build HTTP/1.1\r\n{JSON}\r\n{headers}"));
        let response = client.response(false);
        response.is_problem(409, "slot-taken");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.at_end());
    }
}

#[test]
fn a_client_that_sends_on_still_sees_the_409() {
    let appliance = Appliance::start();
    let _running = appliance.accepted();
    let mut client = appliance.connect();
    let body = vec![0; 20 << 20];
    client.send_head(&format!(
        "POST /build HTTP/1.1\r\n{JSON}\r\nContent-Length: {}",
        body.len()
    ));
    client.send(&body);
    client.response(false).is_problem(409, "slot-taken");
}

#[test]
fn an_upload_that_is_overtaken_gets_409_at_once() {
    let appliance = Appliance::start();
    let mut slow = appliance.connect();
    slow.send_head(&format!(
        "POST /build HTTP/1.1\r\n{JSON}\r\nContent-Length: 1000"
    ));
    slow.send(b"valid, but");
    while appliance.counts.begun.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let _running = appliance.accepted();
    slow.response(false).is_problem(409, "slot-taken");
}

#[test]
fn of_fifty_simultaneous_requests_one_is_accepted() {
    let appliance = Appliance::start();
    let mut clients: Vec<Client<_>> = (0..50).map(|_| appliance.connect()).collect();
    let barrier = Barrier::new(clients.len());
    for client in &mut clients {
        client.send_head(&post_head("/build", JSON, "valid"));
    }
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    barrier.wait();
                    client.send(b"valid");
                    client.response(false).status
                })
            })
            .collect();
        asking
            .into_iter()
            .map(|asking| asking.join().unwrap())
            .collect()
    });
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (202, &[409; 49][..]));
    let _running = appliance.build();
    assert!(appliance.no_build());
}

#[test]
fn a_job_that_cannot_be_set_up_leaves_the_slot_free_and_says_nothing_internal() {
    let appliance = Appliance::start();
    let work = appliance.work.path().to_owned();
    std::fs::remove_dir(&work).unwrap();
    let response = appliance.post("/build", JSON, "valid");
    response.is_problem(500, "internal");
    assert!(!response.text().contains(work.to_str().unwrap()));
    assert_eq!(appliance.counts.discarded.load(Ordering::SeqCst), 1);
    std::fs::create_dir(&work).unwrap();
    appliance.accepted();
}

#[test]
fn the_job_document_follows_the_job() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let path = format!("/build/{id}");
    let before = appliance.get(&path).json();
    assert!(before["accepted_at"].as_str().unwrap().ends_with('Z'));
    let expected = serde_json::json!({
        "job_id": id, "build_id": id, "state": "running", "phase": "queued", "nonce": "00ffab",
        "accepted_at": before["accepted_at"], "finished_at": null, "events": format!("/build/{id}/events"),
        "result_url": format!("/build/{id}/result"), "result": null,
    });
    assert_eq!(before, expected);
    running.emit(kettle::job::Event::Detect("cargo")).unwrap();
    assert_eq!(appliance.get(&path).json()["phase"], "detect");
    appliance.succeed(running, b"bundle");
    let after = appliance.get(&path).json();
    assert_eq!(
        (&after["state"], &after["phase"]),
        (&"succeeded".into(), &"complete".into())
    );
    assert!(after["finished_at"].is_string());
    let result = &after["result"];
    assert_eq!(
        (&result["status"], &result["toolchain"]),
        (&"success".into(), &"cargo".into())
    );
    assert_eq!(
        (&result["provenance"]["z"], &result["evidence"]),
        (&1.into(), &serde_json::Value::Null)
    );
    assert_eq!(
        result["artifacts"][1]["download_url"],
        format!("/builds/{id}/artifacts/lib/a%20b%25%3F%C3%BC.so")
    );
    assert_eq!(
        (
            &result["artifacts"][0]["size"],
            &result["build_config"]["name"]
        ),
        (&3.into(), &"Cargo.lock".into())
    );
}

#[test]
fn a_lost_pipeline_fails_the_job() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    drop(running);
    let job = appliance.get(&format!("/build/{id}")).json();
    let expected = serde_json::json!({
        "build_id": id, "job_id": id, "status": "failed", "error_type": "Internal",
        "error": "the appliance failed to complete the build",
    });
    assert_eq!(
        (&job["state"], &job["result"]),
        (&"failed".into(), &expected)
    );
}
