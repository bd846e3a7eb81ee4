//! Runs of `kettle build`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use kettle::simulator::Faults;
use serde_json::Value;

use super::harness::Server;
use super::processors::{Directory, MEASUREMENT};

/// The statuses of `kettle build --help`.
pub const ACCEPTED: i32 = 0;
pub const REJECTED: i32 = 1;
pub const NOTHING: i32 = 2;
pub const FAILED: i32 = 3;
pub const NO_FREE_MACHINE: i32 = 4;

/// A text in every source of these tests, which must not reach an unverified machine.
pub const MARKER: &str = "the-source-that-nobody-may-see";

/// Returns a processor that all tests share: making its keys takes a while.
pub fn processor() -> &'static Directory {
    static DIRECTORY: OnceLock<Directory> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let faults = Faults {
            reports: Some(u32::MAX),
            ..Faults::default()
        };
        Directory::with(faults)
    })
}

/// Starts an appliance with the shared processor and a DNS name.
pub fn named_appliance(name: &str) -> Server {
    Server::with_options(&[&processor().options()[..], &["--host", name]].concat())
}

/// Starts an appliance with the shared processor.
pub fn appliance() -> Server {
    Server::with_options(&processor().options())
}

/// A directory with a source, and with the output of runs.
pub struct Desk(tempfile::TempDir);

impl Desk {
    /// Creates the directory, with a package that prints the marker.
    pub fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let root = desk.source();
        fs::create_dir_all(root.join("src")).unwrap();
        let manifest = "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
        let lockfile = "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n";
        let program = format!("fn main() {{ println!(\"{MARKER}\") }}\n");
        for (name, content) in [
            ("Cargo.toml", manifest),
            ("Cargo.lock", lockfile),
            ("src/main.rs", &program),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the directory with the package.
    pub fn source(&self) -> PathBuf {
        self.path("package")
    }

    /// Returns the directory for the output.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Prepares a run that trusts the simulated processor and its measurement.
    pub fn command(&self, source: &str, to: &str) -> Command {
        let mut command = self.bare(source, to);
        command
            .arg("--trust-root")
            .arg(processor().trust_root())
            .args(["--measurement", &MEASUREMENT.to_string()]);
        command
    }

    /// Prepares a run without options about evidence.
    pub fn bare(&self, source: &str, to: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
        command
            .args(["build", source, "--to", to, "--out", "out"])
            .current_dir(self.0.path())
            .env_remove("KETTLE_APPLIANCE")
            .stdin(Stdio::null());
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(variable);
        }
        command
    }

    /// Builds the package, and returns the run.
    pub fn build<A: AsRef<OsStr>>(&self, to: &str, more: &[A]) -> Run {
        Run::of(self.command("package", to).args(more))
    }

    /// Returns whether no output was written anywhere.
    pub fn is_empty(&self) -> bool {
        !self.out().exists()
    }

    pub fn artifact(&self) -> PathBuf {
        self.out().join("package/artifacts/package")
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub out: String,
    pub errors: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        Self {
            status: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            errors: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Returns the documents of `--json`.
    pub fn documents(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    pub fn expect(&self, status: i32, words: &str) {
        let said = format!("{}{}", self.out, self.errors);
        assert!(
            self.status == status && said.contains(words),
            "{words:?} {status}: {self:?}"
        );
    }
}

/// Returns whether nothing has been submitted to the appliance.
pub fn has_no_job(server: &Server) -> bool {
    !server.log().contains("a job was accepted")
}

/// Returns the address of an appliance's TLS port.
pub fn tls(server: &Server) -> String {
    format!("https://127.0.0.1:{}", server.tls_port)
}

/// Returns the statement in an accepted bundle that was written below `out`.
pub fn statement(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("provenance.json")).unwrap()).unwrap()
}
