//! An appliance in its own thread, with a stand-in for the reader of submissions and for the
//! pipeline, and a client that writes HTTP by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, mpsc};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use kettle::api::submission::Intake;
use kettle::api::{
    self, Addresses, HostName, Listeners, LocalFuture, Premises, Problem, Receive, Service,
    TlsIdentity,
};
use kettle::digest::Sha256Digest;
use kettle::error_type::ErrorType;
use kettle::job::{
    Builder, BundleFile, Event, Finished, LineSplitter, LogError, Outcome, Request, ResolveError,
    Resolving, Running, Slot, SourceRequest,
};
use kettle::provenance::{Nonce, NonceSource};
use kettle::source::{GitRef, ProjectName, RepositoryToken, RepositoryUrl, SourceTree};
use kettle::toolchain::{Artifact, Kind, Lockfile};

/// The longest time that anything in these tests takes, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the service's threads.
const SERVICE: &str = "service";

/// Counts what the stand-in for the reader of submissions did.
#[derive(Debug, Default)]
pub struct Counts {
    pub begun: AtomicUsize,
    pub discarded: AtomicUsize,
}

/// Takes bodies that begin with `valid`; words after it change the request that they stand for:
///
/// | word | request |
/// |---|---|
/// | `without nonce` | the appliance drew the nonce |
/// | `long` | with a nonce of 16 bytes, [`LONG_NONCE`] |
/// | `repository` | of a repository instead of an archive; the last word is its ref |
struct Reader(Arc<Counts>);

/// A nonce that names a job.
pub const LONG_NONCE: &str = "00ffab00ffab00ffab00ffab00ffab00";

impl Reader {
    fn request(body: &str) -> Request {
        let nonce_source = if body.starts_with("valid without nonce") {
            NonceSource::Appliance
        } else {
            NonceSource::Client
        };
        let is_long = body.contains("long");
        let nonce = Nonce::parse(if is_long { LONG_NONCE } else { "00FFab" }).unwrap();
        let source = if body.contains("repository") {
            let last = body.split(' ').next_back().unwrap();
            SourceRequest::Repository {
                url: RepositoryUrl::parse("https://example.org/hello.git").unwrap(),
                reference: GitRef::parse(last).ok(),
                token: None,
            }
        } else {
            let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects/hello");
            SourceRequest::Archive(SourceTree::test_only_from_directory(project).unwrap())
        };
        Request::test_only_new(nonce, nonce_source, source)
    }
}

impl Receive for Reader {
    fn receive<'a>(
        &'a self,
        _parts: &'a Parts,
        body: Incoming,
    ) -> LocalFuture<'a, Result<Request, Problem>> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let broken = |error| Problem::new(400, "body-broken", error);
            let body = body.collect().await.map_err(broken)?.to_bytes();
            if !body.starts_with(b"valid") {
                return Err(Problem::new(400, "json-malformed", "the body is not valid"));
            }
            Ok(Self::request(std::str::from_utf8(&body).unwrap()))
        })
    }

    fn discard(&self, _request: Request) {
        self.0.discarded.fetch_add(1, Ordering::SeqCst);
    }
}

struct Handover {
    builds: mpsc::Sender<Running>,
    ready: Arc<AtomicBool>,
    refs: Arc<Refs>,
}

/// The stand-in for git. It finds every ref except `missing` and `broken`, and `slow` once `go_on`
/// is set.
#[derive(Debug, Default)]
pub struct Refs {
    pub asked: AtomicUsize,
    pub go_on: AtomicBool,
}

impl Builder for Handover {
    fn resolve(
        &self,
        _: RepositoryUrl,
        reference: Option<GitRef>,
        _: Option<RepositoryToken>,
    ) -> Resolving {
        let refs = Arc::clone(&self.refs);
        refs.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match reference.as_ref().map(GitRef::as_str) {
                Some("missing") => Err(ResolveError::Refused("no ref missing".to_owned())),
                Some("broken") => Err(ResolveError::Internal("/internal/path".into())),
                Some("slow") => {
                    while !refs.go_on.load(Ordering::SeqCst) {
                        tokio::task::yield_now().await;
                    }
                    Ok(())
                }
                _ => Ok(()),
            }
        })
    }

    fn start(&self, job: Running, _request: Request) {
        // Without a receiver the job is lost, which is a test of its own.
        let _ = self.builds.send(job);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}

pub struct Appliance {
    pub addresses: Addresses,
    pub public_key: Vec<u8>,
    pub counts: Arc<Counts>,
    /// Whether the stand-in for the pipeline is ready.
    pub ready: Arc<AtomicBool>,
    pub refs: Arc<Refs>,
    builds: Mutex<mpsc::Receiver<Running>>,
    pub work: tempfile::TempDir,
}

impl Appliance {
    pub fn start() -> Self {
        Self::start_at(host())
    }

    /// Starts the service as the image has it.
    pub fn in_the_image() -> Self {
        Self::start_at(Premises::Image)
    }

    fn start_at(premises: Premises) -> Self {
        let counts = Arc::new(Counts::default());
        let reader = Reader(Arc::clone(&counts));
        Self::start_with(tempfile::tempdir().unwrap(), reader, counts, premises)
    }

    /// Starts it with the appliance's own reader of submissions, which keeps uploads in the
    /// directory `uploads`.
    pub fn with_intake() -> Self {
        let work = tempfile::tempdir().unwrap();
        let intake = Intake::open(work.path().join("uploads")).unwrap();
        Self::start_with(work, intake, Arc::default(), host())
    }

    fn start_with(
        work: tempfile::TempDir,
        reader: impl Receive + Send + 'static,
        counts: Arc<Counts>,
        premises: Premises,
    ) -> Self {
        let (builder, builds) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let ready = Arc::new(AtomicBool::new(true));
        let refs = Arc::new(Refs::default());
        let builder = Handover {
            builds: builder,
            ready: Arc::clone(&ready),
            refs: Arc::clone(&refs),
        };
        let slot = Arc::new(Slot::new(work.path().to_owned(), "kettle test".to_owned()));
        end_with_a_panic_of_the_service();
        let service = std::thread::Builder::new().name(SERVICE.to_owned());
        let serving = service.spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.thread_name(SERVICE).enable_all().build().unwrap();
            runtime.block_on(async {
                let identity = TlsIdentity::generate().unwrap();
                let public_key = identity.public_key().to_vec();
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let listeners = Listeners::bind(any, any, identity).await.unwrap();
                started
                    .send((listeners.addresses().unwrap(), public_key))
                    .unwrap();
                let service = Service::new(slot, Box::new(reader), Box::new(builder), premises);
                api::serve(listeners, Rc::new(service)).await
            })
        });
        serving.unwrap();
        let (addresses, public_key) = start.recv().unwrap();
        Self {
            addresses,
            public_key,
            counts,
            ready,
            refs,
            builds: Mutex::new(builds),
            work,
        }
    }

    pub fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.addresses.plaintext).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client::new(stream)
    }

    /// Sends one request on its own connection; `head` is request line and headers.
    pub fn ask(&self, head: &str) -> Response {
        self.connect().ask(head, "")
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1"))
    }

    pub fn post(&self, path: &str, headers: &str, body: &str) -> Response {
        self.connect().ask(&post_head(path, headers, body), body)
    }

    /// Returns the job that the pipeline was asked to run.
    pub fn build(&self) -> Running {
        self.builds.lock().unwrap().recv_timeout(PATIENCE).unwrap()
    }

    pub fn no_build(&self) -> bool {
        self.builds.lock().unwrap().try_recv().is_err()
    }

    /// Submits as JSON, and returns the job with its id.
    pub fn accepted(&self) -> (Running, String) {
        let response = self.post("/build", JSON, "valid");
        assert_eq!(response.status, 202);
        let running = self.build();
        let id = running.id().to_string();
        (running, id)
    }

    /// Returns a finished job with the bytes `bundle` as its bundle and some artifacts.
    pub fn finished(&self, bundle: &[u8]) -> String {
        let (running, id) = self.accepted();
        self.succeed(running, bundle);
        id
    }

    pub fn succeed(&self, running: Running, bundle: &[u8]) {
        self.succeed_with(running, bundle, b"{\"z\":1,\"a\":\"\\u0000\"}\n");
    }

    /// Does the same with this `provenance.json`.
    pub fn succeed_with(&self, running: Running, bundle: &[u8], provenance: &[u8]) {
        let keep = |name: &str, bytes: &[u8]| {
            let path = running.directory().join(name);
            std::fs::write(&path, bytes).unwrap();
            (path, Sha256Digest::of(bytes), bytes.len() as u64)
        };
        let (path, sha256, size) = keep("bundle", bundle);
        let bundle = BundleFile { path, size, sha256 };
        let artifacts = [
            ("hello", &b"ELF"[..]),
            ("lib/a b%?ü.so", &b"shared"[..]),
            ("empty", &b""[..]),
        ];
        let artifacts = artifacts.iter().enumerate().map(|(number, (name, bytes))| {
            let (path, sha256, size) = keep(&format!("artifact-{number}"), bytes);
            Artifact {
                name: (*name).to_owned(),
                path,
                sha256,
                size,
                executable: true,
            }
        });
        let outcome = Outcome::Succeeded(Box::new(Finished {
            project: ProjectName::of_archive(Some("hello-1.0"), None),
            toolchain: Kind::Cargo,
            bundle,
            artifacts: artifacts.collect(),
            build_config: Lockfile {
                name: "Cargo.lock",
                bytes: b"version = 4\n".to_vec(),
            },
            sbom: b"{\"bill\":1}\n".to_vec(),
            provenance: provenance.to_vec(),
            envelope: b"{\"signed\":true}\n".to_vec(),
            evidence: None,
        }));
        running.finish(outcome);
    }
}

/// Returns an ordinary host with the name that these tests use.
fn host() -> Premises {
    Premises::Host {
        names: vec![HostName::parse("kettle").unwrap()],
    }
}

/// Ends the tests with the first panic, as the shipped program ends: tokio would swallow a panic of
/// a connection.
fn end_with_a_panic_of_the_service() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            if std::thread::current().name() == Some(SERVICE) {
                std::process::abort();
            }
        }));
    });
}

pub fn fail(running: Running, error_type: ErrorType) {
    running.finish(Outcome::Failed {
        error_type,
        message: "it does not compile".to_owned(),
    });
}

/// Returns a statement about a project with many dependencies, longer than a TLS record.
pub fn long_provenance() -> Vec<u8> {
    let dependency = |number| {
        serde_json::json!({"uri": format!("pkg:cargo/dependency-{number}@1.2.3"),
            "digest": {"sha256": "0".repeat(64)}})
    };
    let dependencies: Vec<_> = (0..400).map(dependency).collect();
    serde_json::to_vec(&serde_json::json!({"resolvedDependencies": dependencies})).unwrap()
}

/// Appends one line of output, as the pipeline does.
pub fn line(job: &kettle::job::Job, text: &str) -> Result<(), LogError> {
    LineSplitter::new().push(format!("{text}\n").as_bytes(), |line| {
        job.emit(Event::Line(line))
    })
}

pub const JSON: &str = "Content-Type: application/json";
pub const FORM: &str = "Content-Type: multipart/form-data; boundary=x";

pub fn post_head(path: &str, headers: &str, body: &str) -> String {
    let headers = if headers.is_empty() {
        String::new()
    } else {
        format!("\r\n{headers}")
    };
    format!(
        "POST {path} HTTP/1.1{headers}\r\nContent-Length: {}",
        body.len()
    )
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Checks that this is a problem document, complete and consistent.
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let document = self.json();
        assert_eq!(document["type"], format!("/problems/{code}"));
        assert_eq!(document["status"], status);
        assert_eq!(document["detail"], document["error"]);
        let camel = document["error_type"].as_str().unwrap();
        assert_eq!(camel.to_lowercase(), code.replace('-', ""));
        assert!(camel.starts_with(char::is_uppercase) && document["title"].is_string());
    }
}

/// One connection.
pub struct Client<S> {
    reader: BufReader<S>,
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Returns the stream for further reading. Nothing may have been read ahead.
    pub fn into_inner(self) -> S {
        assert!(self.reader.buffer().is_empty());
        self.reader.into_inner()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    pub fn send_head(&mut self, head: &str) {
        self.send(format!("{head}\r\nHost: kettle\r\n\r\n").as_bytes());
    }

    pub fn ask(&mut self, head: &str, body: &str) -> Response {
        self.send_head(head);
        self.send(body.as_bytes());
        self.response(head.starts_with("HEAD "))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads the status line and headers.
    pub fn head(&mut self) -> Response {
        let line = self.line();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest[..3].parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        Response {
            status,
            headers,
            body: Vec::new(),
        }
    }

    pub fn response(&mut self, bodiless: bool) -> Response {
        let mut response = self.head();
        if bodiless || response.status == 304 {
            return response;
        }
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                response.body.extend(chunk);
            }
        } else {
            let length = response
                .header("content-length")
                .unwrap_or("0")
                .parse()
                .unwrap();
            response.body = vec![0; length];
            self.reader.read_exact(&mut response.body).unwrap();
        }
        response
    }

    /// Reads the next chunk of a chunked body.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length];
        self.reader.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line(), "");
        (length > 0).then_some(chunk)
    }

    /// Returns whether the server has ended its side.
    pub fn at_end(&mut self) -> bool {
        matches!(self.reader.fill_buf(), Ok([]))
    }

    /// Reads the events of a stream after its header block.
    pub fn events(self) -> Events<S> {
        Events {
            client: self,
            pending: Vec::new(),
            ended: false,
        }
    }
}

/// Server-Sent Events, comments included.
pub struct Events<S> {
    client: Client<S>,
    pending: Vec<u8>,
    ended: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SentEvent {
    pub id: Option<u64>,
    pub data: serde_json::Value,
}

impl<S: Read + Write> Iterator for Events<S> {
    type Item = SentEvent;

    fn next(&mut self) -> Option<SentEvent> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                return Some(parse_event(
                    std::str::from_utf8(&block).unwrap().trim_end_matches('\n'),
                ));
            }
            if self.ended {
                assert!(self.pending.is_empty(), "half an event at the end");
                return None;
            }
            match self.client.chunk() {
                Some(chunk) => self.pending.extend(chunk),
                None => self.ended = true,
            }
        }
    }
}

fn parse_event(block: &str) -> SentEvent {
    let mut event = SentEvent {
        id: None,
        data: serde_json::Value::Null,
    };
    for line in block.split('\n') {
        match line.split_once(": ").unwrap() {
            ("id", id) => event.id = Some(id.parse().unwrap()),
            ("data", data) => {
                assert!(event.data.is_null(), "one data line: {block:?}");
                event.data = serde_json::from_str(data).unwrap();
            }
            _ => panic!("{block:?}"),
        }
    }
    event
}

/// Opens a stream of events and reads its header block.
pub fn open_events(appliance: &Appliance, head: &str) -> (Response, Events<TcpStream>) {
    let mut client = appliance.connect();
    client.send_head(head);
    let head = client.head();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    (head, client.events())
}
