//! One slot, many clients.

use std::sync::Barrier;
use std::thread;

use crate::harness::{Request, Server, package};

const CLIENTS: usize = 50;

#[test]
fn of_fifty_valid_requests_at_once_one_is_accepted() {
    let server = Server::start();
    let archive = package(&[("src/main.rs", "fn main() {}\n")]);
    let together = Barrier::new(CLIENTS + 1);
    let ask = &|number: usize| {
        let request = match number % 2 {
            0 => Request::json(&archive, "package.tar"),
            _ => Request::form(&archive, "package.tar").header("Prefer", "respond-async"),
        };
        together.wait();
        server.run(&request)
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || ask(number)))
            .collect();
        together.wait();
        for _ in 0..10 {
            assert_eq!(server.get("/health").body, b"ok");
        }
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let (accepted, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 202);
    assert_eq!(
        accepted.len(),
        1,
        "{:?}",
        answers.iter().map(|it| it.status).collect::<Vec<_>>()
    );
    assert!(
        refused
            .iter()
            .all(|it| it.status == 409 && it.header("content-type") == "application/problem+json")
    );
    let job = accepted[0].job();
    assert!(
        refused
            .iter()
            .all(|it| !String::from_utf8_lossy(&it.body).contains(&job)),
        "a refusal gives the id away"
    );
    assert_eq!(
        server.events(&job).last().unwrap()["result"]["status"],
        "ok"
    );
}
