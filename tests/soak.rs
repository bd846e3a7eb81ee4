//! Does the service stay small and fast in long use? This takes minutes, so only `scripts/soak`
//! runs it, on the binary that is shipped.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The number of clients at once.
const CLIENTS: usize = 8;
/// The time before the first measurement, in which everything is created that is created once.
const WARM_UP: Duration = Duration::from_secs(5);
/// The time until connections that were left open have reached their limits.
const REST: Duration = Duration::from_secs(25);
/// How much memory may have grown at the end, and how much there may have been at any time.
const MAX_GROWTH_KIB: u64 = 4 << 10;
const MAX_PEAK_KIB: u64 = 64 << 10;
/// How many more descriptors there may be: those of a job that is over.
const MAX_MORE_DESCRIPTORS: usize = 4;
/// How many requests may fail because there was no connection.
const MAX_ERRORS_PER_THOUSAND: usize = 1;
/// The time in which 99 of 100 responses of `/health` come beside a build.
const MAX_P99: Duration = Duration::from_millis(50);
/// How long each state of the service is measured.
const IDLE: Duration = Duration::from_secs(5);
const BUSY: Duration = Duration::from_secs(30);
/// The time for which a build prints: a log is full after some seconds.
const PRINTING: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let binary = std::env::var_os("KETTLE_SOAK_BINARY")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_kettle-host").into());
        let mut process = Command::new(binary)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--tls-listen",
                "127.0.0.1:0",
                "--work",
            ])
            .arg(directory.path().join("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let port = lines.find_map(|line| {
            line.strip_prefix("listening on http://127.0.0.1:")?
                .parse()
                .ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            port: port.expect("it listens"),
            directory,
        }
    }

    /// Returns a member of `/proc/PID/status`, in KiB.
    fn memory(&self, member: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(member))
            .unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap()
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Returns status and body of the response to one request on its own connection.
    fn ask(&self, head: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = self.connect()?;
        let length = body.len();
        let head = format!(
            "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        // A client that is refused early need not send it all.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let status = answer
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Ok((status.ok_or(io::ErrorKind::UnexpectedEof)?, answer))
    }

    fn submit(&self, files: &[(&str, &str)]) -> String {
        let (status, answer) = self.ask(FORM, &form(&archive(files))).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 202, "{text}");
        text.split("\"job_id\":\"").nth(1).unwrap()[..32].to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .unwrap();
        if std::thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
        }
    }
}

const FORM: &str = "POST /build HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nPrefer: respond-async";
const JSON: &str = "POST /build HTTP/1.1\r\nContent-Type: application/json";
const MANIFEST: (&str, &str) = (
    "Cargo.toml",
    "[package]\nname = \"soak\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
);
const LOCKFILE: (&str, &str) = (
    "Cargo.lock",
    "version = 4\n\n[[package]]\nname = \"soak\"\nversion = \"0.1.0\"\n",
);
const MAIN: (&str, &str) = ("src/main.rs", "fn main() {}\n");

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, format!("soak/{name}"), content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

fn form(archive: &[u8]) -> Vec<u8> {
    let head =
        "--x\r\nContent-Disposition: form-data; name=\"source\"; filename=\"soak.tar\"\r\n\r\n";
    [head.as_bytes(), archive, b"\r\n--x--\r\n"].concat()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The results of the requests, by kind.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, usize>>);

impl Tally {
    fn count(&self, kind: String) {
        *self.0.lock().unwrap().entry(kind).or_default() += 1;
    }
}

/// Sends one request of the mixture; `job` is set once there is a job.
fn one(server: &Server, round: usize, job: Option<&str>, waste: &[u8]) -> Result<(), String> {
    let expect = |head: String, body: &[u8], expected: u16| match server.ask(&head, body) {
        Ok((status, _)) if status == expected => Ok(()),
        Ok((status, _)) => Err(format!(
            "{status} where {expected} should be: {}",
            head.lines().next().unwrap()
        )),
        Err(error) => Err(format!(
            "{}: {}",
            error.kind(),
            head.lines().next().unwrap()
        )),
    };
    let get = |path: String, expected| expect(format!("GET {path} HTTP/1.1"), b"", expected);
    let taken = |free| if job.is_some() { 409 } else { free };
    match round % 16 {
        0..=3 => get("/health".to_owned(), 200),
        4 => get("/openapi.json".to_owned(), 200),
        5 => get(format!("/nothing/{round}"), 404),
        6 => get(format!("/build/{round:032x}/events"), 404),
        7 => expect(JSON.to_owned(), b"{\"nonce\": \"zz\"}", taken(400)),
        8 => expect(FORM.to_owned(), &form(waste), taken(422)),
        // Connections that are abandoned: in the header, in the body, at once.
        9 => server
            .connect()
            .and_then(|mut it| it.write_all(b"GET /hea"))
            .map_err(|error| error.kind().to_string()),
        10 => {
            let begin =
                format!("{FORM}\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n--x\r\n");
            server
                .connect()
                .and_then(|mut it| it.write_all(begin.as_bytes()))
                .map_err(|error| error.kind().to_string())
        }
        11 => expect("GET /health HTTP/9.9".to_owned(), b"", 400),
        kind => match (job, kind) {
            (None, _) => get("/attestation?nonce=00".to_owned(), 503),
            (Some(job), 12) => get(format!("/build/{job}"), 200),
            (Some(job), 13) => get(format!("/build/{job}/events"), 200),
            (Some(job), 14) => get(format!("/build/{job}/result"), 200),
            (Some(job), _) => expect(
                format!("GET /builds/{job}/artifacts/soak HTTP/1.1\r\nRange: bytes=100-199"),
                b"",
                206,
            ),
        },
    }
}

/// Sends requests until the time or their number is used up; returns how many.
fn besiege(
    server: &Server,
    until: Instant,
    most: usize,
    job: Option<&str>,
    tally: &Tally,
) -> usize {
    let rounds = AtomicUsize::new(0);
    let waste = archive(&[("README", &"x".repeat(300_000))]);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while Instant::now() < until {
                    let round = rounds.fetch_add(1, Ordering::Relaxed);
                    if round >= most {
                        return;
                    }
                    if let Err(kind) = one(server, round, job, &waste) {
                        tally.count(kind);
                    }
                }
            });
        }
    });
    rounds.into_inner().min(most)
}

#[test]
#[ignore = "takes minutes: scripts/soak runs it"]
fn memory_and_descriptors_stay_as_they_are() {
    let seconds = Duration::from_secs(number("KETTLE_SOAK_SECONDS", 240));
    let most = usize::try_from(number("KETTLE_SOAK_REQUESTS", 10_000_000)).unwrap();
    let server = Server::start();
    let tally = Tally::default();
    besiege(&server, Instant::now() + WARM_UP, most, None, &tally);
    std::thread::sleep(REST);
    let state = || {
        (
            server.memory("VmRSS:"),
            server.memory("VmHWM:"),
            server.descriptors(),
        )
    };
    let begin = state();

    let half = most / 2;
    let mut requests = besiege(&server, Instant::now() + seconds / 2, half, None, &tally);
    let job = server.submit(&[MANIFEST, LOCKFILE, MAIN]);
    let (_, events) = server
        .ask(&format!("GET /build/{job}/events HTTP/1.1"), b"")
        .unwrap();
    assert!(
        String::from_utf8_lossy(&events).contains("\"status\":\"ok\""),
        "the build failed"
    );
    requests += besiege(
        &server,
        Instant::now() + seconds / 2,
        most - half,
        Some(&job),
        &tally,
    );
    std::thread::sleep(REST);
    let end = state();

    let errors = tally.0.into_inner().unwrap();
    println!("{requests} requests by {CLIENTS} clients, and one build");
    println!(
        "{:<22} {:>8} {:>8} {:>12}",
        "", "RSS KiB", "HWM KiB", "descriptors"
    );
    for (name, (rss, hwm, descriptors)) in [("at the start", begin), ("at the end", end)] {
        println!("{name:<22} {rss:>8} {hwm:>8} {descriptors:>12}");
    }
    println!("{} errors", errors.values().sum::<usize>());
    for (kind, count) in &errors {
        println!("{count:>8} {kind}");
    }
    assert_eq!(server.ask("GET /health HTTP/1.1", b"").unwrap().0, 200);
    assert!(
        end.0 <= begin.0 + MAX_GROWTH_KIB,
        "memory has grown by {} KiB",
        end.0 - begin.0
    );
    assert!(
        end.1 <= MAX_PEAK_KIB,
        "there were {} KiB at some time",
        end.1
    );
    assert!(
        end.2 <= begin.2 + MAX_MORE_DESCRIPTORS,
        "{} descriptors more",
        end.2 - begin.2
    );
    let failed = errors.values().sum::<usize>();
    assert!(
        failed * 1000 <= requests * MAX_ERRORS_PER_THOUSAND,
        "{failed} of {requests} requests went wrong"
    );
}

#[test]
#[ignore = "takes all processors: scripts/soak runs it"]
fn health_responds_while_a_build_takes_all_processors() {
    println!(
        "{:<30} {:>8} {:>8} {:>8} {:>8}",
        "/health", "answers", "p50 ms", "p99 ms", "max ms"
    );
    let server = Server::start();
    report("idle", &latencies(&server, IDLE));
    let job = server.submit(&[MANIFEST, LOCKFILE, MAIN, ("build.rs", &spinning())]);
    let busy = report("while a build computes", &latencies(&server, BUSY));
    let (_, document) = server
        .ask(&format!("GET /build/{job} HTTP/1.1"), b"")
        .unwrap();
    assert!(
        String::from_utf8_lossy(&document).contains("\"state\":\"running\""),
        "the build was over before"
    );

    let server = Server::start();
    server.submit(&[
        (
            "Cargo.toml",
            &format!(
                "{}[dependencies]\nprints = {{ path = \"prints\" }}\n",
                MANIFEST.1
            ),
        ),
        ("Cargo.lock", LOCKFILE_OF_TWO),
        ("src/main.rs", "prints::print!();\nfn main() {}\n"),
        ("prints/Cargo.toml", PRINTS_MANIFEST),
        ("prints/src/lib.rs", PRINTS),
    ]);
    let printing = report("while a build prints", &latencies(&server, PRINTING));
    for p99 in [busy, printing] {
        assert!(p99 <= MAX_P99, "the 99th percentile is {p99:?}");
    }
}

/// Prints a row; returns the 99th percentile.
fn report(name: &str, times: &[Duration]) -> Duration {
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let millis = |share| at(share).as_secs_f64() * 1000.0;
    println!(
        "{name:<30} {:>8} {:>8.2} {:>8.2} {:>8.2}",
        times.len(),
        millis(50),
        millis(99),
        millis(100)
    );
    at(99)
}

/// Returns a build script that keeps twice as many threads as there are processors busy, for longer
/// than the measurement.
fn spinning() -> String {
    let seconds = 2 * BUSY.as_secs();
    format!(
        "use std::time::{{Duration, Instant}};\n\
         fn spin(end: Instant) {{ while Instant::now() < end {{ for _ in 0..1000 {{ std::hint::spin_loop() }} }} }}\n\
         fn main() {{\n    let end = Instant::now() + Duration::from_secs({seconds});\n    \
         let threads = 2 * std::thread::available_parallelism().unwrap().get();\n    \
         let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(move || spin(end))).collect();\n    \
         threads.into_iter().for_each(|thread| thread.join().unwrap());\n}}\n"
    )
}

const LOCKFILE_OF_TWO: &str = "version = 4\n\n[[package]]\nname = \"prints\"\nversion = \"0.1.0\"\n\n[[package]]\n\
                               name = \"soak\"\nversion = \"0.1.0\"\ndependencies = [\n \"prints\",\n]\n";
const PRINTS_MANIFEST: &str = "[package]\nname = \"prints\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\nproc-macro = true\n";
/// A macro that prints as fast as its output is read, until the log is full.
const PRINTS: &str = "use std::io::Write;\n#[proc_macro]\n\
    pub fn print(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
    let lines = \"sixty-three characters of output are a line of an ordinary build\\n\".repeat(1000);\n    \
    while std::io::stderr().write_all(lines.as_bytes()).is_ok() {}\n    Default::default()\n}\n";

/// Returns the times from the start of a connection to the whole response, sorted.
fn latencies(server: &Server, time: Duration) -> Vec<Duration> {
    let (mut times, end) = (Vec::new(), Instant::now() + time);
    while Instant::now() < end {
        let begun = Instant::now();
        let mut stream = server.connect().unwrap();
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        times.push(begun.elapsed());
        assert!(answer.ends_with(b"ok"));
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    times
}
