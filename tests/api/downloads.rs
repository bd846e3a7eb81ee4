//! Downloads of the result and its files: whole, in parts, and refused.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::digest::Sha256Digest;
use kettle::error_type::ErrorType;
use kettle::job::{Event, MAX_LINE_BYTES};

use crate::support::{Appliance, fail, line};

#[test]
fn the_result_comes_with_everything_that_a_client_needs_to_resume() {
    let appliance = Appliance::start();
    let bundle: Vec<u8> = (0..200_000_u32)
        .map(|number| (number * 7 % 251) as u8)
        .collect();
    let path = format!("/build/{}/result", appliance.finished(&bundle));
    let response = appliance.get(&path);
    assert_eq!(response.status, 200);
    assert!(response.body == bundle);
    let digest = Sha256Digest::of(&bundle);
    let repr_digest = format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()));
    let etag = format!("\"{digest}\"");
    for (name, value) in [
        ("content-type", "application/gzip"),
        ("content-length", "200000"),
        ("etag", &etag),
        ("accept-ranges", "bytes"),
        ("repr-digest", &repr_digest),
        (
            "content-disposition",
            "attachment; filename=\"hello-1.0.tar.gz\"",
        ),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    let head = appliance.ask(&format!("HEAD {path} HTTP/1.1"));
    let without_date = |response: &crate::support::Response| {
        response
            .headers
            .iter()
            .filter(|(name, _)| name != "date")
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (head.status, without_date(&head)),
        (200, without_date(&response))
    );

    let ask = |headers: &str| appliance.ask(&format!("GET {path} HTTP/1.1\r\n{headers}"));
    let part = ask("Range: bytes=150000-");
    assert_eq!(
        (part.status, part.header("content-range")),
        (206, Some("bytes 150000-199999/200000"))
    );
    assert_eq!(
        (part.header("content-length"), part.header("etag")),
        (Some("50000"), Some(etag.as_str()))
    );
    assert!(part.body == bundle[150_000..]);
    assert!(ask("Range: bytes=-5").body == bundle[199_995..]);
    assert_eq!(ask("Range: bytes=3-3").body, &bundle[3..4]);
    assert_eq!(ask("Range: bytes=0-1,5-6").status, 200);

    let beyond = ask("Range: bytes=200000-");
    beyond.is_problem(416, "range-not-satisfiable");
    assert_eq!(beyond.header("content-range"), Some("bytes */200000"));

    assert_eq!(
        ask(&format!("Range: bytes=0-0\r\nIf-Range: {etag}")).status,
        206
    );
    assert_eq!(ask("Range: bytes=0-0\r\nIf-Range: \"other\"").status, 200);
    let unchanged = ask(&format!("If-None-Match: \"other\", {etag}"));
    assert_eq!(
        (
            unchanged.status,
            unchanged.header("etag"),
            unchanged.body.len()
        ),
        (304, Some(etag.as_str()), 0)
    );
    assert_eq!(ask("If-None-Match: \"other\"").status, 200);
}

#[test]
fn artifacts_are_found_by_their_recorded_names_only() {
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let get = |name: &str| appliance.get(&format!("/v1/builds/{id}/artifacts/{name}"));
    let hello = get("hello");
    assert_eq!((hello.status, hello.text()), (200, "ELF"));
    assert_eq!(
        hello.header("content-disposition"),
        Some("attachment; filename=\"hello\"")
    );
    assert_eq!(
        hello.header("content-type"),
        Some("application/octet-stream")
    );
    for name in ["lib/a%20b%25%3F%C3%BC.so", "lib%2Fa%20b%25%3F%c3%bc.so"] {
        assert_eq!(get(name).text(), "shared");
    }
    let empty = get("empty");
    assert_eq!(
        (
            empty.status,
            empty.header("content-length"),
            empty.body.len()
        ),
        (200, Some("0"), 0)
    );
    for name in [
        "hello/",
        "./hello",
        "x/../hello",
        "..%2Fevents",
        "%2E%2E/bundle",
        "/etc/passwd",
        "lib",
        "Hello",
        "",
    ] {
        get(name).is_problem(404, "artifact-unknown");
    }
    for item in appliance.get(&format!("/build/{id}")).json()["result"]["artifacts"]
        .as_array()
        .unwrap()
    {
        let response = appliance.get(item["download_url"].as_str().unwrap());
        assert_eq!(item["sha256"], Sha256Digest::of(&response.body).to_string());
        assert_eq!(item["size"], response.body.len());
    }
}

#[test]
fn documents_are_the_exact_bytes() {
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let provenance = appliance.get(&format!("/build/{id}/provenance.json"));
    assert_eq!(
        (provenance.status, provenance.text()),
        (200, "{\"z\":1,\"a\":\"\\u0000\"}\n")
    );
    assert_eq!(provenance.header("content-type"), Some("application/json"));
    let sbom = appliance.get(&format!("/build/{id}/sbom.cdx.json"));
    assert_eq!((sbom.status, sbom.text()), (200, "{\"bill\":1}\n"));
    assert_eq!(sbom.header("content-type"), Some("application/json"));
    let envelope = appliance.get(&format!("/build/{id}/provenance.sigstore.json"));
    assert_eq!(
        (envelope.status, envelope.text()),
        (200, "{\"signed\":true}\n")
    );
    assert_eq!(envelope.header("content-type"), Some("application/json"));
    let part = appliance.ask(&format!(
        "GET /build/{id}/provenance.json HTTP/1.1\r\nRange: bytes=1-3"
    ));
    assert_eq!((part.status, part.text()), (206, "\"z\""));
    let config = appliance.get(&format!("/builds/{id}/build-config/Cargo.lock"));
    assert_eq!((config.status, config.text()), (200, "version = 4\n"));
    appliance
        .get(&format!("/builds/{id}/build-config/Cargo.toml"))
        .is_problem(404, "build-config-unknown");
    appliance
        .get(&format!("/build/{id}/evidence.json"))
        .is_problem(404, "evidence-unavailable");
}

#[test]
fn downloads_have_the_headers_that_the_contract_says_and_no_others() {
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let contract: serde_json::Value = serde_json::from_str(kettle::api::OPENAPI).unwrap();
    for (path, name) in [
        ("/build/{id}/result", ""),
        ("/build/{id}/provenance.json", ""),
        ("/build/{id}/provenance.sigstore.json", ""),
        ("/build/{id}/sbom.cdx.json", ""),
        ("/builds/{id}/artifacts/{name}", "hello"),
        ("/builds/{id}/build-config/{name}", "Cargo.lock"),
    ] {
        let response = appliance.get(&path.replace("{id}", &id).replace("{name}", name));
        assert_eq!(response.status, 200, "{path}");
        let documented = &contract["paths"][path]["get"]["responses"]["200"]["headers"];
        for header in contract["components"]["headers"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert_eq!(
                response.header(&header.to_lowercase()).is_some(),
                documented[header].is_object(),
                "{header} of {path}"
            );
        }
    }
}

#[test]
fn the_output_is_there_while_the_build_runs_and_when_it_failed() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let log = || {
        let response = appliance.get(&format!("/v1/build/{id}/build.log"));
        assert_eq!(response.status, 200);
        let content_type = response.header("content-type");
        assert_eq!(content_type, Some("text/plain; charset=utf-8"));
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        response.text().to_owned()
    };
    assert_eq!(log(), "");
    line(&running, "one \u{1b}").unwrap();
    line(&running, "").unwrap();
    running.emit(Event::Note("a note")).unwrap();
    running.emit(Event::Provenance("not in the log")).unwrap();
    assert_eq!(log(), "one \\u{1b}\n\n[kettle] a note\n");
    for number in 0..10_000 {
        line(&running, &format!("line {number}")).unwrap();
    }
    line(&running, &"x".repeat(MAX_LINE_BYTES)).unwrap();
    let job = Arc::clone(running.job());
    fail(running, ErrorType::BuildFailed);
    let mut of_a_bundle = Vec::new();
    job.log().write_build_log(&mut of_a_bundle).unwrap();
    assert!(log().as_bytes() == of_a_bundle);
    let head = appliance.ask(&format!("HEAD /build/{id}/build.log HTTP/1.1"));
    assert_eq!(head.status, 200);
}

#[test]
fn there_is_nothing_before_the_end_nor_after_a_failure() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let paths = [
        format!("/build/{id}/result"),
        format!("/build/{id}/provenance.json"),
        format!("/build/{id}/provenance.sigstore.json"),
        format!("/build/{id}/sbom.cdx.json"),
        format!("/build/{id}/evidence.json"),
        format!("/builds/{id}/artifacts/hello"),
        format!("/builds/{id}/build-config/Cargo.lock"),
    ];
    let unavailable = || {
        for path in &paths {
            let response = appliance.get(path);
            response.is_problem(404, "result-unavailable");
            assert_eq!(response.json()["build_id"], id);
        }
    };
    unavailable();
    fail(running, ErrorType::BuildFailed);
    unavailable();
}

#[test]
fn a_file_that_differs_from_its_record_is_an_internal_error() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let directory = running.directory().to_owned();
    appliance.succeed(running, b"bundle");
    std::fs::write(directory.join("bundle"), b"longer than before").unwrap();
    let response = appliance.get(&format!("/build/{id}/result"));
    response.is_problem(500, "internal");
    assert!(!response.text().contains(directory.to_str().unwrap()));
}
