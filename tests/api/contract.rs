//! Routes, methods, problem documents, and the OpenAPI document.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use hyper::Method;
use kettle::api::route::{self, ROUTES};

use crate::support::{Appliance, fail};
use kettle::error_type::ErrorType;

#[test]
fn health_is_exactly_ok_under_every_prefix() {
    let appliance = Appliance::start();
    for path in [
        "/health",
        "/v1/health",
        "/api/health",
        "/health?x=y",
        "/%68ealth",
    ] {
        let response = appliance.get(path);
        assert_eq!((response.status, response.text()), (200, "ok"), "{path}");
        assert_eq!(response.header("content-type"), Some("text/plain"));
    }
    let head = appliance.ask("HEAD /health HTTP/1.1");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("2"))
    );
}

#[test]
fn ready_says_whether_a_submission_would_be_taken() {
    let appliance = Appliance::start();
    appliance.ready.store(false, Ordering::SeqCst);
    let unready = appliance.get("/ready");
    unready.is_problem(503, "not-ready");
    assert_eq!(unready.header("retry-after"), Some("2"));
    appliance.ready.store(true, Ordering::SeqCst);
    for path in ["/ready", "/v1/ready", "/api/ready"] {
        let ready = appliance.get(path);
        assert_eq!(
            (ready.status, ready.text(), ready.header("content-type")),
            (200, "ready", Some("text/plain"))
        );
        assert_eq!(appliance.ask(&format!("HEAD {path} HTTP/1.1")).status, 200);
    }
    let (running, _) = appliance.accepted();
    appliance.get("/ready").is_problem(404, "machine-taken");
    fail(running, ErrorType::BuildFailed);
    appliance.get("/ready").is_problem(404, "machine-taken");
    appliance.ready.store(false, Ordering::SeqCst);
    appliance.get("/ready").is_problem(404, "machine-taken");
}

#[test]
fn wrong_methods_get_405_with_allow_on_every_path() {
    let appliance = Appliance::start();
    for route in &ROUTES {
        let path = route
            .path
            .replace("{id}", &"0".repeat(32))
            .replace("{name}", "a/b");
        let allow: Vec<_> = route.methods.iter().map(|method| method.as_str()).collect();
        for prefix in ["", "/v1", "/api"] {
            for method in [
                "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
            ] {
                if allow.contains(&method) {
                    continue;
                }
                let response = appliance.ask(&format!("{method} {prefix}{path} HTTP/1.1"));
                assert_eq!(
                    response.header("allow"),
                    Some(allow.join(", ").as_str()),
                    "{method} {path}"
                );
                if method == "HEAD" {
                    assert_eq!(response.status, 405);
                } else {
                    response.is_problem(405, "method-not-allowed");
                }
            }
        }
    }
}

#[test]
fn unknown_paths_and_jobs_are_problems() {
    let appliance = Appliance::start();
    for path in [
        "/",
        "/healthz",
        "/build/x/y",
        "/v2/health",
        "/../health",
        "/build/%zz",
    ] {
        appliance.get(path).is_problem(404, "path-unknown");
    }
    let (_running, id) = appliance.accepted();
    let other = id.chars().rev().collect::<String>();
    for id in [
        other.as_str(),
        "",
        "stream%00",
        &id.to_uppercase().replace(char::is_numeric, "A"),
        &id[1..],
    ] {
        for path in [
            "",
            "/events",
            "/result",
            "/provenance.json",
            "/provenance.sigstore.json",
            "/sbom.cdx.json",
            "/evidence.json",
        ] {
            appliance
                .get(&format!("/build/{id}{path}"))
                .is_problem(404, "job-unknown");
        }
        appliance
            .get(&format!("/builds/{id}/artifacts/hello"))
            .is_problem(404, "job-unknown");
        appliance
            .get(&format!("/builds/{id}/build-config/Cargo.lock"))
            .is_problem(404, "job-unknown");
    }
}

#[test]
fn openapi_and_routes_agree_in_both_directions() {
    let appliance = Appliance::start();
    let response = appliance.get("/openapi.json");
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/json"))
    );
    let document = response.json();
    assert_eq!(document["openapi"], "3.1.0");
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let routed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .flat_map(|route| {
            route
                .methods
                .iter()
                .map(|method| (route.path.to_owned(), method.to_string()))
        })
        .collect();
    assert_eq!(documented, routed);
    let servers: Vec<_> = document["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| &server["url"])
        .collect();
    assert_eq!(servers, ["/", "/v1", "/api"]);
}

#[test]
fn openapi_says_what_every_request_can_be_refused_with() {
    let document: serde_json::Value = serde_json::from_str(kettle::api::OPENAPI).unwrap();
    let public = ["/health", "/ready", "/attestation", "/openapi.json"];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|(method, _)| *method != "head")
        {
            let responses = &operation["responses"];
            assert!(
                responses["400"].is_object() && responses["403"].is_object(),
                "{method} {path}"
            );
            assert_eq!(
                responses["426"].is_object(),
                !public.contains(&path.as_str()),
                "{method} {path}"
            );
        }
    }
}

#[test]
fn openapi_refers_to_nothing_that_is_missing_and_keeps_nothing_unused() {
    fn references<'a>(value: &'a serde_json::Value, found: &mut BTreeSet<&'a str>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(text) if name == "$ref" => drop(found.insert(text)),
                        _ => references(member, found),
                    }
                }
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|item| references(item, found))
            }
            _ => (),
        }
    }
    let document: serde_json::Value = serde_json::from_str(kettle::api::OPENAPI).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    for (kind, entries) in document["components"].as_object().unwrap() {
        for name in entries.as_object().unwrap().keys() {
            assert!(
                found.contains(format!("#/components/{kind}/{name}").as_str()),
                "{kind} {name} is not used"
            );
        }
    }
}

#[test]
fn openapi_knows_every_member_that_we_send() {
    let document: serde_json::Value = serde_json::from_str(kettle::api::OPENAPI).unwrap();
    let members = |schema: &str| -> BTreeSet<String> {
        document["components"]["schemas"][schema]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let keys = |value: &serde_json::Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let job = appliance.get(&format!("/build/{id}")).json();
    assert_eq!(keys(&job), members("Job"));
    assert_eq!(keys(&job["result"]), members("Success"));
    let failing = Appliance::start();
    let (running, id) = failing.accepted();
    let problem = failing.get(&format!("/build/{id}/result")).json();
    assert_eq!(keys(&problem), members("Problem"));
    fail(running, ErrorType::BuildFailed);
    assert_eq!(
        keys(&failing.get(&format!("/build/{id}")).json()["result"]),
        members("Failure")
    );
}

#[test]
fn every_problem_about_a_job_says_which() {
    let appliance = Appliance::start();
    let id = appliance.finished(b"bundle");
    let contract: serde_json::Value = serde_json::from_str(kettle::api::OPENAPI).unwrap();
    let problem = |path: &str, headers: &str, status: u16, code: &str| {
        let response = appliance.ask(&format!(
            "GET {} HTTP/1.1{headers}",
            path.replace("ID", &id)
        ));
        response.is_problem(status, code);
        assert_eq!(response.json()["build_id"], id, "{path}{headers}");
        let (endpoint, _) = route::find(&Method::GET, path.split('?').next().unwrap()).unwrap();
        let route = ROUTES
            .iter()
            .find(|route| route.endpoint == endpoint)
            .unwrap();
        let documented = &contract["paths"][route.path]["get"]["responses"][status.to_string()];
        assert!(documented.is_object(), "{status} of {}", route.path);
    };
    problem("/build/ID/evidence.json", "", 404, "evidence-unavailable");
    problem("/builds/ID/artifacts/other", "", 404, "artifact-unknown");
    problem(
        "/builds/ID/build-config/other",
        "",
        404,
        "build-config-unknown",
    );
    problem("/build/ID/events?from=x", "", 400, "event-number-invalid");
    problem("/build/ID/events?from=1&from=1", "", 400, "query-invalid");
    problem(
        "/build/ID/events",
        "\r\nLast-Event-ID: x",
        400,
        "event-number-invalid",
    );
    problem(
        "/build/ID/result",
        "\r\nRange: bytes=99-",
        416,
        "range-not-satisfiable",
    );
    problem(
        "/builds/ID/artifacts/empty",
        "\r\nRange: bytes=0-",
        416,
        "range-not-satisfiable",
    );
    std::fs::remove_file(appliance.work.path().join(format!("job-{id}/bundle"))).unwrap();
    problem("/v1/build/ID/result", "", 500, "internal");
    for path in [
        "/build/ID",
        "/v1/build/ID/result",
        "/builds/ID/artifacts/hello",
    ] {
        let path = path.replace("ID", &id);
        let refused = appliance.ask(&format!("DELETE {path} HTTP/1.1"));
        refused.is_problem(405, "method-not-allowed");
        assert_eq!(refused.json()["build_id"], id, "{path}");
    }
    // A client that does not know the id learns nothing.
    let refused = appliance.ask("DELETE /build/0 HTTP/1.1");
    refused.is_problem(405, "method-not-allowed");
    assert_eq!(refused.json().get("build_id"), None);
    for path in [
        "/build/0/result",
        "/builds/0/artifacts/hello",
        "/build//events",
        "/build/result",
    ] {
        assert_eq!(appliance.get(path).json().get("build_id"), None, "{path}");
    }
}

#[test]
fn attestation_checks_the_nonce_before_it_regrets() {
    let appliance = Appliance::start();
    appliance
        .get("/attestation?nonce=00ff")
        .is_problem(503, "attestation-unavailable");
    appliance
        .get("/attestation")
        .is_problem(400, "nonce-missing");
    for nonce in ["", "0", "xx", "0x00", &"00".repeat(17), "00%"] {
        let response = appliance.get(&format!("/attestation?nonce={nonce}"));
        assert_eq!(response.status, 400, "{nonce}");
    }
    appliance
        .get("/attestation?nonce=0")
        .is_problem(400, "nonce-invalid");
    appliance
        .get("/attestation?nonce=00&nonce=00")
        .is_problem(400, "query-invalid");
}
