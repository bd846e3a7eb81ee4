//! Flakes in the machine: from curl to an accepting verifier, and what a builder can reach there.

use std::path::PathBuf;

use crate::attestation::{Platform, TRUSTING};
use crate::client::{Outcome, Port, Source};
use crate::image::Image;
use crate::machine::user_network::{HOST, MACHINE, NAME_SERVER};
use crate::machine::{Host, Machine};
use crate::support::{Bundle, StaticServer, sha256};

use attempts::{all_contained, attempts};
use compiler::{Compiling, assert_says_hello};
use flake::Flake;

#[path = "../nix/attempts.rs"]
mod attempts;
#[path = "../nix/compiler.rs"]
mod compiler;
#[path = "../nix/flake.rs"]
#[allow(dead_code)] // Not all of it is needed here.
mod flake;
use crate::support as harness;
#[path = "../nix/tool.rs"]
#[allow(dead_code)] // Not all of it is needed here.
mod tool;

/// Returns the unpacked root of the image, as `scripts/build-image` leaves it: it has the same nix,
/// and a compiler.
fn root(image: &Image) -> PathBuf {
    image
        .file("root")
        .canonicalize()
        .expect("the unpacked root of the image")
}

fn build(machine: &Machine, flake: &Flake) -> Outcome {
    machine.build(
        Port::Tls,
        &Source::Archive {
            bytes: &flake.archive(),
            name: "flake.tar",
        },
    )
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_flake_that_compiles_c_is_attested_accepted_and_reproduced() {
    let platform = Platform::new(&[]);
    let compiling = Compiling::new(&root(&platform.image), &HOST.to_string());
    let [first, second] = [(); 2].map(|()| {
        let machine = platform.boot();
        let outcome = build(&machine, &compiling.flake);
        outcome.assert_succeeded();
        let bytes = machine.bundle(Port::Tls, &outcome.job);
        platform.keep("bundle.tar.gz", &bytes);
        let result = platform.verify(&["bundle.tar.gz"], &TRUSTING);
        assert_eq!(result["verdict"], "accepted", "{result:#}");
        Bundle::read(&bytes, 0)
    });
    first.assert_described();
    assert_says_hello(first.artifacts()["hello"]);
    assert_eq!(first.statement()["subject"], second.statement()["subject"]);
    let statement = first.statement();
    let parameters = &statement["predicate"]["buildDefinition"]["internalParameters"];
    assert_eq!(
        parameters["network"],
        serde_json::json!(["fetch", "daemon"])
    );
    assert_eq!(parameters["sandbox"]["degradations"], serde_json::json!([]));
}

/// Where the secure processor is, the memory of PID 1, and the disk.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_builder_in_the_machine_reaches_nothing_of_it() {
    let all: Vec<(&str, String)> = [
        (
            "secure processor",
            "opens(\"/dev/sev-guest\", O_RDWR) || opens(\"/proc/1/root/dev/sev-guest\", O_RDWR)",
        ),
        (
            "a new node of it",
            "mknod(\"/tmp/g\", S_IFCHR | 0666, 0x0a7d) == 0 && opens(\"/tmp/g\", O_RDWR)",
        ),
        (
            "reports by configfs",
            "opens(\"/sys/kernel/config/tsm/report\", O_RDONLY)",
        ),
        (
            "memory of the machine",
            "opens(\"/dev/mem\", O_RDONLY) || opens(\"/proc/kcore\", O_RDONLY)",
        ),
        (
            "the disk",
            "opens(\"/dev/vda\", O_RDONLY) || opens(\"/dev/mapper/control\", O_RDWR)",
        ),
        ("other processes", "strangers() > 0"),
        (
            "memory of the first process outside",
            "opens(\"/proc/1/mem\", O_RDWR) && getpid() != 1",
        ),
        ("the service by loopback", "connects(80) || connects(443)"),
        ("the service's work directory", "opens(\"/work\", O_RDONLY)"),
        ("being root", "getuid() == 0 || setuid(0) == 0"),
        ("a user namespace", "unshare(CLONE_NEWUSER) == 0"),
        (
            "power",
            "syscall(SYS_reboot, 0xfee1dead, 0x28121969, 0x4321fedc, 0) == 0",
        ),
    ]
    .map(|(name, call)| (name, call.to_owned()))
    .into();
    let machine = Platform::new(&[]).boot();
    let outcome = build(&machine, &Flake::built_by(&attempts(&all)));
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &outcome.job), 0);
    assert_eq!(
        String::from_utf8_lossy(bundle.artifacts()["package"]),
        all_contained(&all)
    );
    machine.assert_healthy(Port::Plaintext);
}

/// A builder with a fixed output has the network of a phase that fetches: one attempt works, and
/// all others must not.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_builder_with_a_fixed_output_reaches_public_addresses_and_nothing_of_the_machine() {
    let directory = tempfile::tempdir().unwrap();
    let port = StaticServer::start(directory.path().to_owned()).port;
    let reaches =
        |address: &dyn std::fmt::Display, port: u16| format!("reaches(\"{address}\", {port})");
    let contained: Vec<(&str, String)> = vec![
        ("the service by loopback", reaches(&"127.0.0.1", 80)),
        ("the service by its address", reaches(&MACHINE, 443)),
        (
            "another port of the name server",
            reaches(&NAME_SERVER, port),
        ),
        ("a private network", reaches(&"10.0.2.2", port)),
        ("a metadata service", reaches(&"169.254.169.254", 80)),
        ("another name server", reaches(&HOST, 53)),
    ];
    let all = [
        vec![("a public address", reaches(&HOST, port))],
        contained.clone(),
    ]
    .concat();
    let expected = format!("a public address: SUCCEEDED\n{}", all_contained(&contained));
    let flake = Flake::fixed_by(&attempts(&all), &sha256(expected.as_bytes()));
    let machine = Platform::new(&[]).boot();
    let outcome = build(&machine, &flake);
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &outcome.job), 0);
    assert_eq!(
        String::from_utf8_lossy(bundle.artifacts()["package"]),
        expected
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_builder_that_takes_all_memory_ends_and_the_machine_does_not() {
    let image = Image::from_environment();
    let machine = Machine::serving(
        &image,
        &Host {
            memory_mib: 1536,
            ..Host::honest(&image)
        },
    );
    let hungry = "#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\nint main(void) {\n\
        while (fork() >= 0) for (int i = 0; i < 64; i++) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); }\n\
        for (;;) pause(); }";
    let outcome = build(&machine, &Flake::built_by(hungry));
    outcome.assert_failed("OutOfMemory");
    machine.assert_healthy(Port::Plaintext);
}

/// The flake evaluates an endless list, each member of which is a text of a mebibyte.
#[test]
#[ignore = "needs QEMU and a built image"]
fn an_evaluation_that_takes_all_memory_ends_and_the_machine_does_not() {
    let image = Image::from_environment();
    let machine = Machine::serving(
        &image,
        &Host {
            memory_mib: 1024,
            ..Host::honest(&image)
        },
    );
    let hungry = "{ outputs = { self }: let\n\
        double = n: text: if n == 0 then text else double (n - 1) (text + text);\n\
        mebibyte = double 20 \"x\";\n\
        next = item: let text = mebibyte + toString item.key; in builtins.seq text [ { key = item.key + 1; inherit text; } ];\n\
        in { packages.x86_64-linux.default = builtins.genericClosure { startSet = [ { key = 0; } ]; operator = next; }; }; }";
    let outcome = build(&machine, &Flake::of(hungry));
    outcome.assert_failed("OutOfMemory");
    machine.assert_no_result(&outcome.job);
    machine.assert_healthy(Port::Plaintext);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_flake_that_cannot_be_evaluated_fails_in_the_machine_too() {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &Host::honest(&image));
    let outcome = build(
        &machine,
        &Flake::of("{ outputs = { self }: throw \"this is why\"; }"),
    );
    outcome.assert_failed("BuildFailed");
    assert!(
        outcome
            .lines
            .iter()
            .any(|line| line.contains("this is why")),
        "{:?}",
        outcome.lines
    );
}
