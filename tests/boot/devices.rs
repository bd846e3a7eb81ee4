//! Devices that an honest host does not have, and the lack of one that it has. A device without a
//! driver in the image does not exist for it; a device with a driver is trusted only for what was
//! verified: a disk by its root hash, a network card by a reply.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::builds::artifacts_of_an_honest_host;
use crate::client::Port;
use crate::image::{Disk, Image};
use crate::machine::{Host, Machine, Network};
use crate::served_disk::{ReadReply, ServedDisk};
use crate::support::Bundle;

const SECTOR_BYTES: u64 = 512;
/// The length at either end of a disk in which the kernel looks for a partition table.
const PARTITION_TABLES_BYTES: u64 = 64 << 10;
/// The length that is read of a disk around the requested block.
const READ_AHEAD_BYTES: u64 = 128 << 10;

/// Longer than a key is held down.
const KEY_TIME: Duration = Duration::from_millis(500);
/// Models of network cards.
const WITH_DRIVER: &str = "virtio-net-pci";
const WITHOUT_DRIVER: &str = "e1000";

/// The root disk, with its top altered, and the reads of it: offsets and lengths.
struct WatchedDisk {
    disk: ServedDisk,
    reads: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl WatchedDisk {
    fn start(image: &Image) -> Self {
        let (reads, top) = (Arc::new(Mutex::new(Vec::new())), image.top_of_tree());
        let record = reads.clone();
        let decision = move |at, length| {
            record.lock().unwrap().push((at, length));
            if (at..at + length).contains(&top) {
                ReadReply::Flipped(top)
            } else {
                ReadReply::Honest
            }
        };
        Self {
            disk: ServedDisk::start(image, Box::new(decision)),
            reads,
        }
    }

    fn drive(&self, id: &str) -> String {
        format!(
            "file={},format=raw,if=none,id={id},readonly=on",
            self.disk.path().display()
        )
    }

    fn reads(&self) -> Vec<(u64, u64)> {
        self.reads.lock().unwrap().clone()
    }
}

/// Returns devices for unrequested ways in: the machine's output to them goes to files in
/// `directory`.
fn ways_in(directory: &Path) -> Vec<String> {
    let file = |name: &str| format!("file,id={name},path={}", directory.join(name).display());
    let share = format!(
        "local,id=share,path={},security_model=none,readonly=on",
        directory.display()
    );
    let words = format!(
        "-chardev {} -chardev {} -chardev {} \
         -device virtio-serial-pci -device virtconsole,chardev=console2 \
         -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 -device isa-serial,chardev=serial2 \
         -fsdev {share} -device virtio-9p-pci,fsdev=share,mount_tag=kettle \
         -fw_cfg name=opt/kettle/config,string=debug=1 -smbios type=11,value=io.systemd.credential:kettle=debug \
         -object rng-random,id=zeros,filename=/dev/zero -device virtio-rng-pci,rng=zeros \
         -object memory-backend-ram,id=shared,size=1M,share=on -device ivshmem-plain,memdev=shared \
         -device virtio-balloon-pci -device virtio-keyboard-pci -device virtio-gpu-pci -device i6300esb -device edu",
        file("console2"),
        file("agent"),
        file("serial2"),
    );
    words.split_whitespace().map(str::to_owned).collect()
}

/// Returns a network card that leads nowhere.
fn dead_card(model: &str) -> Vec<String> {
    let words =
        format!("-netdev hubport,id={model},hubid=7 -device {model},netdev={model},romfile=");
    words.split_whitespace().map(str::to_owned).collect()
}

/// Returns disks on every kind of bus, none of which is ours.
fn disks(cd: &WatchedDisk, stick: &WatchedDisk, nvme: &WatchedDisk) -> Vec<String> {
    let words = format!(
        "-device virtio-scsi-pci,id=other -drive {},media=cdrom -device scsi-cd,bus=other.0,drive=cd \
         -device qemu-xhci -drive {} -device usb-storage,drive=stick \
         -drive {} -device nvme,drive=nvme,serial=kettle",
        cd.drive("cd"),
        stick.drive("stick"),
        nvme.drive("nvme"),
    );
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_full_of_unknown_devices_makes_the_same_artifact_and_leaves_them_alone() {
    let (image, directory) = (Image::from_environment(), TempDir::new().unwrap());
    let [cd, stick, nvme] = [(); 3].map(|()| WatchedDisk::start(&image));
    let unreadable = ServedDisk::start(&image, Box::new(|_, _| ReadReply::Error));
    let host = Host {
        devices: [
            ways_in(directory.path()),
            dead_card(WITHOUT_DRIVER),
            dead_card(WITH_DRIVER),
            disks(&cd, &stick, &nvme),
        ]
        .concat(),
        ..Host::with_disks(vec![Disk::served(&unreadable), Disk::of(&image)])
    };
    let machine = Machine::serving(&image, &host);
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &outcome.job), 0);
    assert!(
        bundle.artifacts() == artifacts_of_an_honest_host(),
        "the artifacts differ"
    );

    // Neither the firmware nor the kernel has a driver for them. QEMU itself reads the first
    // sector, for the shape of the disk.
    for disk in [&cd, &stick] {
        assert!(
            disk.reads().iter().all(|read| *read == (0, SECTOR_BYTES)),
            "{:?}",
            disk.reads()
        );
    }
    let (size, top) = (
        fs::metadata(image.file("root.img")).unwrap().len(),
        image.top_of_tree(),
    );
    let expected = |(at, length): &(u64, u64)| {
        at + length <= PARTITION_TABLES_BYTES
            || *at >= size - PARTITION_TABLES_BYTES
            || (*at >= top - READ_AHEAD_BYTES && at + length <= top + READ_AHEAD_BYTES)
    };
    assert!(
        nvme.reads()
            .iter()
            .any(|(at, length)| (*at..at + length).contains(&top)),
        "it was not looked at"
    );
    assert!(nvme.reads().iter().all(expected), "{:?}", nvme.reads());
    for way in ["console2", "agent", "serial2"] {
        assert_eq!(fs::read(directory.path().join(way)).unwrap(), b"", "{way}");
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_whose_only_network_card_has_no_driver_ends() {
    let image = Image::from_environment();
    let host = Host {
        devices: dead_card(WITHOUT_DRIVER),
        network: Network::None,
        ..Host::honest(&image)
    };
    let console = Machine::start(&image, &host).wait_for_its_end();
    assert!(
        console.contains("halting: network: there is no network interface"),
        "{console}"
    );
    assert!(!console.contains("listening"), "{console}");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_keyboard_of_the_hosts_gives_the_kernel_no_orders() {
    let (image, directory) = (Image::from_environment(), TempDir::new().unwrap());
    let monitor = directory.path().join("monitor");
    let devices = vec![
        "-monitor".to_owned(),
        format!("unix:{},server=on,wait=off", monitor.display()),
    ];
    let mut machine = Machine::serving(
        &image,
        &Host {
            devices,
            ..Host::honest(&image)
        },
    );
    // Show all messages; make all file systems read-only; kill what has the console; reboot.
    for key in ["9", "u", "k", "b"] {
        let mut monitor = UnixStream::connect(&monitor).unwrap();
        monitor
            .write_all(format!("sendkey alt-sysrq-{key} 50\n").as_bytes())
            .unwrap();
        monitor.set_read_timeout(Some(KEY_TIME)).unwrap();
        // The monitor's prompt, until the key is up again.
        while monitor.read(&mut [0; 256]).is_ok_and(|length| length > 0) {}
    }
    assert!(machine.is_on(), "{}", machine.console());
    let outcome = machine.build_hello(Port::Tls);
    outcome.assert_succeeded();
    assert!(
        machine
            .console()
            .trim_end()
            .ends_with("listening on https://[::]:443"),
        "{}",
        machine.console()
    );
}
