//! Pools: many machines at one address. HAProxy is the real one.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::thread;

use kettle::simulator::Processor;
use serde_json::json;

use super::balancer::{Balancer, Ports, wait_until};
use super::command::{
    ACCEPTED, Desk, NO_FREE_MACHINE, NOTHING, REJECTED, Run, appliance, processor,
};
use super::cuts::noisy;
use super::fake::{Fake, Key, Request, session};
use super::harness::Server;

/// Starts free appliances. HAProxy asks each of them when it starts, and one that is not ready by
/// then is asked again only seconds later.
fn free_machines(count: usize) -> Vec<Server> {
    let machines: Vec<_> = (0..count).map(|_| appliance()).collect();
    for machine in &machines {
        wait_until("a machine is ready", || machine.get("/ready").status == 200);
    }
    machines
}

fn ports(machines: &[Server]) -> Vec<Ports> {
    let of = |machine: &Server| Ports {
        tls: machine.tls_port,
        plaintext: machine.port,
    };
    machines.iter().map(of).collect()
}

fn is_taken(server: &Server) -> bool {
    server.log().contains("a job was accepted")
}

/// Starts this many clients at once.
fn clients(
    count: usize,
    desk: fn() -> Desk,
    to: &str,
    wait: &str,
) -> Vec<thread::JoinHandle<(Desk, Run)>> {
    let one = || {
        let (to, wait) = (to.to_owned(), wait.to_owned());
        thread::spawn(move || {
            let desk = desk();
            let run = desk.build(&to, &["--wait", &wait]);
            (desk, run)
        })
    };
    (0..count).map(|_| one()).collect()
}

fn ended(clients: Vec<thread::JoinHandle<(Desk, Run)>>) -> Vec<(Desk, Run)> {
    clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect()
}

/// Returns the pin of the machine that was verified last.
fn pin(run: &Run) -> String {
    let (_, last) = run.errors.rsplit_once("its TLS key is pinned: ").unwrap();
    last.lines().next().unwrap().to_owned()
}

/// Checks the claims about any pool: as many bundles as machines, each from another one, and a
/// status for everybody else.
fn check(runs: &[(Desk, Run)], machines: usize, lost: usize) {
    let with_status = |status: i32| runs.iter().filter(move |(_, run)| run.status == status);
    let statuses: Vec<_> = runs.iter().map(|(_, run)| run.status).collect();
    let counted = [ACCEPTED, NOTHING, NO_FREE_MACHINE].map(|status| with_status(status).count());
    let expected = [machines, lost, runs.len() - machines - lost];
    let said: Vec<_> = runs.iter().map(|(_, run)| &run.errors).collect();
    assert_eq!(counted, expected, "{statuses:?} {said:#?}");
    let pins: BTreeSet<_> = with_status(ACCEPTED).map(|(_, run)| pin(run)).collect();
    assert_eq!(pins.len(), machines, "{pins:?}");
    for (desk, run) in with_status(ACCEPTED) {
        run.expect(ACCEPTED, "ACCEPTED");
        assert!(desk.artifact().is_file());
    }
    for (desk, run) in with_status(NO_FREE_MACHINE) {
        run.expect(NO_FREE_MACHINE, "no free machine at https://127.0.0.1");
        assert!(desk.is_empty());
    }
}

#[test]
fn each_machine_behind_haproxy_builds_once_and_late_clients_are_told_so() {
    let machines = free_machines(3);
    let balancer = Balancer::start(&ports(&machines));
    // A source that is larger than any buffer on the way: a 409 comes in the middle of it.
    let runs = ended(clients(6, noisy, &balancer.address(), "20"));
    check(&runs, 3, 0);
    for machine in &machines {
        assert_eq!(machine.log().matches("a job was accepted").count(), 1);
    }
    let met_a_taken_one = |(_, run): &&(Desk, Run)| run.errors.contains("(SlotTaken)");
    assert!(runs.iter().filter(met_a_taken_one).count() >= 3);
}

/// A package whose build takes a while.
fn slow() -> Desk {
    let desk = Desk::new();
    let script =
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(20)) } // a long build\n";
    fs::write(desk.source().join("build.rs"), script).unwrap();
    desk
}

#[test]
fn a_machine_that_is_killed_and_a_reload_cost_one_job_and_no_other() {
    if std::env::var_os("KETTLE_ALL").is_none() {
        return;
    }
    const MACHINES: usize = 12;
    let mut machines = free_machines(MACHINES);
    let mut balancer = Balancer::start(&ports(&machines));
    let clients = clients(50, slow, &balancer.address(), "240");
    wait_until("a machine is taken", || machines.iter().any(is_taken));
    let killed = machines.iter().position(is_taken).unwrap();
    // The replacement has its address, and another key and port.
    let before = std::mem::replace(&mut machines[killed], appliance());
    assert_eq!(before.log().matches("a job was accepted").count(), 1);
    drop(before);
    wait_until("all other machines are taken", || {
        let others = machines.iter().enumerate().filter(|(at, _)| *at != killed);
        others.map(|(_, machine)| machine).all(is_taken)
    });
    balancer.reload(&ports(&machines));
    let runs = ended(clients);
    check(&runs, MACHINES, 1);
    for machine in &machines {
        assert_eq!(machine.log().matches("a job was accepted").count(), 1);
    }
    let (desk, run) = runs.iter().find(|(_, run)| run.status == NOTHING).unwrap();
    run.expect(NOTHING, "is not the one that was verified");
    assert!(desk.is_empty());
}

/// Starts taken machines, each with its own key; a connection for evidence and one for a submission
/// come to each.
fn taken_machines(document_of: fn(usize) -> usize) -> Fake {
    let keys: Vec<_> = (0..64).map(|_| Arc::new(Key::new())).collect();
    let public_keys: Vec<_> = keys.iter().map(|key| key.public_key.clone()).collect();
    let processor = Processor::open(processor().path()).unwrap();
    let processor = std::sync::Mutex::new(processor);
    let answer = move |number: usize, request: &Request| {
        if !request.line.starts_with("GET /attestation?") {
            return Some((409, json!({"error": "taken", "error_type": "SlotTaken"})));
        }
        let key = &public_keys[document_of(number / 2)];
        let processor = processor.lock().unwrap();
        Some((200, session(&processor, key, &request.nonce())))
    };
    Fake::start(move |number| Arc::clone(&keys[number / 2]), answer)
}

#[test]
fn all_connections_of_a_try_have_one_random_name_and_the_next_try_has_another() {
    let (desk, fake) = (Desk::new(), taken_machines(|machine| machine));
    let run = desk.build(&fake.address(), &["--wait", "3"]);
    run.expect(NO_FREE_MACHINE, "(SlotTaken)");
    let seen = fake.seen();
    assert!(seen.len() >= 4, "{seen:?}");
    let mut names = BTreeSet::new();
    for pair in seen.chunks(2) {
        assert!(pair[0].line.starts_with("GET /attestation?nonce="));
        assert!(pair[1].line.starts_with("POST /build "));
        assert_eq!(pair[0].server_name, pair[1].server_name);
        assert!(pair[0].server_name.ends_with(".kettle.invalid"));
        assert!(names.insert(&pair[0].server_name), "a name came again");
    }
}

/// The second machine of a pool shows the evidence of the first one, which was accepted.
#[test]
fn with_a_second_machine_after_one_that_was_verified_and_taken() {
    let (desk, fake) = (Desk::new(), taken_machines(|_| 0));
    let run = desk.build(&fake.address(), &["--wait", "60"]);
    run.expect(REJECTED, "session-document");
    let seen = fake.seen();
    let lines: Vec<_> = seen.iter().map(|request| &request.line[..5]).collect();
    assert_eq!(lines, ["GET /", "POST ", "GET /"]);
    assert!(seen[2].body.is_empty());
    assert!(desk.is_empty());
}
