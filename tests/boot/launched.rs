//! `kettle build --launch qemu`: one command starts a machine of the image, verifies it, builds, and
//! ends the machine. The secure processor is the simulated one of `attestation`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::attestation::Platform;
use crate::image::Image;
use crate::machine::initrd;

/// A directory with an image as `--image` takes it, and the output of builds.
struct Place<'a> {
    platform: &'a Platform,
    directory: tempfile::TempDir,
}

impl<'a> Place<'a> {
    /// Links the files of an image, with this kernel and initrd.
    fn new(platform: &'a Platform, image: &Image, initrd: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("firmware.fd", image.file("firmware.fd")),
            ("cmdline", image.file("cmdline")),
            ("root.img", image.file("root.img")),
            ("kernel", image.kernel().to_owned()),
            ("initrd", initrd.to_owned()),
        ] {
            symlink(file.canonicalize().unwrap(), directory.path().join(name)).unwrap();
        }
        Self {
            platform,
            directory,
        }
    }

    fn build(&self) -> Output {
        let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects/hello");
        Command::new(env!("CARGO_BIN_EXE_kettle"))
            .arg("build")
            .arg(hello)
            .args(["--launch", "qemu", "--vcpus", "2", "--memory", "2048"])
            .arg("--image")
            .arg(self.directory.path())
            .arg("--trust-root")
            .arg(self.platform.path("keys/trust-root.pem"))
            .arg("--measurements")
            .arg(self.platform.image.file("measurements.json"))
            .args(["--out", "out"])
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    /// The machines that still boot something of this directory.
    fn machines(&self) -> Vec<PathBuf> {
        let own = self.directory.path().to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap();
        let processes = processes.map(|entry| entry.unwrap().path());
        processes
            .filter(|process| {
                let words = fs::read(process.join("cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&words).contains(own)
            })
            .collect()
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn one_command_starts_a_machine_builds_and_ends_it() {
    let platform = Platform::new(&[]);
    let initrd = initrd(&platform.image, &platform.host, &platform.path("."));
    let place = Place::new(&platform, &platform.image, &initrd);
    let output = place.build();
    assert!(output.status.success(), "{output:?}");
    let out = place.directory.path().join("out");
    assert!(out.join("hello.tar.gz").exists());
    assert!(out.join("hello/artifacts/hello").exists());
    assert!(place.machines().is_empty(), "{:?}", place.machines());
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_launched_machine_without_evidence_gets_nothing() {
    let (platform, plain) = (Platform::new(&[]), Image::from_environment());
    let place = Place::new(&platform, &plain, &plain.file("initrd"));
    let output = place.build();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said.contains("no evidence about itself"), "{said}");
    assert!(!place.directory.path().join("out").exists());
    assert!(place.machines().is_empty(), "{:?}", place.machines());
}
