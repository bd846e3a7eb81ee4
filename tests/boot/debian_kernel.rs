//! Modules, which only the variant with Debian's kernel has. `KETTLE_IMAGE` names the directory of
//! `scripts/build-image --kernel debian`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::image::Image;
use crate::machine::{Host, Machine};

/// Returns an initrd with one module of the image, without its signature, to be loaded before all
/// others.
fn unsigned_module(image: &Image, directory: &Path) -> PathBuf {
    let run = |script: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", script, "-"])
            .arg(image.file("initrd"))
            .current_dir(directory);
        assert!(bash.status().unwrap().success(), "{script}");
    };
    run(
        "mkdir modules && zstd --quiet --decompress --stdout \"$1\" | \
         cpio --quiet --extract --to-stdout 'modules/*-dm-mod.ko' >signed",
    );
    let signed = fs::read(directory.join("signed")).unwrap();
    // The kernel's scripts/sign-file: the module, the signature, how long it is in a structure of
    // 12 bytes, this.
    let marker = b"~Module signature appended~\n";
    let end = signed.strip_suffix(marker).unwrap().len();
    let length = u32::from_be_bytes(signed[end - 4..end].try_into().unwrap()) as usize;
    fs::write(
        directory.join("modules/00-unsigned.ko"),
        &signed[..end - 12 - length],
    )
    .unwrap();
    run("echo modules/00-unsigned.ko | cpio --quiet --create --format=newc >segment");
    directory.join("segment")
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn an_initrd_with_a_module_that_nobody_signed_ends_the_machine() {
    let (image, directory) = (Image::from_environment(), TempDir::new().unwrap());
    let segment = Some(unsigned_module(&image, directory.path()));
    let console = Machine::start(
        &image,
        &Host {
            segment,
            ..Host::honest(&image)
        },
    )
    .wait_for_its_end();
    assert!(
        console.contains("halting: modules: module 00-unsigned.ko: "),
        "{console}"
    );
    assert!(!console.contains("listening"), "{console}");
}
