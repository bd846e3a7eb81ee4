//! Files of fw_cfg that general-purpose firmware reads, and the files that QEMU creates from its
//! options: all are offered, none is read.

use super::*;

/// Switches, each with a value that would change something in other firmware.
const SWITCHES: [(&str, &str); 15] = [
    ("opt/ovmf/X-PciMmio64Mb", "0"),
    ("opt/ovmf/PcdSetNxForStack", "0"),
    ("opt/ovmf/PcdPropertiesTableEnable", "1"),
    ("opt/org.tianocore/EnableLegacyLoader", "yes"),
    ("opt/org.tianocore/UninstallMemAttrProtocol", "yes"),
    ("opt/org.tianocore/PagingLevel", "5"),
    ("opt/org.tianocore/FirmwareSetupSupport", "yes"),
    ("opt/org.tianocore/X-Cpuhp-Bugcheck-Override", "yes"),
    ("opt/org.tianocore/IPv4Support", "yes"),
    ("opt/org.tianocore/IPv6Support", "yes"),
    ("opt/org.tianocore/IPv4PXESupport", "yes"),
    ("opt/org.tianocore/IPv6PXESupport", "yes"),
    ("opt/org.tianocore/VirtioSerialSupport", "yes"),
    ("opt/org.tianocore/SkipFvSection", "yes"),
    ("opt/org.tianocore/SecureBootEnable", "no"),
];

/// Files that describe a machine, which QEMU or a host can offer.
const FILES: [&str; 24] = [
    "etc/acpi/rsdp.host",
    "etc/boot/shim",
    "etc/boot-fail-wait.host",
    "etc/boot-menu-wait.host",
    "etc/cpuhp/host",
    "etc/edk2/https/cacerts",
    "etc/edk2/https/ciphers",
    "etc/extra-pci-roots",
    "etc/hardware-info",
    "etc/igd-bdsm-size",
    "etc/igd-opregion",
    "etc/max-cpus.host",
    "etc/mor.host",
    "etc/msr_feature_control",
    "etc/pci-mmio64-size.host",
    "etc/sercon-port",
    "etc/screen-and-debug.host",
    "etc/smi/requested-features.host",
    "etc/tpm/config",
    "etc/tpm/log.host",
    "etc/vmcoreinfo",
    "etc/vmgenid_guid",
    "bootsplash.bmp",
    "genroms/host.rom",
];

/// QEMU has 32 slots for files, and uses some itself.
const FILES_AT_ONCE: usize = FILES.len().div_ceil(3);

/// The names of a file end in `.host` where QEMU may offer one of the plain name itself, which
/// cannot be offered twice.
fn file_rows(files: &Files) -> Vec<Row> {
    let bytes = files.file("bytes", &payload::application());
    let rows = FILES
        .iter()
        .map(|name| Row::harmless("a file of fw_cfg", name, item(name, &bytes)));
    rows.collect()
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn no_switch_and_no_file_of_the_host_changes_what_starts() {
    let (image, files) = (Image::from_environment(), Files::new());
    let switch = |(name, value): &(&str, &str)| {
        vec!["-fw_cfg".to_owned(), format!("name={name},string={value}")]
    };
    let all_switches = SWITCHES.iter().flat_map(switch).collect();
    let mut rows = vec![Row::harmless("all switches", "at once", all_switches)];
    let each: Vec<_> = file_rows(&files).into_iter().map(|row| row.words).collect();
    let some = each
        .chunks(FILES_AT_ONCE)
        .zip(["some files", "more files", "the last files"]);
    rows.extend(some.map(|(words, kind)| Row::harmless(kind, "at once", words.concat())));
    rows.extend(file_rows(&files));
    rows.extend(
        SWITCHES
            .iter()
            .map(|row| Row::harmless("a switch", row.0, switch(row))),
    );
    check(&image, rows);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn no_rom_of_the_host_runs() {
    let (image, files) = (Image::from_environment(), Files::new());
    // virtio-rng and virtio-net as QEMU names them on the bus.
    let rng = files.file("rng.rom", &payload::option_rom(0x1af4, 0x1005));
    let net = files.file("net.rom", &payload::option_rom(0x1af4, 0x1000));
    let device = |rom: &Path| format!("-device virtio-rng-pci,romfile={}", rom.display());
    let without_guard = "-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=0";
    let rows = vec![
        Row::harmless(
            "rom",
            "without a guard",
            words(&format!("{} {without_guard}", device(&rng))),
        ),
        Row::harmless("rom", "of a device", words(&device(&rng))),
        Row::harmless("rom", "of another device", words(&device(&net))),
        Row::harmless(
            "rom",
            "of a bridge's device",
            words(&format!(
                "-device pcie-root-port,id=bridge,chassis=1 {},bus=bridge",
                device(&rng)
            )),
        ),
        Row::harmless(
            "legacy rom",
            "in memory",
            words(&format!("-option-rom {}", rng.display())),
        ),
    ];
    check(&image, rows);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn no_table_and_no_order_of_the_host_changes_what_starts() {
    let (image, files) = (Image::from_environment(), Files::new());
    let table = files.file("table", &[0x10, 6, b'\\', b'_', b'S', b'B', b'_']);
    // A command of the loader's language: allocate a file of fw_cfg (QEMU,
    // hw/acpi/bios-linker-loader.c).
    let mut command = [0; 128];
    command[0] = 1;
    command[4..15].copy_from_slice(b"etc/acpi/ev");
    let script = files.file("script", &command);
    let acpi = |signature: &str| {
        words(&format!(
            "-acpitable sig={signature},rev=2,data={}",
            table.display()
        ))
    };
    let own_script = [
        words("-machine acpi=off"),
        item("etc/table-loader", &script),
        item("etc/acpi/ev", &table),
        item("etc/acpi/rsdp", &table),
        item("etc/acpi/tables", &table),
    ];
    let rows = vec![
        Row::harmless("acpi", "a program", acpi("SSDT")),
        Row::harmless("acpi", "another description", acpi("DSDT")),
        Row::harmless("acpi", "memory", acpi("SRAT")),
        Row::harmless("acpi", "remapping", acpi("DMAR")),
        Row::harmless("acpi", "a console", acpi("SPCR")),
        Row::harmless("acpi", "errors", acpi("BERT")),
        Row::harmless("loader", "a script of the host's", own_script.concat()),
        Row::harmless("loader", "no tables", words("-machine acpi=off")),
        Row::harmless(
            "smbios",
            "a vendor",
            words("-smbios type=0,vendor=host,version=1 -smbios type=1,product=host"),
        ),
        Row::harmless(
            "smbios",
            "strings that loaders read",
            words("-smbios type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/bin/sh"),
        ),
        Row::harmless(
            "smbios",
            "in another form",
            words("-machine smbios-entry-point-type=64"),
        ),
        Row::harmless(
            "order",
            "everything else first",
            words("-boot order=nd,menu=on,splash-time=60000,strict=on"),
        ),
        Row::harmless("order", "once", words("-boot once=d,reboot-timeout=1")),
        Row::harmless(
            "clock",
            "long ago",
            words("-rtc base=1970-01-01T00:00:00,clock=vm"),
        ),
        Row::harmless(
            "sleep",
            "as if woken",
            words("-global ICH9-LPC.disable_s3=0 -global ICH9-LPC.disable_s4=0"),
        ),
    ];
    check(&image, rows);
}
