//! Clients that follow, leave, and come back.

use std::process::Command;

use crate::harness::{Events, NONCE, Request, Server, package};

const MAIN: (&str, &str) = ("src/main.rs", "fn main() {}\n");

#[test]
fn the_stream_passes_the_milestones_in_order_and_tls_shows_the_same_job() {
    let server = Server::start();
    let request = Request::json(&package(&[MAIN]), "package.tar").at("/build/stream");
    let events: Vec<_> = Events::of(request.send(server.port).unwrap())
        .map(|(_, event)| event)
        .collect();
    let (end, infos) = events.split_last().unwrap();
    assert!(infos.iter().all(|event| event["type"] == "info"));
    assert_eq!(
        (&end["type"], &end["result"]["status"]),
        (&"complete".into(), &"success".into()),
        "{end}"
    );
    assert_eq!(end["result"]["nonce"], NONCE);
    // There is no platform here, so nothing is attested.
    let milestones = [
        "Initializing build environment",
        "Detecting project type",
        "Running cargo build --release",
        "Generating provenance",
    ];
    let place = |text: &&str| {
        infos
            .iter()
            .position(|event| event["message"] == **text)
            .expect(text)
    };
    let places: Vec<_> = milestones.iter().map(place).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(infos[0]["job_id"], end["result"]["job_id"]);

    let path = format!("/build/{}", end["result"]["job_id"].as_str().unwrap());
    let url = format!("https://127.0.0.1:{}{path}", server.tls_port);
    let over_tls = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", &url])
        .output()
        .unwrap();
    assert!(
        over_tls.status.success() && over_tls.stdout == server.get(&path).body,
        "{over_tls:?}"
    );
}

#[test]
fn a_client_that_leaves_ends_no_build_and_can_come_back() {
    let server = Server::start();
    let slow = "fn main() { std::thread::sleep(std::time::Duration::from_secs(2)) }\n";
    let job = server
        .run(&Request::json(
            &package(&[MAIN, ("build.rs", slow)]),
            "package.tar",
        ))
        .job();
    let path = format!("/build/{job}/events");
    let seen: Vec<_> = Events::open(server.port, &path).take(3).collect();
    let last = seen.last().unwrap().0.unwrap();
    let resumed = Request::get(&path).header("Last-Event-ID", &last.to_string());
    let rest: Vec<_> = Events::of(resumed.send(server.port).unwrap()).collect();
    assert_eq!(rest[0].0, Some(last + 1));
    let all: Vec<_> = Events::open(server.port, &path).collect();
    assert_eq!([seen, rest].concat(), all);
    assert_eq!(all.last().unwrap().1["result"]["status"], "ok");
}
