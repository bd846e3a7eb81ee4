//! What does the plaintext port of the image serve? Everything that is not secret; for the rest it
//! says how to ask by TLS, before it reads anything of a body.

use std::sync::atomic::Ordering;

use kettle::api::route::ROUTES;

use crate::connections::connect_tls;
use crate::support::{Appliance, FORM, JSON, Response, post_head};

/// The paths that are served in plaintext too.
const PUBLIC: [&str; 4] = ["/health", "/ready", "/attestation", "/openapi.json"];

fn is_refused(response: &Response) {
    response.is_problem(426, "tls-required");
    assert_eq!(response.header("upgrade"), Some("TLS/1.2, HTTP/1.1"));
    assert_eq!(response.header("connection"), Some("Upgrade, close"));
}

#[test]
fn paths_without_secrets_are_served_in_plaintext_too() {
    let appliance = Appliance::in_the_image();
    for prefix in ["", "/v1", "/api"] {
        for (path, status) in [
            ("/health", 200),
            ("/ready", 200),
            ("/openapi.json", 200),
            ("/attestation?nonce=00", 503),
            ("/attestation", 400),
        ] {
            assert_eq!(
                appliance.get(&format!("{prefix}{path}")).status,
                status,
                "{path}"
            );
            assert_eq!(
                appliance
                    .ask(&format!("HEAD {prefix}{path} HTTP/1.1"))
                    .status,
                status,
                "{path}"
            );
        }
    }
}

#[test]
fn everything_else_is_refused_in_plaintext_with_the_commands_to_type() {
    let appliance = Appliance::in_the_image();
    let id = connect_tls(&appliance)
        .ask(&post_head("/build", JSON, "valid"), "valid")
        .json()["job_id"]
        .clone();
    let running = appliance.build();
    let id = id.as_str().unwrap();
    assert_eq!(running.id().to_string(), id);
    appliance.succeed(running, b"bundle");
    let private = ROUTES
        .iter()
        .map(|route| route.path)
        .filter(|path| !PUBLIC.contains(path));
    let paths = private.map(|path| path.replace("{id}", id).replace("{name}", "hello"));
    let unknown = ["/", "/nothing", "/healthz", "/ready/", "*", "/v2/health"].map(str::to_owned);
    for path in paths.chain(unknown) {
        for prefix in if path.starts_with('/') {
            &["", "/v1", "/api"][..]
        } else {
            &[""]
        } {
            for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
                let response = appliance.ask(&format!("{method} {prefix}{path} HTTP/1.1"));
                is_refused(&response);
                assert!(!response.text().contains(id) && response.json().get("build_id").is_none());
            }
            assert_eq!(
                appliance
                    .ask(&format!("HEAD {prefix}{path} HTTP/1.1"))
                    .status,
                426
            );
        }
    }
    for path in PUBLIC {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            is_refused(&appliance.ask(&format!("{method} {path} HTTP/1.1")));
        }
    }
    let detail = appliance.ask("GET /build HTTP/1.1").json()["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    let commands: Vec<_> = detail.lines().skip(1).collect();
    let [ask, verify, post] = commands[..] else {
        panic!("three commands: {detail}")
    };
    assert!(
        ask.contains("curl -k \"https://kettle/attestation?nonce=$NONCE\" -o session.json"),
        "{ask}"
    );
    assert!(
        verify.contains("kettle verify --session session.json --nonce $NONCE"),
        "{verify}"
    );
    assert!(
        post.contains("--pinnedpubkey \"$PIN\"") && post.ends_with("https://kettle/build"),
        "{post}"
    );
}

#[test]
fn a_source_in_plaintext_is_refused_before_it_is_read() {
    let appliance = Appliance::in_the_image();
    for path in [
        "/build",
        "/v1/build",
        "/api/build/stream",
        "/health",
        "/nothing",
    ] {
        for (kind, length) in [
            (JSON, "Content-Length: 1000000000"),
            (FORM, "Transfer-Encoding: chunked"),
            (FORM, "Content-Length: 1000000\r\nExpect: 100-continue"),
            ("X: no type", "Content-Length: 1"),
        ] {
            let mut client = appliance.connect();
            client.send_head(&format!("POST {path} HTTP/1.1\r\n{kind}\r\n{length}"));
            // Nothing of the body was sent, and the server does not request it.
            is_refused(&client.response(false));
            assert!(client.at_end());
        }
    }
    assert_eq!(appliance.counts.begun.load(Ordering::SeqCst), 0);
    assert_eq!(appliance.get("/ready").text(), "ready", "the slot is free");
    let accepted = connect_tls(&appliance).ask(&post_head("/build", JSON, "valid"), "valid");
    assert_eq!(accepted.status, 202);
}

#[test]
fn the_image_accepts_any_host_name_and_no_page_of_another_origin() {
    let appliance = Appliance::in_the_image();
    let ask = |fields: &str| {
        let mut client = connect_tls(&appliance);
        client.send(format!("GET /health HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes());
        client.response(false)
    };
    assert_eq!(ask("Host: build-7.example").text(), "ok");
    assert_eq!(
        ask("Host: build-7.example\r\nOrigin: https://build-7.example").text(),
        "ok"
    );
    ask("Host: build-7.example\r\nOrigin: https://other.example").is_problem(403, "cross-origin");
    ask("Host: build-7.example\r\nSec-Fetch-Site: same-site").is_problem(403, "cross-origin");
    // The refusal of a page comes first: it would not follow the advice.
    let page = appliance.ask("POST /build HTTP/1.1\r\nSec-Fetch-Site: cross-site");
    page.is_problem(403, "cross-origin");
}
