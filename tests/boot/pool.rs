//! A pool of three machines behind the real HAProxy: each builds once, and the loss of one costs
//! one job. `tests/client/pool.rs` has twelve appliances as processes; these are the image.

use std::fs;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use crate::attestation::{Platform, TRUSTING};
use crate::balancer::{Balancer, Ports, wait_until};
use crate::client::Port;
use crate::machine::Machine;

/// The statuses of `kettle build --help`.
const ACCEPTED: i32 = 0;
const NOTHING: i32 = 2;
const NO_FREE_MACHINE: i32 = 4;

const MACHINES: usize = 3;
const CLIENTS: usize = 6;
/// How long a client looks for a free machine, in seconds: until the last machine is taken.
const WAIT: &str = "120";

/// A package whose build takes a while: long enough that a machine ends in the middle of it, and
/// that all others are taken before the first is done.
const SLOW: [(&str, &str); 4] = [
    (
        "Cargo.toml",
        "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n",
    ),
    ("src/main.rs", "fn main() {}\n"),
    (
        "build.rs",
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(60)) }\n",
    ),
];

/// What a client says, and its directory.
struct Client {
    directory: TempDir,
    status: Option<i32>,
    said: String,
}

impl Client {
    fn run(platform: &Platform, to: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let source = directory.path().join("package");
        fs::create_dir_all(source.join("src")).unwrap();
        for (name, content) in SLOW {
            fs::write(source.join(name), content).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_kettle"))
            .args([
                "build", "package", "--to", to, "--wait", WAIT, "--out", "out",
            ])
            .arg(TRUSTING[0])
            .arg(platform.path(TRUSTING[1]))
            .arg("--measurements")
            .arg(
                platform
                    .image
                    .file("measurements.json")
                    .canonicalize()
                    .unwrap(),
            )
            .current_dir(directory.path())
            .output()
            .unwrap();
        Self {
            directory,
            status: output.status.code(),
            said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        }
    }

    fn has_artifact(&self) -> bool {
        let artifact = "out/package/artifacts/package";
        fs::exists(self.directory.path().join(artifact)).unwrap()
    }
}

fn ports(machines: &[Machine]) -> Vec<Ports> {
    let of = |machine: &Machine| Ports {
        tls: machine.port(Port::Tls),
        plaintext: machine.port(Port::Plaintext),
    };
    machines.iter().map(of).collect()
}

/// A taken machine says so to whoever asks whether it is ready.
fn is_taken(machine: &Machine) -> bool {
    machine.get(Port::Plaintext, "/ready").status == 404
}

#[test]
#[ignore = "needs QEMU, HAProxy and a built image"]
fn three_machines_behind_haproxy_build_once_and_a_killed_one_costs_one_job() {
    let platform = Platform::new(&["--reports", "100"]);
    let mut machines: Vec<_> = (0..MACHINES).map(|_| platform.boot()).collect();
    let mut balancer = Balancer::start(&ports(&machines));
    let to = balancer.address();
    let clients: Vec<_> = thread::scope(|scope| {
        let client = || Client::run(&platform, &to);
        let running: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        wait_until("a machine is taken", || machines.iter().any(is_taken));
        // One is killed. The new one has its place, so that names stay with the other machines.
        let killed = machines.iter().position(is_taken).unwrap();
        drop(machines.remove(killed));
        machines.insert(killed, platform.boot());
        balancer.reload(&ports(&machines));
        running
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });

    let said: Vec<_> = clients
        .iter()
        .map(|client| (client.status, &client.said))
        .collect();
    let counted = [ACCEPTED, NOTHING, NO_FREE_MACHINE].map(|status| {
        clients
            .iter()
            .filter(|client| client.status == Some(status))
            .count()
    });
    assert_eq!(counted, [MACHINES, 1, CLIENTS - MACHINES - 1], "{said:#?}");
    for client in &clients {
        assert_eq!(
            client.has_artifact(),
            client.status == Some(ACCEPTED),
            "{}",
            client.said
        );
    }
    assert!(machines.iter().all(is_taken));
}
