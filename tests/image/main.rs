//! What is in the built image? The files in the directory that `KETTLE_IMAGE` names are listed
//! without booting them. Run like the boot tests: `KETTLE_IMAGE=… cargo test --test image --
//! --ignored`.

#![allow(clippy::expect_used, clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

mod cpio;
mod elf;
mod erofs;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use erofs::Kind;
use kettle::digest::Sha256Digest;

const MIB: u64 = 1 << 20;
/// The most bytes that each file may have.
const LIMITS: [(&str, u64); 5] = [
    ("firmware.fd", MIB / 4),
    ("kernel", 5 * MIB),
    ("initrd", 2 * MIB),
    ("kettle-init", 5 * MIB),
    ("root.img", 480 * MIB),
];
/// The limits with Debian's kernel, whose modules are in the initrd.
const LIMITS_WITH_MODULES: [(&str, u64); 2] = [("kernel", 13 * MIB), ("initrd", 6 * MIB)];

/// Set-user-ID and set-group-ID, of inode(7).
const SET_ID: u16 = 0o6000;

/// Programs that bring in software from outside of what is measured.
const PACKAGE_MANAGERS: [&str; 17] = [
    "apk", "apt", "apt-get", "aptitude", "cpan", "dnf", "dpkg", "dpkg-deb", "flatpak", "gem",
    "npm", "pacman", "pip", "pip3", "rpm", "snap", "yum",
];
/// Programs that let somebody log in or become another user, and service managers.
const WAYS_IN: [&str; 17] = [
    "agetty", "busybox", "chsh", "dropbear", "getty", "init", "login", "mount", "newgrp", "passwd",
    "ssh", "sshd", "su", "sudo", "sulogin", "systemd", "telnetd",
];
/// Programs that the image is for: a listing without them is wrong.
const PRESENT: [&str; 26] = [
    "bash",
    "bison",
    "bwrap",
    "cargo",
    "cmake",
    "dash",
    "file",
    "flex",
    "gcc",
    "git",
    "ld",
    "lld",
    "m4",
    "make",
    "nasm",
    "nix",
    "patch",
    "perl",
    "pkg-config",
    "protoc",
    "python3",
    "rust-lld",
    "rustc",
    "rustdoc",
    "rustfmt",
    "unzip",
];
/// The directory of libraries.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu/";
/// The static libraries that there are beside the compiler's: those of libc.
const STATIC: [&str; 16] = [
    "libBrokenLocale.a",
    "libanl.a",
    "libc.a",
    "libc_nonshared.a",
    "libcrypt.a",
    "libdl.a",
    "libg.a",
    "libm-2.41.a",
    "libm.a",
    "libmcheck.a",
    "libmvec.a",
    "libpthread.a",
    "libpthread_nonshared.a",
    "libresolv.a",
    "librt.a",
    "libutil.a",
];

/// Every path of the root image with its inode.
static ROOT: LazyLock<Vec<(String, erofs::Inode)>> =
    LazyLock::new(|| erofs::list(&file("root.img")));
static INITRD: LazyLock<Vec<cpio::Entry>> = LazyLock::new(|| cpio::list(&file("initrd")));

fn file(name: &str) -> PathBuf {
    let directory = std::env::var_os("KETTLE_IMAGE");
    let directory = directory.unwrap_or_else(|| {
        panic!("KETTLE_IMAGE is not set: it names the directory of a built image")
    });
    Path::new(&directory).join(name)
}

/// Returns whether this is the image with Debian's kernel.
fn has_modules() -> bool {
    match fs::read_to_string(file("kernel-kind")).unwrap().trim_end() {
        "own" => false,
        "debian" => true,
        other => panic!("a kernel of kind {other}"),
    }
}

/// Returns the words of each line of a file in `image/`, without comments.
fn entries(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("image")
            .join(name),
    )
    .unwrap();
    let lines = text.lines().map(|line| {
        line.split('#')
            .next()
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    });
    lines.filter(|words: &Vec<_>| !words.is_empty()).collect()
}

/// Returns the names of everything in a directory for programs.
fn programs() -> BTreeSet<&'static str> {
    let split = ROOT.iter().filter_map(|(path, _)| path.rsplit_once('/'));
    split
        .filter_map(|(directory, name)| {
            (directory.ends_with("bin") || directory.contains("libexec")).then_some(name)
        })
        .collect()
}

#[test]
#[ignore = "needs a built image"]
fn no_file_of_the_root_gives_rights_to_who_runs_it() {
    for (path, inode) in ROOT.iter() {
        assert_eq!(inode.mode & SET_ID, 0, "{path} has mode {:o}", inode.mode);
        // File capabilities are extended attributes: capabilities(7).
        assert_eq!(
            inode.extended_attributes, 0,
            "{path} has extended attributes"
        );
        assert_eq!((inode.user, inode.group), (0, 0), "{path}");
    }
}

#[test]
#[ignore = "needs a built image"]
fn the_root_is_files_directories_and_links() {
    for (path, inode) in ROOT.iter() {
        assert!(
            matches!(inode.kind(), Kind::File | Kind::Directory | Kind::Link),
            "{path} has mode {:o}",
            inode.mode
        );
    }
}

#[test]
#[ignore = "needs a built image"]
fn there_is_no_package_manager_and_no_way_in() {
    let names = programs();
    for name in PRESENT {
        assert!(
            names.contains(name),
            "{name} is not listed: is this the root?"
        );
    }
    for name in PACKAGE_MANAGERS.iter().chain(&WAYS_IN) {
        assert!(!names.contains(name), "{name} is in the root image");
    }
    // Their directories also have their names.
    let manager = |path: &str| {
        PACKAGE_MANAGERS
            .iter()
            .any(|name| path.rsplit('/').next() == Some(name))
    };
    let found: Vec<_> = ROOT
        .iter()
        .map(|(path, _)| path)
        .filter(|path| manager(path))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Returns the names of everything in the directory of libraries.
fn library_names() -> BTreeSet<&'static str> {
    let names = ROOT
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(LIBRARIES));
    names.filter(|name| !name.contains('/')).collect()
}

#[test]
#[ignore = "needs a built image"]
fn what_artifacts_contain_of_a_library_is_libcs_or_the_compilers() {
    let all = library_names().into_iter();
    let found: Vec<_> = all.filter(|name| name.ends_with(".a")).collect();
    assert_eq!(found, STATIC);
}

#[test]
#[ignore = "needs a built image"]
fn every_library_has_its_package_in_the_list() {
    let list = fs::read_to_string(file("root").join("usr/share/kettle/libraries")).unwrap();
    let mut listed = BTreeSet::new();
    for line in list.lines() {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words.len(), 3, "{line}");
        assert!(
            listed.insert(words[0].to_owned()),
            "{line} has a name twice"
        );
    }
    for name in [
        "libc.so.6",
        "libgcc_s.so.1",
        "libssl.so.3",
        "libstdc++.so.6",
    ] {
        assert!(listed.contains(name), "{name} is not in the list");
    }
    let links = entries("links");
    let is_ours = |name: &str| {
        let path = format!("{LIBRARIES}{name}");
        links.iter().any(|words| format!("/{}", words[0]) == path)
    };
    let is_library = |name: &str| name.ends_with(".so") || name.contains(".so.");
    for name in library_names() {
        if is_library(name) && !is_ours(name) {
            assert!(listed.contains(name), "{name} has no package in the list");
        }
    }
    assert!(
        ROOT.iter()
            .any(|(path, _)| path == "/usr/share/kettle/libraries")
    );
}

/// PID 1 takes these digests as they are, instead of reading half a gigabyte at every start.
#[test]
#[ignore = "needs a built image"]
fn the_listed_digests_are_those_of_the_toolchain() {
    let root = file("root").canonicalize().unwrap();
    let list = fs::read_to_string(root.join("usr/share/kettle/digests")).unwrap();
    let mut listed = BTreeSet::new();
    for line in list.lines() {
        let (digest, path) = line.split_once("  ").unwrap();
        let resolved = root.join(path).canonicalize().unwrap();
        assert!(resolved.starts_with(&root), "{path} leads out of the root");
        let content = fs::read(resolved).unwrap();
        assert_eq!(digest, Sha256Digest::of(&content).to_string(), "{path}");
        listed.insert(path.to_owned());
    }
    // What src/toolchain/measure.rs hashes.
    for part in [
        "usr/bin/rustc",
        "usr/bin/cargo",
        "/librustc_driver-",
        "/libLLVM",
        "/libstd-",
        "/rust-lld",
        "usr/bin/cc",
        "/cc1",
        "/collect2",
        "usr/bin/as",
        "usr/bin/ld",
        "usr/bin/ar",
        "usr/bin/nix",
        "usr/bin/bash-static",
    ] {
        assert!(listed.iter().any(|path| path.contains(part)), "{part}");
    }
}

#[test]
#[ignore = "needs a built image"]
fn the_initrd_is_init_empty_directories_and_the_modules_of_debians_kernel() {
    let found: Vec<_> = INITRD
        .iter()
        .map(|entry| (entry.path.clone(), entry.mode))
        .collect();
    let mut wanted = vec![];
    for entry in entries("initrd") {
        let mode = u32::from_str_radix(&entry[2], 8).unwrap();
        let kind = if entry[0] == "dir" {
            cpio::DIRECTORY
        } else {
            cpio::FILE
        };
        wanted.push((entry[1].clone(), kind | mode));
    }
    if has_modules() {
        wanted.push(("modules".to_owned(), cpio::DIRECTORY | 0o755));
        for (number, entry) in entries("debian-kernel/modules").iter().enumerate() {
            wanted.push((
                format!("modules/{number:02}-{}.ko", entry[0]),
                cpio::FILE | 0o444,
            ));
        }
    }
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
#[ignore = "needs a built image"]
fn every_module_is_signed() {
    let modules: Vec<_> = INITRD
        .iter()
        .filter(|entry| entry.path.ends_with(".ko"))
        .collect();
    assert_eq!(!modules.is_empty(), has_modules());
    for module in modules {
        assert!(
            module.content.starts_with(b"\x7fELF"),
            "{} is compressed",
            module.path
        );
        assert!(
            module.content.ends_with(b"~Module signature appended~\n"),
            "{} is not signed",
            module.path
        );
    }
}

#[test]
#[ignore = "needs a built image"]
fn init_is_the_appliance_and_loads_nothing() {
    let init = &INITRD
        .iter()
        .find(|entry| entry.path == "init")
        .unwrap()
        .content;
    assert!(
        *init == fs::read(file("kettle-init")).unwrap(),
        "init is another program than kettle-init"
    );
    assert_eq!(elf::loads(init), Vec::<&str>::new());
    assert!(
        contains(init, b"kettle.build/appliance/"),
        "its strings can be read"
    );
    for word in [&b"simulat"[..], b"Simulat"] {
        assert!(!contains(init, word), "init knows the simulator");
    }
    for word in [&b"--listen"[..], b"--print sysroot"] {
        assert!(!contains(init, word), "init has what only a host runs");
    }
}

#[test]
#[ignore = "needs a built image"]
fn files_are_as_small_as_they_should_be() {
    for (name, limit) in LIMITS {
        let other = LIMITS_WITH_MODULES
            .iter()
            .find(|(other, _)| has_modules() && *other == name);
        let limit = other.map_or(limit, |(_, limit)| *limit);
        let size = fs::metadata(file(name)).unwrap().len();
        assert!(
            size < limit,
            "{name} has {size} bytes, {limit} are the limit"
        );
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
