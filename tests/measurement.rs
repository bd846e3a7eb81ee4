//! Does `kettle measure` calculate the values that other calculators publish and that hardware
//! reported, for every vector, and refuse inputs that it cannot measure?
//! `tests/measurement_independent.sh` runs another calculator on further combinations.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kettle::digest::Sha256Digest;
use kettle::snp::measurement::{
    BootHashes, CpuSignature, Firmware, FirmwareError, Launch, LaunchError, Vmm,
};
use serde_json::Value;
use sha2::{Digest as _, Sha384};

/// Firmware with and without an area for the hashes of kernel, initrd and command line.
const WITH_HASHES: &str = "measurement/ovmf_AmdSev_suffix.bin";
const WITHOUT_HASHES: &str = "measurement/ovmf_OvmfX64_suffix.bin";
/// The number of vectors in the file: a lost one fails.
const VECTORS: usize = 44;

#[test]
fn agrees_with_every_vector() {
    let document = vectors();
    let vectors = document["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), VECTORS);
    let wrong: Vec<_> = vectors
        .iter()
        .filter_map(|vector| disagreement(vector).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn knows_every_name_of_the_vectors() {
    for (name, signature) in vectors()["vcpu_sigs"].as_object().unwrap() {
        assert_eq!(
            name.parse::<CpuSignature>().unwrap().to_string(),
            signature.as_str().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn command_prints_what_the_vectors_say() {
    for vector in vectors()["vectors"].as_array().unwrap() {
        if vector["use_precomputed_ovmf_hash"].as_bool().unwrap() {
            continue; // Without the whole firmware there is nothing to give to the command.
        }
        let output = kettle(&command(vector));
        match vector["expected_digest"].as_str() {
            Some(digest) => assert_eq!(printed(&output), format!("{digest}\n"), "{}", vector["id"]),
            None => assert_refused(&output, "the firmware does not measure a kernel"),
        }
    }
}

#[test]
fn ranges_and_types_give_what_single_runs_give() {
    let firmware = path(WITH_HASHES);
    let common = ["measure", "--firmware", firmware.to_str().unwrap()];
    let many = kettle(&[&common[..], &["--vcpus", "1-3", "--vcpus=64"], &types()].concat());
    let expected: String = ["EPYC-v4", "EPYC-Turin"]
        .iter()
        .flat_map(|name| ["1", "2", "3", "64"].map(|vcpus| (*name, vcpus)))
        .map(|(name, vcpus)| {
            let one = kettle(&[&common[..], &["--vcpus", vcpus, "--vcpu-type", name]].concat());
            format!("{name} {vcpus} {}", printed(&one))
        })
        .collect();
    assert_eq!(printed(&many), expected);
}

#[test]
fn a_chain_leads_to_every_single_measurement() {
    let firmware = path(WITH_HASHES);
    let common = ["measure", "--firmware", firmware.to_str().unwrap()];
    let chain = printed(&kettle(&[&common[..], &["--chain"], &types()].concat()));
    let digest = |cpu: &str, name: &str| {
        let start = format!("{cpu} {name} ");
        hex::decode(
            chain
                .lines()
                .find_map(|line| line.strip_prefix(&start))
                .unwrap(),
        )
        .unwrap()
    };
    assert_eq!(chain.lines().count(), 6);
    for cpu in ["EPYC-v4", "EPYC-Turin"] {
        let [mut launch, bsp, ap] =
            ["launch-digest", "bsp-vmsa", "ap-vmsa"].map(|name| digest(cpu, name));
        let single = kettle(&[&common[..], &["--vcpus", "1-255", "--vcpu-type", cpu]].concat());
        for (vcpus, line) in (1..).zip(printed(&single).lines()) {
            // As the firmware adds a VMSA (AMD 56860, SNP_LAUNCH_UPDATE).
            let page = if vcpus == 1 { &bsp } else { &ap };
            let info = [
                &launch[..],
                page,
                &hex::decode("7000020000000000").unwrap(),
                &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0, 0],
            ];
            launch = Sha384::digest(info.concat()).to_vec();
            assert_eq!(line, format!("{cpu} {vcpus} {}", hex::encode(&launch)));
        }
    }
}

#[test]
fn a_published_file_gives_what_its_inputs_give() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("published.json");
    let firmware = path(WITH_HASHES);
    let common = ["measure", "--firmware", firmware.to_str().unwrap()];
    let measured: Value = serde_json::from_str(&printed(&kettle(
        &[&common[..], &["--chain", "--json"], &types()].concat(),
    )))
    .unwrap();
    let digest = "ab".repeat(32);
    let mut published = serde_json::json!({
        "format": 2,
        "version": "1.2.3",
        "firmware_sha256": measured["firmware_sha256"],
        "kernel_sha256": digest,
        "initrd_sha256": digest,
        "command_line_sha256": digest,
        "root_image_sha256": digest,
        "root_hash": digest,
        "vmm": measured["vmm"],
        "guest_policy": "0x30000",
        "guest_features": measured["guest_features"],
        "max_vcpus": 255,
        "chains": measured["chains"],
    });
    let ask = |document: &Value, more: &[&str]| {
        fs::write(&file, document.to_string()).unwrap();
        kettle(&[&["measure", "--published", file.to_str().unwrap()], more].concat())
    };
    let wanted = [&["--vcpus", "1-255"][..], &types()].concat();
    let expected = printed(&kettle(&[&common[..], &wanted].concat()));
    assert_eq!(printed(&ask(&published, &wanted)), expected);
    let one = ["--vcpus=1", "--vcpu-type=EPYC-v4"];
    for (arguments, message) in [
        (
            &["--vcpus=256", "--vcpu-type=EPYC-v4"][..],
            "no measurement for 256 vCPUs of type EPYC-v4",
        ),
        (
            &["--vcpus=1", "--vcpu-type=EPYC-Milan"],
            "no measurement for 1 vCPUs of type EPYC-Milan",
        ),
        (&["--vcpus=1"], "a --vcpu-type"),
        (
            &[&["--variant=debian"], &one[..]].concat(),
            "of variant debian",
        ),
        (
            &[&["--firmware", "x"], &one[..]].concat(),
            "cannot be used with",
        ),
    ] {
        assert_refused(&ask(&published, arguments), message);
    }
    published["variants"] = serde_json::json!([{
        "name": "debian",
        "kernel_sha256": digest,
        "initrd_sha256": digest,
        "command_line_sha256": digest,
        "chains": [measured["chains"][1]],
    }]);
    let variant = printed(&ask(
        &published,
        &[
            "--variant=debian",
            "--vcpus=1-255",
            "--vcpu-type=EPYC-Turin",
        ],
    ));
    assert_eq!(
        variant,
        expected
            .lines()
            .skip(255)
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    );
    published["format"] = 3.into();
    assert_refused(
        &ask(&published, &one),
        "made by appliance 1.2.3, newer than this verifier",
    );
    // The old form lists each of them.
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements/0.1.0.json");
    let listed: Value = serde_json::from_slice(&fs::read(&old).unwrap()).unwrap();
    for entry in listed["measurements"]
        .as_array()
        .unwrap()
        .iter()
        .step_by(37)
    {
        let cpu = entry["vcpu_type"].as_str().unwrap();
        let vcpus = entry["vcpus"].to_string();
        let shape = ["--vcpu-type", cpu, "--vcpus", &vcpus];
        let found = kettle(
            &[
                &["measure", "--published", old.to_str().unwrap()],
                &shape[..],
            ]
            .concat(),
        );
        assert_eq!(printed(&found).trim_end(), entry["measurement"]);
    }
}

#[test]
fn json_has_the_digest_of_every_input() {
    let (firmware, kernel, initrd) = (
        path(WITH_HASHES),
        path("measurement/kernel-a.bin"),
        path("measurement/initrd-a.bin"),
    );
    let [firmware, kernel, initrd] =
        [&firmware, &kernel, &initrd].map(|path| path.to_str().unwrap());
    let boot = [
        "--kernel",
        kernel,
        "--initrd",
        initrd,
        "--command-line",
        "console=ttyS0",
    ];
    let shape = ["--vcpus", "2", "--vcpu-type", "EPYC-v4", "--json"];
    let output = kettle(&[&["measure", "--firmware", firmware], &boot[..], &shape].concat());
    let expected = serde_json::json!({
        "firmware_sha256": sha256(firmware),
        "kernel_sha256": sha256(kernel),
        "initrd_sha256": sha256(initrd),
        "command_line_sha256": Sha256Digest::of(b"console=ttyS0").to_string(),
        "vmm": "qemu",
        "guest_features": "0x1",
        "measurements": [{
            "vcpu_type": "EPYC-v4",
            "vcpu_signature": "0x800f12",
            "vcpus": 2,
            "measurement": expected("meas-calc-vcpus-2"),
        }],
    });
    assert_eq!(
        serde_json::from_str::<Value>(&printed(&output)).unwrap(),
        expected
    );
}

#[test]
fn command_line_file_is_taken_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cmdline");
    for (text, id) in [
        ("console=ttyS0", "meas-calc-cmdline-4"),
        ("console=ttyS0\n", "meas-calc-cmdline-5"),
    ] {
        fs::write(&file, text).unwrap();
        let (firmware, kernel, initrd) = (
            path(WITH_HASHES),
            path("measurement/kernel-a.bin"),
            path("measurement/initrd-a.bin"),
        );
        let output = kettle(&[
            "measure",
            "--firmware",
            firmware.to_str().unwrap(),
            "--kernel",
            kernel.to_str().unwrap(),
            "--initrd",
            initrd.to_str().unwrap(),
            "--command-line-file",
            file.to_str().unwrap(),
            "--vcpus=1",
            "--vcpu-type=EPYC-v4",
        ]);
        assert_eq!(printed(&output), format!("{}\n", expected(id)));
    }
}

#[test]
fn refuses_wrong_usage_with_a_precise_message() {
    let (firmware, without, kernel) = (
        path(WITH_HASHES),
        path(WITHOUT_HASHES),
        path("measurement/kernel-b.bin"),
    );
    let [firmware, without, kernel] =
        [&firmware, &without, &kernel].map(|path| path.to_str().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let huge = directory.path().join("huge");
    fs::File::create(&huge)
        .unwrap()
        .set_len((16 << 20) + 1)
        .unwrap();
    let long = "x".repeat((64 << 10) + 1);
    let shape = ["--vcpus=1", "--vcpu-type=EPYC-v4"];
    for (arguments, message) in [
        (
            &["--firmware", firmware, "--vcpus=1"][..],
            "a --vcpu-type or a --vcpu-signature is needed",
        ),
        (
            &["--firmware", firmware, "--vcpus=0", "--vcpu-type=EPYC"],
            "no range within 1 to 4096",
        ),
        (
            &["--firmware", firmware, "--vcpus=3-2", "--vcpu-type=EPYC"],
            "no range within 1 to 4096",
        ),
        (
            &["--firmware", firmware, "--vcpus=4097", "--vcpu-type=EPYC"],
            "no range within 1 to 4096",
        ),
        (
            &["--firmware", firmware, "--vcpus=1", "--vcpu-type=Xeon"],
            "\"Xeon\" is no vCPU type",
        ),
        (
            &[
                "--firmware",
                firmware,
                "--vcpus=1",
                "--vcpu-signature=100000000",
            ],
            "out of range",
        ),
        (
            &["--firmware", "/nowhere", shape[0], shape[1]],
            "/nowhere cannot be read",
        ),
        (
            &["--firmware", kernel, shape[0], shape[1]],
            "no OVMF table at its end",
        ),
        (
            &["--firmware", huge.to_str().unwrap(), shape[0], shape[1]],
            "MAX_FIRMWARE_BYTES",
        ),
        (
            &[
                "--firmware",
                without,
                "--kernel",
                kernel,
                shape[0],
                shape[1],
            ],
            "the firmware does not measure a kernel",
        ),
        (
            &["--firmware", firmware, "--chain", shape[0], shape[1]],
            "cannot be used with",
        ),
        (&shape, "no firmware: give --firmware FILE"),
        (
            &[
                "--firmware",
                firmware,
                "--initrd",
                kernel,
                shape[0],
                shape[1],
            ],
            "--kernel",
        ),
        (
            &[
                "--firmware",
                firmware,
                "--command-line=a",
                shape[0],
                shape[1],
            ],
            "--kernel",
        ),
        (
            &[
                "--firmware",
                firmware,
                "--kernel",
                kernel,
                "--command-line-file",
                kernel,
                shape[0],
                shape[1],
            ],
            "the command line has a NUL at byte",
        ),
        (
            &[
                "--firmware",
                firmware,
                "--kernel",
                kernel,
                "--command-line",
                &long,
                shape[0],
                shape[1],
            ],
            "MAX_COMMAND_LINE_BYTES",
        ),
    ] {
        assert_refused(&kettle(&[&["measure"], arguments].concat()), message);
    }
}

#[test]
fn damaged_firmware_is_refused_or_measured_as_what_it_is() {
    let boot = BootHashes::new([1; 32], None, b"a").unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for name in [WITH_HASHES, WITHOUT_HASHES] {
        let image = fs::read(path(name)).unwrap();
        let whole = Firmware::parse(&image).unwrap().image_measurement();
        let zeros = image.iter().take_while(|byte| **byte == 0).count();
        let mut refused = 0;
        for _ in 0..4000 {
            let mut changed = image.clone();
            for _ in 0..=next(3) {
                let at = zeros + next(image.len() - zeros);
                changed[at] = [0, 1, 0x7f, 0x80, 0xff, next(256) as u8][next(6)];
            }
            match Firmware::parse(&changed) {
                Ok(firmware) => {
                    assert_eq!(firmware.image_measurement() == whole, changed == image);
                    let launch = Launch::new(&firmware, Some(&boot), Vmm::Qemu);
                    assert_eq!(launch.is_ok(), firmware.measures_kernel());
                }
                Err(_) => refused += 1,
            }
        }
        assert!(
            refused > 50,
            "only {refused} changes to {name} were refused: the changes miss the tables"
        );
    }
}

#[test]
fn every_truncation_is_refused() {
    let image = fs::read(path(WITH_HASHES)).unwrap();
    for size in 0..image.len() {
        assert!(
            matches!(
                Firmware::parse(&image[..size]),
                Err(FirmwareError::Size { .. })
            ),
            "{size} bytes"
        );
        let moved = [&image[size..], &vec![0; size][..]].concat();
        assert!(
            size == 0 || Firmware::parse(&moved).is_err(),
            "moved by {size}"
        );
    }
}

#[test]
fn sections_beyond_the_limits_are_refused() {
    let parse = |sections: &[[u32; 3]]| Firmware::parse(&image(sections, 0x80_b004, 0x81_0c00));
    let hashes = [0x81_0000, 0x1000, 0x10];
    assert!(parse(&[hashes]).unwrap().measures_kernel());
    assert_eq!(
        parse(&[[0, 0x1000, 1]; 65]).unwrap_err(),
        FirmwareError::Sections {
            limit: 64,
            actual: 65
        }
    );
    let pages = FirmwareError::Pages {
        limit: 65_536,
        actual: 0xf_ffff,
    };
    assert_eq!(parse(&[[0, 0xffff_f000, 1]]).unwrap_err(), pages);
    assert_eq!(
        parse(&[hashes, [0, 0x1000, 5]]).unwrap_err(),
        FirmwareError::Kind { index: 1, kind: 5 }
    );
    for [address, size, kind] in [
        [1, 0x1000, 1],
        [0, 0xfff, 1],
        [0, 0, 1],
        [0, 0x2000, 2],
        [0, 0x2000, 0x10],
    ] {
        let expected = FirmwareError::Section {
            index: 0,
            address,
            size,
        };
        assert_eq!(parse(&[[address, size, kind]]).unwrap_err(), expected);
    }
    let repeated = FirmwareError::Repeated {
        entry: "SNP_KERNEL_HASHES section",
    };
    assert_eq!(parse(&[hashes, hashes]).unwrap_err(), repeated);
    for table in [0x80_fc00, 0x81_0f51, 0x81_1000] {
        let expected = FirmwareError::HashTable {
            table,
            section: 0x81_0000,
        };
        assert_eq!(
            Firmware::parse(&image(&[hashes], 0x80_b004, table)).unwrap_err(),
            expected
        );
    }
}

/// Returns how our result for a vector is wrong, through the library.
fn disagreement(vector: &Value) -> Result<(), String> {
    let id = vector["id"].as_str().unwrap();
    let found = launch(vector).map(|launch| {
        let cpu = CpuSignature::from_raw(number(&vector["vcpu_sig"]) as u32);
        let vcpus = vector["vcpus"].as_u64().unwrap() as usize;
        launch
            .by_vcpus(cpu, number(&vector["guest_features"]))
            .nth(vcpus - 1)
            .unwrap()
            .to_string()
    });
    match (
        found,
        vector["expected_digest"].as_str(),
        vector["expected_error"].as_str(),
    ) {
        (Ok(found), Some(expected), None) if found == expected => Ok(()),
        (Err(LaunchError::NoKernelHashes), None, Some("missing-snp-kernel-hashes-section")) => {
            Ok(())
        }
        (found, expected, error) => Err(format!("{id}: {found:?}, not {expected:?} {error:?}")),
    }
}

fn launch(vector: &Value) -> Result<Launch, LaunchError> {
    let kernel = hash(vector, "kernel");
    let command_line = vector["cmdline"].as_str().unwrap_or_default().as_bytes();
    let boot =
        kernel.map(|kernel| BootHashes::new(kernel, hash(vector, "initrd"), command_line).unwrap());
    Launch::new(&firmware(vector), boot.as_ref(), vmm(vector))
}

/// Returns the vector's firmware; when it has only the metadata, an image made of them.
fn firmware(vector: &Value) -> Firmware {
    let metadata = &vector["ovmf_metadata"];
    let bytes = match vector["ovmf"]["file"].as_str() {
        Some(file) => input(file, &vector["ovmf"]["sha256"]),
        None => {
            let sections: Vec<_> = metadata["sections"]
                .as_array()
                .unwrap()
                .iter()
                .map(section)
                .collect();
            let [eip, table] = ["sev_es_reset_eip", "sev_hashes_table_gpa"]
                .map(|name| number(&metadata[name]) as u32);
            image(&sections, eip, table)
        }
    };
    let firmware = Firmware::parse(&bytes).unwrap();
    let known = vector["ovmf_hash_sha384"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    if vector["use_precomputed_ovmf_hash"].as_bool().unwrap() {
        return firmware.with_image_measurement(known);
    }
    assert_eq!(firmware.image_measurement(), known, "{}", vector["id"]);
    firmware
}

fn section(value: &Value) -> [u32; 3] {
    [
        number(&value["gpa"]) as u32,
        number(&value["size"]) as u32,
        value["type"].as_u64().unwrap() as u32,
    ]
}

/// Returns a firmware image of one page with only its tables.
fn image(sections: &[[u32; 3]], reset_address: u32, hash_table: u32) -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let list = words(&sections.concat());
    let header = [
        &b"ASEV"[..],
        &words(&[16 + list.len() as u32, 1, sections.len() as u32]),
    ]
    .concat();
    let entry = |data: &[u8], guid: &str| {
        [
            data,
            &(data.len() as u16 + 18).to_le_bytes(),
            &hex::decode(guid).unwrap(),
        ]
        .concat()
    };
    // GUIDs in the byte order of an image.
    let entries = |distance: u32| {
        [
            entry(&words(&[distance]), "666588dc4a989847a75e5585a7bf67cc"),
            entry(
                &words(&[hash_table, 0x400]),
                "1f3755723b3a044b927b1da6efa8d454",
            ),
            entry(&words(&[reset_address]), "de71f7007e1acb4f890e68c77e2fb44e"),
        ]
        .concat()
    };
    let length = entries(0).len();
    let distance = (32 + 18 + length + list.len() + header.len()) as u32;
    let footer = entry(&[], "de82b596b21ff745baeaa366c55a082d")[2..].to_vec();
    let footer = [&(length as u16 + 18).to_le_bytes()[..], &footer].concat();
    let tail = [header, list, entries(distance), footer, vec![0; 32]].concat();
    [vec![0; 4096 - tail.len()], tail].concat()
}

fn vmm(vector: &Value) -> Vmm {
    match (
        vector["vmm_type"].as_str().unwrap(),
        vector["ec2_vmsa_rdx"].as_str(),
    ) {
        ("qemu", None) => Vmm::Qemu,
        ("ec2", Some("0x600")) => Vmm::Ec2,
        ("ec2", Some("0x0")) => Vmm::Ec2ZeroRdx,
        ("gce", None) => Vmm::Gce,
        other => panic!("unknown hypervisor {other:?}"),
    }
}

/// Returns the command's arguments for a vector.
fn command(vector: &Value) -> Vec<String> {
    let vmm = match vmm(vector) {
        Vmm::Qemu => "qemu",
        Vmm::Ec2 => "ec2",
        Vmm::Ec2ZeroRdx => "ec2-zero-rdx",
        Vmm::Gce => "gce",
    };
    let mut arguments = vec![
        "measure".to_owned(),
        format!("--vmm={vmm}"),
        format!("--vcpus={}", vector["vcpus"]),
    ];
    let mut add = |option: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("--{option}={value}")))
    };
    let file = |name: &str| {
        vector[name]["file"]
            .as_str()
            .map(|file| path(file).to_str().unwrap().to_owned())
    };
    let text = |name: &str| vector[name].as_str().map(str::to_owned);
    add("firmware", file("ovmf"));
    add("kernel", file("kernel"));
    add("initrd", file("initrd"));
    add("command-line", text("cmdline"));
    add("guest-features", text("guest_features"));
    // QEMU has no name for a raw signature.
    match text("vcpu_type").filter(|name| name.starts_with("EPYC")) {
        Some(name) => add("vcpu-type", Some(name)),
        None => add("vcpu-signature", text("vcpu_sig").filter(|_| vmm == "qemu")),
    }
    arguments
}

fn hash(vector: &Value, name: &str) -> Option<[u8; 32]> {
    let digest = match vector[name]["file"].as_str() {
        Some(file) => Sha256Digest::of(&input(file, &vector[name]["sha256"])),
        None => vector[format!("{name}_sha256")].as_str()?.parse().unwrap(),
    };
    Some(*digest.as_bytes())
}

fn input(file: &str, sha256: &Value) -> Vec<u8> {
    let bytes = fs::read(path(file)).unwrap();
    assert_eq!(
        Sha256Digest::of(&bytes).to_string(),
        sha256.as_str().unwrap(),
        "{file}"
    );
    bytes
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(file)
}

fn vectors() -> Value {
    serde_json::from_slice(&fs::read(path("measurement/vectors.json")).unwrap()).unwrap()
}

fn expected(id: &str) -> String {
    let document = vectors();
    let vector = document["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|vector| vector["id"] == id)
        .unwrap();
    vector["expected_digest"].as_str().unwrap().to_owned()
}

fn types() -> [&'static str; 2] {
    ["--vcpu-type=EPYC-v4", "--vcpu-type=EPYC-Turin"]
}

fn sha256(path: &str) -> String {
    Sha256Digest::of(&fs::read(path).unwrap()).to_string()
}

fn kettle<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kettle"))
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn assert_refused(output: &Output, message: &str) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.is_empty()),
        (Some(2), true),
        "{message}: {complaint}"
    );
    assert!(
        complaint.contains(message),
        "{complaint:?} does not say {message:?}"
    );
}
