//! What does `receive` do with a whole request? Which refusal has which status, which files are
//! left, and how long does it wait?
#![cfg(feature = "appliance")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Empty;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::http::request::{Builder, Parts};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use kettle::api::submission::limits::{
    BODY_PROGRESS_TIMEOUT, MAX_CONCURRENT_UPLOADS, MAX_FORM_BODY_BYTES, MAX_JSON_BODY_BYTES,
    MAX_UPLOAD_TIME,
};
use kettle::api::submission::{Intake, SubmissionError, receive};
use kettle::digest::Sha256Digest;
use kettle::job::{Request, SourceRequest};
use kettle::source::{Origin, SourceTree};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data; boundary=XX";

/// The next step of a body.
enum Act {
    Send(Bytes),
    Wait(Duration),
    Hang,
    Break,
}

/// A body that follows a script.
#[derive(Default)]
struct Script(VecDeque<Act>, Option<Pin<Box<Sleep>>>);

impl Script {
    fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self(acts.into_iter().collect(), None)
    }

    fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::new([Act::Send(bytes.into())])
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(sleeping) = &mut self.1 {
                match sleeping.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.1 = None,
                }
            }
            match self.0.pop_front() {
                None => return Poll::Ready(None),
                Some(Act::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Act::Break) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                Some(Act::Wait(time)) => self.1 = Some(Box::pin(sleep(time))),
                Some(Act::Hang) => {
                    self.0.push_front(Act::Hang);
                    return Poll::Pending;
                }
            }
        }
    }
}

/// An intake in a directory that is removed after the test.
struct Place {
    directory: TempDir,
    intake: Intake,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let intake = Intake::open(directory.path().join("uploads")).unwrap();
        Self { directory, intake }
    }

    fn uploads(&self) -> usize {
        fs::read_dir(self.directory.path().join("uploads"))
            .unwrap()
            .count()
    }

    async fn receive(&self, parts: &Parts, body: Script) -> Result<Request, SubmissionError> {
        receive(parts, body, &self.intake).await
    }

    async fn refusal(&self, parts: &Parts, body: Script) -> (u16, &'static str) {
        let error = self.receive(parts, body).await.unwrap_err();
        let detail = error.to_string();
        assert!(
            !detail.contains(self.directory.path().to_str().unwrap()),
            "a path of ours in {detail}"
        );
        assert_eq!(self.uploads(), 0, "something is left after {detail}");
        (error.status(), error.code())
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

fn parts(build: impl FnOnce(Builder) -> Builder) -> Parts {
    build(HttpRequest::post("/build"))
        .body(())
        .unwrap()
        .into_parts()
        .0
}

fn chunked(content_type: &str) -> Parts {
    parts(|request| {
        request
            .header("content-type", content_type)
            .header("transfer-encoding", "chunked")
    })
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn project() -> Vec<u8> {
    tar_of(&[
        ("Cargo.toml", b"[package]"),
        ("Cargo.lock", b"version = 4"),
        ("src/main.rs", b"fn main() {}"),
    ])
}

fn json_of(archive: &[u8]) -> Vec<u8> {
    let data = STANDARD.encode(archive);
    format!(r#"{{"nonce":"0A","source_name":"hello.tar","source_data":"{data}"}}"#).into_bytes()
}

fn form_of(archive: &[u8]) -> Vec<u8> {
    let head = "--XX\r\nContent-Disposition: form-data; name=\"nonce\"\r\n\r\n0A\r\n--XX\r\n\
        Content-Disposition: form-data; name=\"source\"; filename=\"hello.tar\"\r\n\
        Content-Type: application/x-tar\r\n\r\n";
    [head.as_bytes(), archive, b"\r\n--XX--\r\n"].concat()
}

fn bodies(archive: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    [(JSON, json_of(archive)), (FORM, form_of(archive))]
}

fn tree_of(request: &Request) -> &SourceTree {
    assert_eq!(request.nonce().to_string(), "0a");
    match request.source() {
        SourceRequest::Archive(tree) => tree,
        SourceRequest::Repository { .. } => panic!("a repository"),
    }
}

fn files_below(directory: &Path) -> usize {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[test]
fn unpacks_an_archive_and_leaves_only_its_tree() {
    run(async {
        for (content_type, body) in bodies(&project()) {
            let place = Place::new();
            let request = place
                .receive(&chunked(content_type), Script::whole(body))
                .await
                .unwrap();
            let tree = tree_of(&request);
            let sha256 = Sha256Digest::of(&project());
            assert_eq!(
                tree.origin(),
                &Origin::Archive {
                    name: Some("hello.tar".to_owned()),
                    sha256
                }
            );
            assert_eq!(
                fs::read(tree.root().join("src/main.rs")).unwrap(),
                b"fn main() {}"
            );
            assert_eq!(
                (
                    place.uploads(),
                    files_below(&place.directory.path().join("uploads"))
                ),
                (1, 3)
            );
            place.intake.discard(request);
            empties(&place).await;
        }
    });
}

#[test]
fn takes_bodies_in_pieces_of_any_size() {
    run(async {
        // More than two batches, so that pieces also end within a write.
        let archive = tar_of(&[("Cargo.lock", b"version = 4"), ("data", &pattern(700_000))]);
        for (content_type, body) in bodies(&archive) {
            for size in [977, 64 << 10, 1 << 20] {
                let place = Place::new();
                let pieces = body
                    .chunks(size)
                    .map(|piece| Act::Send(Bytes::copy_from_slice(piece)));
                let request = place
                    .receive(&chunked(content_type), Script::new(pieces))
                    .await
                    .unwrap();
                let tree = tree_of(&request);
                assert!(fs::read(tree.root().join("data")).unwrap() == pattern(700_000));
            }
        }
    });
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

#[test]
fn a_repository_needs_no_disk() {
    run(async {
        let place = Place::new();
        let body = r#"{"nonce":"00","repo_url":"https://example.org/a","repo_ref":"v1"}"#;
        let request = place
            .receive(&chunked(JSON), Script::whole(body))
            .await
            .unwrap();
        let SourceRequest::Repository { url, reference, .. } = request.into_source() else {
            panic!("an archive")
        };
        assert_eq!(
            (url.as_str(), reference.unwrap().as_str()),
            ("https://example.org/a", "v1")
        );
        assert_eq!(place.uploads(), 0);
    });
}

#[test]
fn refuses_by_headers_before_reading() {
    run(async {
        let place = Place::new();
        let announce = |content_type: &str, bytes: u64| {
            parts(|request| {
                request
                    .header("content-type", content_type)
                    .header("content-length", bytes)
            })
        };
        let twice = parts(|request| {
            request
                .header("content-length", 1)
                .header("content-type", JSON)
                .header("content-type", FORM)
        });
        let coded = |codings: &[&str]| {
            let plain = HttpRequest::post("/build")
                .header("content-length", 1)
                .header("content-type", JSON);
            parts(|_| {
                codings.iter().fold(plain, |request, coding| {
                    request.header("content-encoding", *coding)
                })
            })
        };
        for (parts, expected) in [
            (
                parts(|request| request.header("content-type", JSON)),
                (411, "length-missing"),
            ),
            (
                parts(|request| request.header("content-length", 1)),
                (415, "content-type-missing"),
            ),
            (twice, (415, "content-type-missing")),
            (coded(&["gzip"]), (415, "content-encoding-unsupported")),
            (
                coded(&["identity", "gzip"]),
                (415, "content-encoding-unsupported"),
            ),
            (
                coded(&["identity, gzip"]),
                (415, "content-encoding-unsupported"),
            ),
            (announce("text/plain", 1), (415, "content-type-unsupported")),
            (announce("multipart/form-data", 1), (400, "form-malformed")),
            (
                announce(JSON, MAX_JSON_BODY_BYTES + 1),
                (413, "body-too-large"),
            ),
            (
                announce(FORM, MAX_FORM_BODY_BYTES + 1),
                (413, "body-too-large"),
            ),
        ] {
            let hanging = Script::new([Act::Hang]);
            assert_eq!(place.refusal(&parts, hanging).await, expected);
        }
        let largest = place
            .refusal(&announce(JSON, MAX_JSON_BODY_BYTES), Script::whole("x"))
            .await;
        assert_eq!(largest, (400, "json-malformed"));
        let as_it_is = place
            .refusal(&coded(&["identity", "Identity"]), Script::whole("x"))
            .await;
        assert_eq!(as_it_is, (400, "json-malformed"));
    });
}

#[test]
fn refuses_bad_uploads_and_leaves_nothing() {
    run(async {
        let place = Place::new();
        for (archive, expected) in [
            (
                tar_of(&[("Cargo.toml", b"[package]")]),
                (422, "lockfile-missing"),
            ),
            (
                tar_of(&[("src/Cargo.lock", b""), ("README", b"")]),
                (422, "lockfile-missing"),
            ),
            (b"this is no archive".repeat(100), (400, "archive-refused")),
            (Vec::new(), (400, "archive-refused")),
        ] {
            for (content_type, body) in bodies(&archive) {
                let refusal = place
                    .refusal(&chunked(content_type), Script::whole(body))
                    .await;
                assert_eq!(refusal, expected, "{content_type}");
            }
        }
        for (content_type, body) in bodies(&project()) {
            let cut = Script::whole(body[..body.len() - 10].to_vec());
            assert_eq!(place.refusal(&chunked(content_type), cut).await.0, 400);
            let broken = Script::new([
                Act::Send(body[..body.len() / 2].to_vec().into()),
                Act::Break,
            ]);
            assert_eq!(
                place.refusal(&chunked(content_type), broken).await,
                (400, "body-broken")
            );
        }
    });
}

#[test]
fn a_missing_directory_is_an_internal_error() {
    run(async {
        let place = Place::new();
        fs::remove_dir(place.directory.path().join("uploads")).unwrap();
        let error = place
            .receive(&chunked(JSON), Script::whole(json_of(&project())))
            .await
            .unwrap_err();
        assert_eq!((error.status(), error.code()), (500, "internal"));
        assert!(!error.to_string().contains("os error"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    });
}

#[test]
fn a_stalled_body_is_too_slow() {
    run(async {
        let place = Place::new();
        for (content_type, body) in bodies(&project()) {
            let (head, tail) = body.split_at(body.len() / 2);
            let halves = |pause: Act| {
                Script::new([
                    Act::Send(head.to_vec().into()),
                    pause,
                    Act::Send(tail.to_vec().into()),
                ])
            };
            let started = Instant::now();
            assert_eq!(
                place
                    .refusal(&chunked(content_type), halves(Act::Hang))
                    .await,
                (408, "body-stalled")
            );
            assert!(
                (BODY_PROGRESS_TIMEOUT..BODY_PROGRESS_TIMEOUT * 2).contains(&started.elapsed())
            );
            let pause = Act::Wait(BODY_PROGRESS_TIMEOUT - Duration::from_secs(1));
            let request = place
                .receive(&chunked(content_type), halves(pause))
                .await
                .unwrap();
            place.intake.discard(request);
            empties(&place).await;
        }
    });
}

#[test]
fn a_dripping_body_is_too_slow_in_the_end() {
    run(async {
        let place = Place::new();
        let pause = BODY_PROGRESS_TIMEOUT - Duration::from_secs(1);
        let drops = MAX_UPLOAD_TIME.as_secs() / pause.as_secs() + 1;
        let drip = (0..drops).flat_map(|_| [Act::Wait(pause), Act::Send(Bytes::from_static(b" "))]);
        let started = Instant::now();
        assert_eq!(
            place.refusal(&chunked(JSON), Script::new(drip)).await,
            (408, "upload-too-slow")
        );
        assert!(started.elapsed() >= MAX_UPLOAD_TIME);
    });
}

#[test]
fn a_request_that_goes_away_leaves_nothing() {
    run(async {
        let place = Place::new();
        let archive = tar_of(&[
            ("Cargo.lock", b"version = 4"),
            ("data", &pattern(1_000_000)),
        ]);
        for (content_type, body) in bodies(&archive) {
            // Dropped at every point where it waits, until it waits no more.
            for polls in 0.. {
                let pieces = body.chunks(200_000).flat_map(|piece| {
                    [
                        Act::Wait(Duration::from_millis(1)),
                        Act::Send(Bytes::copy_from_slice(piece)),
                    ]
                });
                let parts = chunked(content_type);
                let done = {
                    let mut receiving = pin!(receive(&parts, Script::new(pieces), &place.intake));
                    let mut left = polls;
                    std::future::poll_fn(|cx| match receiving.as_mut().poll(cx) {
                        Poll::Ready(done) => Poll::Ready(Some(done)),
                        Poll::Pending if left == 0 => Poll::Ready(None),
                        Poll::Pending => {
                            left -= 1;
                            Poll::Pending
                        }
                    })
                    .await
                };
                if let Some(done) = done {
                    assert!(polls >= body.len() / 200_000, "only {polls} waits");
                    place.intake.discard(done.unwrap());
                    empties(&place).await;
                    break;
                }
                empties(&place).await;
            }
        }
        // Every permit was returned: this many uploads can still run at once.
        let parts = chunked(JSON);
        let start = r#"{"source_data":""#;
        let mut uploads = Vec::new();
        for _ in 0..MAX_CONCURRENT_UPLOADS {
            let body = Script::new([Act::Send(Bytes::from_static(start.as_bytes())), Act::Hang]);
            uploads.push(Box::pin(receive(&parts, body, &place.intake)));
        }
        for upload in &mut uploads {
            assert!(
                tokio::time::timeout(Duration::from_secs(1), upload)
                    .await
                    .is_err()
            );
        }
        assert_eq!(place.uploads(), MAX_CONCURRENT_UPLOADS);
        // One more waits for its turn, without time running against it, and gets it.
        let mut waiting = Box::pin(place.receive(&parts, Script::whole(json_of(&project()))));
        assert!(
            tokio::time::timeout(MAX_UPLOAD_TIME, &mut waiting)
                .await
                .is_err()
        );
        uploads.pop();
        tree_of(&waiting.await.unwrap());
    });
}

/// Waits for the blocking pool to notice that its result is not needed.
async fn empties(place: &Place) {
    for _ in 0..1000 {
        if place.uploads() == 0 {
            return;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1)))
            .await
            .unwrap();
    }
    panic!("something is left");
}

/// Serves one connection and returns the outcome of its request.
async fn over_a_socket(
    place: &Place,
    request: &[u8],
    then: Ending,
) -> Result<Request, SubmissionError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (sender, receiver) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let service = service_fn(async |request: HttpRequest<Incoming>| {
        let (parts, body) = request.into_parts();
        let received = receive(&parts, body, &place.intake).await;
        let _ = sender.lock().unwrap().take().unwrap().send(received);
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let request = request.to_vec();
    let writing = tokio::spawn(async move {
        client.write_all(&request).await.unwrap();
        if then == Ending::HangUp {
            drop(client);
            return;
        }
        client.read_to_end(&mut Vec::new()).await.unwrap();
    });
    // A client that hangs up is an error of the connection, and its body's.
    let _ = serving.await;
    writing.await.unwrap();
    receiver.await.unwrap()
}

#[derive(PartialEq, Eq)]
enum Ending {
    Listen,
    HangUp,
}

#[test]
fn reads_hypers_bodies() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = Place::new();
        let head = format!(
            "POST /build HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {FORM}\r\n"
        );
        let body = form_of(&project());
        let measured = [
            format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
            &body,
        ]
        .concat();
        let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(1000) {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        for whole in [&measured, &chunked] {
            let request = over_a_socket(&place, whole, Ending::Listen).await.unwrap();
            tree_of(&request);
            place.intake.discard(request);
            empties(&place).await;
            // An epilogue may be missing, so a body that is cut is refused by its framing, not by
            // its content.
            let cut = &whole[..whole.len() - 2];
            assert_eq!(
                over_a_socket(&place, cut, Ending::HangUp)
                    .await
                    .unwrap_err()
                    .code(),
                "body-broken"
            );
            assert_eq!(place.uploads(), 0);
        }
        let without = format!("{head}\r\n");
        assert_eq!(
            over_a_socket(&place, without.as_bytes(), Ending::Listen)
                .await
                .unwrap_err()
                .code(),
            "length-missing"
        );
    });
}
