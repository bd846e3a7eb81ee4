//! HAProxy, the real one, with the configuration of `image/pool`.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const HAPROXY: &str = "/usr/sbin/haproxy";

/// How long a balancer may take to listen, or a machine to be taken, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// The ports of a machine, which are ports of this host.
pub struct Ports {
    pub tls: u16,
    pub plaintext: u16,
}

/// The name of the peer in `haproxy.cfg`.
const PEER: &str = "balancer";

/// Returns the configuration of `image/pool`, with other ports and addresses, and without the parts
/// that only root can do.
fn configuration(port: u16, peer_port: u16, machines: &[Ports]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/pool/haproxy.cfg");
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in [
        ("    user haproxy\n", String::new()),
        ("    group haproxy\n", String::new()),
        ("    chroot /var/lib/haproxy\n", String::new()),
        ("bind :443", format!("bind 127.0.0.1:{port}")),
        ("127.0.0.1:10000", format!("127.0.0.1:{peer_port}")),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from:?}");
        text = text.replace(from, &to);
    }
    let kept = text.lines().filter(|line| !line.starts_with("    server "));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    for (number, machine) in machines.iter().enumerate() {
        let Ports { tls, plaintext } = machine;
        text.push_str(&format!(
            "    server machine{number} 127.0.0.1:{tls} port {plaintext}\n"
        ));
    }
    text
}

/// A running HAProxy.
pub struct Balancer {
    port: u16,
    peer_port: u16,
    directory: TempDir,
    /// The last process takes new connections; the earlier ones serve those that they had.
    processes: Vec<Child>,
}

impl Balancer {
    pub fn start(machines: &[Ports]) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (free(), free());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let mut balancer = Self {
            port: port(&one),
            peer_port: port(&other),
            directory: tempfile::tempdir().unwrap(),
            processes: Vec::new(),
        };
        drop((one, other));
        balancer.reload(machines);
        balancer
    }

    /// Starts a process with these machines, which takes over from the one before it.
    pub fn reload(&mut self, machines: &[Ports]) {
        let number = self.processes.len();
        let file = self.directory.path().join(format!("{number}.cfg"));
        fs::write(&file, configuration(self.port, self.peer_port, machines)).unwrap();
        let log = self.directory.path().join(format!("{number}.log"));
        let mut command = Command::new(HAPROXY);
        command
            .args(["-db", "-L", PEER, "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        if let Some(before) = self.processes.last() {
            command.args(["-sf", &before.id().to_string()]);
        }
        let started = command.spawn();
        let started = started.expect("HAProxy is missing: scripts/setup --tests installs it");
        self.processes.push(started);
        wait_until("HAProxy listens", || {
            let ended = self.processes[number].try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // A process that was told to end may have done so.
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            for number in 0..self.processes.len() {
                let log = self.directory.path().join(format!("{number}.log"));
                eprintln!("HAProxy {number}: {}", fs::read_to_string(log).unwrap());
            }
        }
    }
}

/// Waits for something that a busy machine does late.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
