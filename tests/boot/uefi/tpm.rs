//! A TPM that is a process, and what it was told: its log has every command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// TPM2_PCR_Extend (TPM 2.0 Library, part 2, section 6.5.2).
const PCR_EXTEND: u32 = 0x182;
/// SHA-256 as an algorithm: the bank of this TPM that counts.
const SHA256: u16 = 0x000b;
/// The algorithms for which firmware sends digests, and the bytes of each (TCG Algorithm Registry).
const DIGESTS: [(u16, usize); 5] = [
    (0x0004, 20),
    (SHA256, 32),
    (0x000c, 48),
    (0x000d, 64),
    (0x0012, 32),
];
/// How long its socket may take to be there.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The level at which the log has the bytes of every command.
const LOG_LEVEL: u32 = 20;

/// A TPM that is on.
pub struct Tpm {
    process: Child,
    directory: PathBuf,
}

/// The digests with which each register was extended, in order.
pub struct Registers(BTreeMap<u32, Vec<[u8; 32]>>);

impl Tpm {
    /// Starts a new TPM in a directory.
    pub fn start(directory: &Path) -> Self {
        Self::make(directory);
        Self::of(directory)
    }

    /// Makes the state of a new TPM in a directory.
    pub fn make(directory: &Path) {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir(directory).unwrap();
        let mut setup = Command::new("swtpm_setup");
        setup.args(["--tpm2", "--pcr-banks", "sha256", "--tpmstate"]);
        let output = setup.arg(directory).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts the TPM whose state a directory has.
    pub fn of(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--terminate"])
            .arg("--tpmstate")
            .arg(format!("dir={}", directory.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", at("socket")))
            .arg("--log")
            .arg(format!("file={},level={LOG_LEVEL}", at("log")))
            .spawn()
            .unwrap();
        let tpm = Self {
            process,
            directory: directory.to_owned(),
        };
        let start = Instant::now();
        while !directory.join("socket").exists() {
            assert!(start.elapsed() < START_LIMIT, "swtpm does not start");
            sleep(Duration::from_millis(20));
        }
        tpm
    }

    /// Returns the arguments with which QEMU has this TPM.
    pub fn arguments(&self) -> Vec<String> {
        let socket = self.directory.join("socket");
        [
            "-chardev",
            &format!("socket,id=tpm,path={}", socket.display()),
            "-tpmdev",
            "emulator,id=tpm0,chardev=tpm",
            "-device",
            "tpm-crb,tpmdev=tpm0",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Waits until the TPM has ended with its machine, and returns what it was told.
    pub fn end(mut self) -> Registers {
        let start = Instant::now();
        while self.process.try_wait().unwrap().is_none() && start.elapsed() < START_LIMIT {
            sleep(Duration::from_millis(20));
        }
        let log = fs::read(self.directory.join("log")).unwrap();
        Registers::of(&String::from_utf8_lossy(&log))
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registers {
    /// Reads a log: after a line with `SWTPM_IO_Read` the bytes of a command, in lines that begin
    /// with a space.
    fn of(log: &str) -> Self {
        let mut registers = Self(BTreeMap::new());
        let mut command = None;
        for line in log.lines().chain([""]) {
            let bytes = line.strip_prefix(' ').map(|line| line.replace(' ', ""));
            match (bytes.and_then(|text| hex::decode(text).ok()), &mut command) {
                (Some(bytes), Some(command)) => Vec::extend(command, bytes),
                (_, ended) => {
                    if let Some(command) = ended.take() {
                        registers.extend(&command);
                    }
                }
            }
            if line.contains("SWTPM_IO_Read") {
                command = Some(Vec::new());
            }
        }
        assert!(!registers.0.is_empty(), "the log of swtpm has no command");
        registers
    }

    /// Takes note of a command, if it extends a register: tag, size, code, register, an
    /// authorisation with its size in front, and digests, each after its algorithm.
    fn extend(&mut self, command: &[u8]) {
        let u32_at = |at: usize| u32::from_be_bytes(command[at..at + 4].try_into().unwrap());
        if command.len() < 10 || u32_at(6) != PCR_EXTEND {
            return;
        }
        let mut at = 18 + u32_at(14) as usize;
        let banks = u32_at(at);
        at += 4;
        for _ in 0..banks {
            let algorithm = u16::from_be_bytes([command[at], command[at + 1]]);
            let (_, size) = DIGESTS.iter().find(|(it, _)| *it == algorithm).unwrap();
            if algorithm == SHA256 {
                let digest = command[at + 2..at + 2 + size].try_into().unwrap();
                self.0.entry(u32_at(10)).or_default().push(digest);
            }
            at += 2 + size;
        }
    }

    /// Returns how often a register was extended.
    pub fn extended(&self, number: u32) -> usize {
        self.0.get(&number).map_or(0, Vec::len)
    }

    /// Returns a register's value, in hex.
    pub fn value(&self, number: u32) -> String {
        let extended = self.0.get(&number).map_or(&[][..], Vec::as_slice);
        let value = extended.iter().fold([0; 32], |value: [u8; 32], digest| {
            Sha256::new()
                .chain_update(value)
                .chain_update(digest)
                .finalize()
                .into()
        });
        hex::encode(value)
    }
}
