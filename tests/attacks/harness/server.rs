//! One appliance per attack: the real `kettle-host serve`, spoken to over loopback HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::Value;

use super::confinement::Confinement;
use super::networks;

/// Longer than any of these builds takes on a busy machine; a longer wait means that something
/// hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// A variable of the service's environment, whose value is nowhere else.
const SECRET: (&str, &str) = ("KETTLE_TEST_SECRET", "d8e8fca2dc0f896fd7cb4cb0031ba249");
pub const NONCE: &str = "00112233445566778899aabbccddeeff";

/// A running appliance; killed when dropped.
pub struct Server {
    process: Child,
    port: u16,
    work: PathBuf,
    log: PathBuf,
    /// An abstract socket of the machine, which no process in a sandbox must reach.
    socket: UnixListener,
    /// The limit around the process; dropped after it.
    _confinement: Confinement,
}

/// A response: status and body.
pub type Response = (u16, Vec<u8>);

impl Server {
    /// Starts a service with its own work directory, and waits until it listens. Its log goes to a
    /// file beside that directory.
    pub fn start(directory: &Path, options: &[String], confinement: Confinement) -> Self {
        let work = directory.join("work");
        let mut process = confinement
            .command(Path::new(env!("CARGO_BIN_EXE_kettle-host")), &work)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--tls-listen",
                "127.0.0.1:0",
                "--work",
            ])
            .arg(&work)
            .args(networks::allowed())
            .args(options)
            .env(SECRET.0, SECRET.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("service.log")).unwrap())
            .spawn()
            .unwrap();
        confinement.take_in(process.id());
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            line.unwrap()
                .strip_prefix("listening on http://127.0.0.1:")?
                .parse()
                .ok()
        });
        let port = port.unwrap_or_else(|| {
            panic!(
                "it does not listen: {}",
                std::fs::read_to_string(directory.join("service.log")).unwrap_or_default()
            )
        });
        // A closed pipe would leave a later line nowhere to go.
        std::thread::spawn(move || lines.for_each(drop));
        let name = SocketAddr::from_abstract_name(format!("kettle-attack-{port}")).unwrap();
        let socket = UnixListener::bind_addr(&name).unwrap();
        socket.set_nonblocking(true).unwrap();
        let log = directory.join("service.log");
        Self {
            process,
            port,
            work,
            log,
            socket,
            _confinement: confinement,
        }
    }

    /// Returns the facts that an attack may know about the machine.
    pub fn facts(&self, canary: &Path) -> String {
        let (port, pid) = (self.port, self.process.id());
        let key = self.key();
        format!(
            "port={port}\npid={pid}\nsocket=kettle-attack-{port}\nkey={key}\ncanary={}\n",
            canary.display()
        )
    }

    /// Posts a submission, and returns the response.
    pub fn post(&self, fields: &Value) -> (u16, Value) {
        let (status, body) = self.request("POST", "/build", fields.to_string().as_bytes());
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Submits, and returns the job's id.
    pub fn submit(&self, fields: &Value) -> String {
        let (status, answer) = self.post(fields);
        assert_eq!(status, 202, "{answer}");
        answer["job_id"].as_str().unwrap().to_owned()
    }

    /// Returns all events of a job, after its end.
    pub fn events(&self, job: &str) -> Vec<Value> {
        let (status, body) = self.get(&format!("/build/{job}/events"));
        assert_eq!(status, 200);
        let text = String::from_utf8(body).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, b"")
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer in time");
        parse(&answer)
    }

    /// Returns whether a process connected to the machine's socket.
    pub fn was_visited(&self) -> bool {
        self.socket.accept().is_ok()
    }

    /// The key of the memory, the queue and the semaphore that an attack leaves; no other process
    /// of this machine uses it.
    fn key(&self) -> u32 {
        0x6b65_0000 | u32::from(self.port)
    }

    /// Returns whether the machine has one of them (`sysvipc(7)`).
    pub fn left_a_queue(&self) -> bool {
        let key = self.key().to_string();
        ["shm", "msg", "sem"].iter().any(|kind| {
            let table = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
            table
                .lines()
                .any(|line| line.split_whitespace().next() == Some(&key))
        })
    }

    /// Returns the work directory as the service sees it.
    fn work(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.id()));
        root.join(self.work.strip_prefix("/").unwrap())
    }

    /// Waits until the build's files are removed.
    pub fn wait_until_cleared(&self, job: &str) {
        let (target, begun) = (
            self.work().join(format!("job-{job}")).join("target"),
            Instant::now(),
        );
        while target.exists() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} is still there",
                target.display()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the names in the directory for uploads.
    pub fn uploads(&self) -> Vec<String> {
        let entries =
            std::fs::read_dir(self.work().join(format!("intake-{}", self.process.id()))).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Returns whether a process below the service sees the source, as each sandbox of the build
    /// would. Sandboxes in which it asks its toolchain for versions, which a build that fails at
    /// once does not wait for, do not see it.
    pub fn has_children(&self) -> bool {
        let parent = |stat: String| {
            stat.rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(1)?
                .parse::<u32>()
                .ok()
        };
        let is_ours = |process: &Path| {
            let stat = std::fs::read_to_string(process.join("stat")).ok();
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            stat.and_then(parent) == Some(self.process.id())
                && (contains(&line, b"/kettle/source") || contains(&line, b"/kettle/git"))
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|entry| is_ours(&entry.path()))
    }
}

/// Returns an archive as a JSON submission.
pub fn upload(archive: &[u8], name: &str) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(archive);
    serde_json::json!({ "nonce": NONCE, "source_data": data, "source_name": name })
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the service: {}",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .unwrap();
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

fn parse(answer: &[u8]) -> Response {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let (head, body) = (
        std::str::from_utf8(&answer[..end]).unwrap(),
        &answer[end + 4..],
    );
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    (
        status,
        if chunked {
            unchunk(body)
        } else {
            body.to_vec()
        },
    )
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body
            .windows(2)
            .position(|window| window == b"\r\n")
            .expect("a complete chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
}
