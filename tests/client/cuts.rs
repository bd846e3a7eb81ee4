//! Connections that are cut, twenty times in every phase.

use std::fs;

use super::command::{ACCEPTED, Desk, appliance};
use super::tunnel::{Budget, Cutter};

/// How often each phase is cut.
const CUTS: usize = 20;

/// The number of incompressible bytes in a body.
const NOISE_BYTES: usize = 2 << 20;

/// Returns a package whose archive and whose program are as large as the noise in them.
pub fn noisy() -> Desk {
    let desk = Desk::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = (0..NOISE_BYTES)
        .map(|_| {
            // xorshift64, the same in each run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    fs::write(desk.source().join("noise"), noise).unwrap();
    let program = "static NOISE: &[u8] = include_bytes!(\"../noise\");\n\
                   fn main() { println!(\"{}\", std::hint::black_box(NOISE).len()) }\n";
    fs::write(desk.source().join("src/main.rs"), program).unwrap();
    desk
}

/// Returns budgets of connections, each of which ends at another point: in the handshake, in the
/// header block, in the body.
fn budgets(make: impl Fn(usize) -> Budget) -> Vec<Budget> {
    (0..CUTS).map(make).collect()
}

#[test]
fn twenty_cuts_in_every_phase_end_in_one_build_and_one_bundle() {
    let (desk, server) = (noisy(), appliance());
    let whole = || vec![Budget::WHOLE];
    let all = usize::MAX;
    let attestation = budgets(|n| match n % 2 {
        0 => Budget {
            up: n * 20,
            down: all,
        },
        _ => Budget {
            up: all,
            down: n * 150,
        },
    });
    // Never all of it: then the response would be lost, and not the submission.
    let submission = budgets(|n| Budget {
        up: n * n * 4500,
        down: all,
    });
    // The last event carries the statement, which does not fit.
    let events = budgets(|n| Budget {
        up: all,
        down: n * 200,
    });
    let download = budgets(|n| Budget {
        up: all,
        down: n * 8000,
    });
    let plan = [
        attestation,
        whole(),
        submission,
        whole(),
        events,
        whole(),
        download,
        whole(),
    ];
    let cutter = Cutter::start(server.tls_port, plan.concat());
    let to = format!("https://127.0.0.1:{}", cutter.port);
    let run = desk.build(&to, &["--json", "--wait", "600"]);
    assert_eq!(run.status, ACCEPTED, "{run:?}");
    assert_eq!(cutter.cuts(), 4 * CUTS);
    let documents = run.documents();
    assert_eq!(documents.last().unwrap()["verdict"], "accepted");
    let count = |kind: &str| {
        documents
            .iter()
            .filter(|document| document["type"] == kind)
            .count()
    };
    assert_eq!(
        (count("machine"), count("accepted"), count("verdict")),
        (1, 1, 1)
    );
    let ids: Vec<_> = documents
        .iter()
        .filter_map(|document| document["id"].as_u64())
        .collect();
    assert!(
        ids.iter().copied().eq(0..ids.len() as u64),
        "each event once and in order: {ids:?}"
    );
    assert_eq!(server.log().matches("a job was accepted").count(), 1);
    let ran = std::process::Command::new(desk.artifact())
        .output()
        .unwrap();
    assert_eq!(ran.stdout, format!("{NOISE_BYTES}\n").into_bytes());
}
