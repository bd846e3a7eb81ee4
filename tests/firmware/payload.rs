//! The kernel for tests, assembled: `payload.S` says what it does.

use std::path::Path;
use std::process::Command;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/firmware/payload.S");

/// The payload's action between its two lines.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    Nothing,
    WriteData,
    ExecuteLoaderCode,
    WriteCode,
    ExecuteData,
    ExecuteStack,
    ExecuteLoaderData,
    WriteFirmware,
    Return,
}

impl Probe {
    const ALL: [Self; 9] = [
        Self::Nothing,
        Self::WriteData,
        Self::ExecuteLoaderCode,
        Self::WriteCode,
        Self::ExecuteData,
        Self::ExecuteStack,
        Self::ExecuteLoaderData,
        Self::WriteFirmware,
        Self::Return,
    ];

    /// Returns the name of the action in the source.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "NOTHING",
            Self::WriteData => "WRITE_DATA",
            Self::ExecuteLoaderCode => "EXECUTE_LOADER_CODE",
            Self::WriteCode => "WRITE_CODE",
            Self::ExecuteData => "EXECUTE_DATA",
            Self::ExecuteStack => "EXECUTE_STACK",
            Self::ExecuteLoaderData => "EXECUTE_LOADER_DATA",
            Self::WriteFirmware => "WRITE_FIRMWARE",
            Self::Return => "RETURN",
        }
    }

    /// Assembles the payload with this action.
    pub fn assemble(self, to: &Path) {
        let numbers = Self::ALL
            .iter()
            .enumerate()
            .map(|(number, probe)| format!("-D{}={number}", probe.name()));
        let status = Command::new("cc")
            .args(["-nostdlib", "-static", "-no-pie"])
            .args([
                "-Wl,--oformat=binary",
                "-Wl,-Ttext=0",
                "-Wl,--build-id=none",
                "-Wl,--entry=0",
            ])
            .args(numbers)
            .arg(format!("-DPROBE={}", self.name()))
            .arg(SOURCE)
            .arg("-o")
            .arg(to)
            .status();
        assert!(status.unwrap().success(), "{SOURCE} cannot be assembled");
    }
}
