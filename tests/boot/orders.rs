//! What can a host do to a running machine through its emulator? Stop it for a while, plug in and
//! pull out, press buttons, send breaks on its serial line. A build makes the same artifact, or
//! nothing.

use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::builds::artifacts_of_an_honest_host;
use crate::client::{Port, Source};
use crate::image::Image;
use crate::machine::{Host, Machine};
use crate::power::{endless_build, wait_for_a_running_build};
use crate::support::{Bundle, NONCE, project};

/// How long the machine is stopped.
const STOPPED_SPAN: Duration = Duration::from_secs(3);
/// The time from power to a response.
const LIMIT: Duration = Duration::from_secs(120);
/// Longer than the kernel takes to see a break before the key that follows it.
const KEY_PAUSE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(100);
/// Keys that mean something to the kernel after a break.
const ORDERS: [u8; 9] = *b"hmukeicob";
/// How a terminal shows a break that no kernel takes as an order: a NUL.
const BREAK: &str = "^@";
/// The last line of a machine that serves.
const SERVES: &str = "listening on https://[::]:443";

impl Machine {
    fn stop_for_a_while(&self) {
        self.order("stop", &json!({}));
        sleep(STOPPED_SPAN);
        assert_eq!(self.order("query-status", &json!({}))["status"], "paused");
        self.order("cont", &json!({}));
    }

    /// Sends a break, and then this key: a command to the kernel, if it accepts any.
    fn break_and(&self, key: u8) {
        self.order("chardev-send-break", &json!({ "id": "serial" }));
        sleep(KEY_PAUSE);
        self.serial_line().write_all(&[key]).unwrap();
        sleep(KEY_PAUSE);
    }

    /// Sends half of an archive, pauses, and sends the rest; returns the job's id.
    fn submit_with_a_stop_in_the_middle(&self, archive: &[u8]) -> String {
        let part =
            |head: &str| format!("--kettle\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        let nonce = format!("{}{NONCE}\r\n", part("name=\"nonce\""));
        let source = part("name=\"source\"; filename=\"hello.tar\"");
        let body = [
            nonce.as_bytes(),
            source.as_bytes(),
            archive,
            b"\r\n--kettle--\r\n",
        ]
        .concat();
        let head = format!(
            "POST /build HTTP/1.1\r\nHost: kettle\r\nConnection: close\r\nPrefer: respond-async\r\nContent-Length: {}\r\n\
             Content-Type: multipart/form-data; boundary=kettle\r\n\r\n",
            body.len()
        );
        let mut stream = self.connect_tls();
        let (first, second) = body.split_at(body.len() / 2);
        stream
            .write_all(&[head.as_bytes(), first].concat())
            .unwrap();
        stream.flush().unwrap();
        self.stop_for_a_while();
        stream.write_all(second).unwrap();
        stream.flush().unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let document: Value =
            serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        document["job_id"].as_str().unwrap().to_owned()
    }
}

/// Returns a machine with room for more processors and devices than it starts with.
fn with_room(host: Host) -> Host {
    let words = "-smp 2,maxcpus=3 -netdev hubport,id=dead,hubid=7 \
         -device pcie-root-port,id=slot1,chassis=1 -device pcie-root-port,id=slot2,chassis=2";
    Host {
        devices: words.split_whitespace().map(str::to_owned).collect(),
        ..host
    }
}

/// Returns a slot for one more processor, and the processor.
fn another_processor(machine: &Machine) -> Value {
    let places = machine.order("query-hotpluggable-cpus", &json!({}));
    let free = places
        .as_array()
        .unwrap()
        .iter()
        .find(|place| place.get("qom-path").is_none())
        .unwrap();
    let mut processor = free["props"].clone();
    processor["driver"] = free["type"].clone();
    processor["id"] = "third".into();
    processor
}

/// Plugs in everything but memory, which would lie where the kernel put the windows of devices,
/// which the machine then does not reach.
fn plug_in(machine: &Machine, disk: &Path) {
    let file = json!({ "driver": "file", "filename": disk, "read-only": true });
    machine.order(
        "blockdev-add",
        &json!({ "node-name": "other", "driver": "raw", "read-only": true, "file": file }),
    );
    for device in [
        json!({ "driver": "virtio-blk-pci", "bus": "slot1", "drive": "other", "id": "another-disk" }),
        json!({ "driver": "virtio-net-pci", "bus": "slot2", "netdev": "dead", "id": "another-card", "romfile": "" }),
        another_processor(machine),
    ] {
        machine.order("device_add", &device);
    }
}

/// Returns a machine whose root disk is in a slot, where it could be pulled out.
fn with_the_disk_in_a_slot(image: &Image) -> Host {
    let words = format!(
        "-device pcie-root-port,id=bay,chassis=1 -drive file={},format=raw,if=none,id=d,readonly=on \
         -device virtio-blk-pci,bus=bay,drive=d,id=disk0",
        image.file("root.img").display()
    );
    Host {
        devices: words.split_whitespace().map(str::to_owned).collect(),
        ..Host::with_disks(vec![])
    }
}

fn has(machine: &Machine, device: &str) -> bool {
    machine
        .order("query-pci", &json!({}))
        .to_string()
        .contains(device)
}

/// The machine is stopped in the upload and in the build; when it wakes in the build, all the rest
/// has happened.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_that_is_stopped_and_woken_plugged_and_unplugged_makes_the_same_artifact() {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &with_room(Host::honest(&image)));
    let job = machine.submit_with_a_stop_in_the_middle(&project("hello"));
    wait_for_a_running_build(&machine, &job);
    machine.order("stop", &json!({}));
    plug_in(&machine, &image.file("root.img"));
    machine.order("inject-nmi", &json!({}));
    machine.order("system_powerdown", &json!({}));
    sleep(STOPPED_SPAN);
    machine.order("cont", &json!({}));
    let state = machine.get(Port::Tls, &format!("/build/{job}"));
    assert_eq!(state.status, 200, "{}", machine.console());
    assert_eq!(state.json()["state"], "running");
    for device in ["another-disk", "another-card"] {
        machine.order("device_del", &json!({ "id": device }));
    }
    let events = machine.follow(Port::Tls, &job);
    assert_eq!(
        events.last().unwrap()["result"]["status"],
        "ok",
        "{events:?} {}",
        machine.console()
    );
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &job), 0);
    assert!(
        bundle.artifacts() == artifacts_of_an_honest_host(),
        "the artifacts differ"
    );
    // The NMI reached it, so the rest would have. It does not notice what takes ACPI code to
    // notice, and so gives nothing back.
    assert!(
        machine
            .console()
            .contains("NMI received for unknown reason"),
        "{}",
        machine.console()
    );
    for device in ["another-disk", "another-card"] {
        assert!(has(&machine, device), "{device}");
    }
}

/// Giving up a disk takes ACPI code. A disk that goes without a request is among the disks that
/// change.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_keeps_its_root_disk_when_the_host_requests_it() {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &with_the_disk_in_a_slot(&image));
    machine.order("device_del", &json!({ "id": "disk0" }));
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_succeeded();
    assert!(has(&machine, "disk0"));
}

/// A reset is the host's only way to start anew; on the image's hardware it cannot even do that.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_that_is_reset_in_a_build_begins_anew_and_knows_nothing_of_it() {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &Host::honest(&image));
    let archive = endless_build();
    let job = machine.start_build(
        Port::Tls,
        &Source::Archive {
            bytes: &archive,
            name: "package.tar",
        },
    );
    wait_for_a_running_build(&machine, &job);
    machine.order("set-action", &json!({ "reboot": "reset" }));
    machine.order("system_reset", &json!({}));
    let start = Instant::now();
    while machine.console().matches(SERVES).count() < 2 {
        assert!(start.elapsed() < LIMIT, "{}", machine.console());
        sleep(PAUSE);
    }
    for path in [
        format!("/build/{job}"),
        format!("/build/{job}/events"),
        format!("/build/{job}/result"),
    ] {
        assert_eq!(machine.get(Port::Tls, &path).status, 404, "{path}");
    }
    assert_eq!(
        machine
            .submit(
                Port::Tls,
                &Source::Archive {
                    bytes: b"none",
                    name: "none.tar"
                }
            )
            .status,
        400
    );
}

/// The image's kernel knows no orders. Debian's takes those that it leaves on until PID 1 has made
/// its settings: more messages, a reboot. None lasts.
#[test]
#[ignore = "needs QEMU and a built image"]
fn breaks_on_the_serial_line_give_the_kernel_no_orders() {
    let image = Image::from_environment();
    let mut machine = Machine::start(&image, &Host::honest(&image));
    let start = Instant::now();
    while machine.get(Port::Plaintext, "/health").body != b"ok" {
        assert!(
            machine.is_on() && start.elapsed() < LIMIT,
            "{}",
            machine.console()
        );
        // All messages.
        machine.break_and(b'9');
    }
    // Help; memory; read-only file systems; kill what has the console; kill all; crash; off;
    // reboot.
    for key in ORDERS {
        machine.break_and(key);
    }
    assert!(machine.is_on(), "{}", machine.console());
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_succeeded();
    // A terminal shows what is typed. Nobody else says anything.
    let console = machine.console();
    let typed = console.rsplit_once(SERVES).unwrap().1.replace(BREAK, "");
    assert_eq!(
        typed.trim(),
        std::str::from_utf8(&ORDERS).unwrap(),
        "{console}"
    );
}
