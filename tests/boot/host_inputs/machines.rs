//! Shapes of the machine: memory, processors, and devices that firmware may have drivers for.

use super::*;

fn of_memory(name: &'static str, mib: u32) -> Row {
    Row {
        memory_mib: mib,
        ..Row::harmless("memory", name, vec![])
    }
}

fn of_processors(name: &'static str, processors: u32, line: &str) -> Row {
    Row {
        processors,
        ..Row::harmless("processors", name, words(line))
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn shapes_of_memory_and_processors_start_or_are_refused() {
    let image = Image::from_environment();
    let refused = |name, mib| Row {
        memory_mib: mib,
        ..Row::halting("too little memory", name, "map of memory", vec![])
    };
    let rows = vec![
        of_memory("5 GiB, above and below 4 GiB", 5 << 10),
        of_memory("256 MiB", 256),
        of_memory("3 GiB", 3 << 10),
        of_memory("6 GiB", 6 << 10),
        Row::harmless(
            "memory",
            "with room for more",
            words("-m 2048,slots=2,maxmem=8G"),
        ),
        Row::harmless(
            "memory",
            "of two nodes",
            words(
                "-object memory-backend-ram,id=a,size=1G -object memory-backend-ram,id=b,size=1G \
                 -numa node,memdev=a,cpus=0 -numa node,memdev=b,cpus=1",
            ),
        ),
        refused("128 MiB", 128),
        refused("not in whole large pages", 2047),
        of_processors("in two sockets", 6, "-smp 6,sockets=2,cores=3"),
        of_processors("one", 1, ""),
        of_processors("with threads", 4, "-smp 4,cores=2,threads=2"),
        of_processors("with room for more", 2, "-smp 2,maxcpus=8"),
        of_processors("of another type", 2, "-cpu EPYC-v4"),
        of_processors("without x2APIC", 2, "-cpu max,-x2apic"),
    ];
    check(&image, rows);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn devices_that_firmware_starts_from_are_left_alone() {
    let (image, files) = (Image::from_environment(), Files::new());
    let zeros = files.zeros("disk", 64 << 20);
    let store = files.zeros("store", 256 << 10);
    let disk = |id: &str| {
        format!(
            "-drive if=none,id={id},format=raw,file={},readonly=on",
            zeros.display()
        )
    };
    let rows = vec![
        Row::harmless(
            "disks",
            "of all kinds",
            words(&format!(
                "{} -device nvme,serial=n,drive=n,bootindex=1 {} -device ich9-ahci,id=ahci -device ide-cd,bus=ahci.0,drive=c,bootindex=2 \
             {} -device qemu-xhci -device usb-storage,drive=u,bootindex=3",
                disk("n"),
                disk("c"),
                disk("u")
            )),
        ),
        Row::harmless(
            "keyboard and screen",
            "plugged in",
            words("-device qemu-xhci -device usb-kbd -device usb-tablet -device VGA,romfile="),
        ),
        Row::harmless(
            "network",
            "to start from",
            words(
                "-device pcie-root-port,id=bridge,chassis=1 -netdev user,id=pxe,restrict=on,tftp=/,bootfile=x -device e1000e,bus=bridge,netdev=pxe,romfile=,bootindex=1",
            ),
        ),
        Row::harmless(
            "memory of the host",
            "shared",
            words(
                "-object memory-backend-ram,id=iv,size=64M,share=on -device ivshmem-plain,memdev=iv",
            ),
        ),
        Row::harmless(
            "remapping",
            "by the host",
            words("-machine kernel-irqchip=split -device intel-iommu,intremap=on"),
        ),
        Row::harmless(
            "odd devices",
            "many",
            words(
                "-device edu -device pvpanic-pci -device vmgenid -device vmcoreinfo -device i6300esb -device isa-debug-exit",
            ),
        ),
        Row::harmless("a serial port more", "second", words("-serial null")),
        Row::harmless(
            "without",
            "DMA of fw_cfg",
            words("-global fw_cfg.dma_enabled=off"),
        ),
        Row::harmless(
            "without",
            "timers and old devices",
            words("-machine hpet=off,smbus=off,sata=off,vmport=off"),
        ),
        Row::harmless("without", "system management", words("-machine smm=off")),
        Row::harmless(
            "variables",
            "a store",
            words(&format!(
                "-drive if=pflash,unit=0,format=raw,readonly=on,file={} -drive if=pflash,unit=1,format=raw,file={}",
                image.file("firmware.fd").display(),
                store.display()
            )),
        ),
        Row::harmless("another machine", "pc", words("-machine pc")),
    ];
    check(&image, rows);
}
