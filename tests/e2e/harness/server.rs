//! The real `kettle-host serve`, with its own work directory.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Events, Request, Response};
use super::networks;

/// The files of this machine by which a service in another root reaches the registry.
const MACHINE_FILES: [(&str, &str); 3] = [
    ("/etc/hosts", "/etc/hosts"),
    ("/etc/resolv.conf", "/run/resolv.conf"),
    (AUTHORITIES, AUTHORITIES),
];
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The path of the service in another root.
const PROGRAM: &str = "/run/kettle-host";

/// A running service; killed when dropped.
pub struct Server {
    process: Child,
    directory: TempDir,
    pub port: u16,
    pub tls_port: u16,
}

impl Server {
    pub fn start() -> Self {
        Self::with_options(&[])
    }

    /// Starts a service whose phases that fetch also reach the servers of a test, which are on the
    /// loopback, and the registry, wherever this machine has it.
    pub fn with_options(options: &[&str]) -> Self {
        let allowed = networks::allowed();
        let all: Vec<_> = allowed
            .iter()
            .map(String::as_str)
            .chain(options.iter().copied())
            .collect();
        Self::of_public_addresses(&all)
    }

    /// Starts a service with only these options: phases that fetch reach public addresses only.
    pub fn of_public_addresses(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_kettle-host"));
        serve.args(["serve", "--work"]);
        serve.arg(directory.path().join("work")).args(options);
        Self::spawn(serve, directory)
    }

    /// Starts a service that sees the files of another system, which is unpacked in `root`, and
    /// builds with its toolchain. Devices, processes and the network are this machine's. Needs
    /// root.
    #[allow(dead_code)] // Only `tests/tools` has a root.
    pub fn in_root(root: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut serve = Command::new("bwrap");
        serve.args(["--cap-add", "ALL", "--die-with-parent"]);
        for name in ["usr", "etc"] {
            serve.arg("--ro-bind").arg(root.join(name));
            serve.arg(Path::new("/").join(name));
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            serve.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
        }
        // The service mounts its working directory there.
        serve.args(["--dir", "/mnt"]);
        serve.args(["--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc"]);
        serve.args([
            "--bind", "/sys", "/sys", "--tmpfs", "/tmp", "--tmpfs", "/run",
        ]);
        for (source, target) in MACHINE_FILES {
            serve.args(["--ro-bind", source, target]);
        }
        serve.args(["--ro-bind", env!("CARGO_BIN_EXE_kettle-host"), PROGRAM]);
        serve
            .arg("--bind")
            .arg(directory.path())
            .arg("/kettle-host");
        serve.args(["--", PROGRAM, "serve", "--toolchain", "/usr"]);
        serve.args(["--work", "/kettle-host/work"]);
        serve.args(networks::allowed());
        Self::spawn(serve, directory)
    }

    fn spawn(mut serve: Command, directory: TempDir) -> Self {
        let mut process = serve
            .args(["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("service.log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut port = |scheme: &str| {
            let line = lines.next().map(Result::unwrap).unwrap_or_default();
            let port = line
                .strip_prefix(&format!("listening on {scheme}://127.0.0.1:"))
                .and_then(|it| it.parse().ok());
            port.unwrap_or_else(|| {
                panic!(
                    "{line:?}: {}",
                    fs::read_to_string(directory.path().join("service.log")).unwrap()
                )
            })
        };
        let (port, tls_port) = (port("http"), port("https"));
        Self {
            process,
            directory,
            port,
            tls_port,
        }
    }

    pub fn run(&self, request: &Request) -> Response {
        request.run(self.port)
    }

    pub fn get(&self, path: &str) -> Response {
        Request::get(path).run(self.port)
    }

    /// Returns all events of a job, after its end: the numbers have no gap, and the end comes once.
    pub fn events(&self, job: &str) -> Vec<Value> {
        let events: Vec<_> = Events::open(self.port, &format!("/build/{job}/events")).collect();
        assert!(
            events
                .iter()
                .map(|(id, _)| *id)
                .eq((0..events.len() as u64).map(Some)),
            "the numbers have a gap"
        );
        let events: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
        let ends = events
            .iter()
            .filter(|event| event["type"] == "complete")
            .count();
        assert!(
            ends == 1 && events.last().unwrap()["type"] == "complete",
            "{events:?}"
        );
        events
    }

    /// Returns the result of an accepted request, from the last event.
    pub fn result(&self, request: &Request) -> Value {
        self.events(&self.run(request).job()).pop().unwrap()["result"].take()
    }

    /// Returns the highest resident size so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Returns the service's number as a process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the directory in which the service keeps everything that it writes.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns how many descriptors the service has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    /// Returns all processes below the service, by parents, except the process that keeps a user
    /// for it.
    pub fn descendants(&self) -> Vec<u32> {
        let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                let parent = stat
                    .rsplit_once(')')?
                    .1
                    .split_whitespace()
                    .nth(1)?
                    .parse()
                    .ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, parent))
            })
            .collect();
        let service = self.process.id();
        let mut found = vec![service];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            let children = processes
                .iter()
                .filter(|(id, its)| *its == parent && !(parent == service && waits(*id)));
            found.extend(children.map(|(id, _)| *id));
            next += 1;
        }
        found.split_off(1)
    }

    /// Tells the service to end, and waits.
    pub fn terminate(&mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }

    /// Returns the service's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("service.log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .unwrap();
        if std::thread::panicking() {
            eprintln!("the service's log:\n{}", self.log());
        }
    }
}

/// Returns whether a process only keeps a user for its service (`src/sandbox/users.rs`).
fn waits(id: u32) -> bool {
    fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line == b"/usr/bin/cat\0")
}
