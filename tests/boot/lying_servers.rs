//! Servers that serve other bytes than they should, or half of them, or nothing: altered bytes are
//! not accepted, and the machine serves on.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::client::{Port, Source};
use crate::image::Image;
use crate::machine::user_network::HOST;
use crate::machine::{Host, Machine};
use crate::support::{git, git_repository, package, sha256};

/// The path of the package's archive.
const ARCHIVE: &str = "/dl/leaf/1.0.0/download";

/// The response to a request.
pub enum Reply {
    Whole(Vec<u8>),
    /// The full length, and half of the body.
    Half(Vec<u8>),
    /// A body that gzip packed.
    Packed(Vec<u8>),
    /// The connection is cut without a response.
    Reset,
    NotFound,
}

/// A server on loopback, which runs until the test process ends.
pub struct LyingServer {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl LyingServer {
    /// Starts a server; `reply` gets the port and the path.
    pub fn start(mut reply: impl FnMut(u16, &str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let Some(path) = path_of_request(&stream) else {
                    continue;
                };
                record.lock().unwrap().push(path.clone());
                let _ = answer(stream, reply(port, &path));
            }
        });
        Self { port, asked }
    }

    /// Starts a server of the plain files of a git repository.
    pub fn of_repository(directory: PathBuf) -> Self {
        Self::start(
            move |_, path| match fs::read(directory.join(path.trim_start_matches('/'))) {
                Ok(content) => Reply::Whole(content),
                Err(_) => Reply::NotFound,
            },
        )
    }

    /// Returns the requested paths, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn path_of_request(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let first = lines.next()?;
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    Some(first.split(' ').nth(1)?.split('?').next()?.to_owned())
}

fn answer(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    let (status, content, sent) = match &reply {
        Reply::Whole(content) => ("200 OK", &content[..], content.len()),
        Reply::Packed(content) => (
            "200 OK\r\nContent-Encoding: gzip",
            &content[..],
            content.len(),
        ),
        Reply::Half(content) => ("200 OK", &content[..], content.len() / 2),
        Reply::NotFound => ("404 Not Found", &[][..], 0),
        // What is closed without lingering is reset.
        Reply::Reset => {
            return Ok(rustix::net::sockopt::set_socket_linger(
                &stream,
                Some(Duration::ZERO),
            )?);
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&content[..sent])
}

/// Returns a repository in which the content of `src/main.rs` does not have its id, and where git
/// keeps it.
pub fn repository_of_other_bytes(directory: &Path) -> PathBuf {
    let source = directory.join("package");
    let archive = package(&[("src/main.rs", "fn main() {}\n")]);
    tar::Archive::new(&archive[..]).unpack(directory).unwrap();
    git_repository(&source);
    fs::write(source.join("other"), "fn main() { println!(\"other\") }\n").unwrap();
    let object = |id: String| source.join(".git/objects").join(&id[..2]).join(&id[2..]);
    let honest = object(git(&source, &["rev-parse", "HEAD:src/main.rs"]));
    let other = object(git(&source, &["hash-object", "-w", "other"]));
    fs::remove_file(&honest).unwrap();
    fs::copy(other, honest).unwrap();
    source.join(".git")
}

/// Returns a package of a registry, with this source.
fn leaf(source: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let manifest = "[package]\nname = \"leaf\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
    for (name, content) in [("Cargo.toml", manifest), ("src/lib.rs", source)] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive
            .append_data(
                &mut header,
                format!("leaf-1.0.0/{name}"),
                content.as_bytes(),
            )
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Returns a package that depends on the leaf whose archive has this digest, from a registry of the
/// host.
fn dependent(port: u16, checksum: &str) -> Vec<u8> {
    let index = format!("sparse+http://{HOST}:{port}/");
    let manifest = "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                    [dependencies]\nleaf = { version = \"=1.0.0\", registry = \"own\" }\n";
    let lockfile = format!(
        "version = 4\n\n[[package]]\nname = \"leaf\"\nversion = \"1.0.0\"\nsource = \"{index}\"\nchecksum = \"{checksum}\"\n\n\
         [[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"leaf\",\n]\n"
    );
    package(&[
        ("Cargo.toml", manifest),
        ("Cargo.lock", &lockfile),
        (
            ".cargo/config.toml",
            &format!("[registries.own]\nindex = \"{index}\"\n"),
        ),
        ("src/main.rs", "fn main() {}\n"),
    ])
}

/// Builds a package whose only dependency comes from a registry with this response, and asserts
/// that its fetch fails.
fn assert_fetch_fails(lie: fn(Vec<u8>) -> Reply, error_type: &str) {
    let honest = leaf("");
    let checksum = sha256(&honest);
    let line = format!(
        "{{\"name\":\"leaf\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{checksum}\",\"features\":{{}},\"yanked\":false}}\n"
    );
    let server = LyingServer::start(move |port, path| match path {
        "/config.json" => {
            Reply::Whole(format!("{{\"dl\":\"http://{HOST}:{port}/dl\"}}").into_bytes())
        }
        "/le/af/leaf" => Reply::Whole(line.clone().into_bytes()),
        ARCHIVE => lie(honest.clone()),
        _ => Reply::NotFound,
    });
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &Host::honest(&image));
    let archive = dependent(server.port, &checksum);
    let outcome = machine.build(
        Port::Tls,
        &Source::Archive {
            bytes: &archive,
            name: "package.tar",
        },
    );
    assert!(
        server.asked().contains(&ARCHIVE.to_owned()),
        "{:?} {:?}",
        server.asked(),
        outcome.lines
    );
    outcome.assert_failed(error_type);
    machine.assert_no_result(&outcome.job);
    machine.assert_healthy(Port::Tls);
}

/// Returns packed zeros.
fn packed(mebibytes: usize) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let mebibyte = vec![0; 1 << 20];
    (0..mebibytes).for_each(|_| packer.write_all(&mebibyte).unwrap());
    packer.finish().unwrap()
}

/// The response is larger than the memory of the machine, which is larger than that of a fetch.
#[test]
#[ignore = "needs QEMU and a built image"]
fn a_registry_whose_response_takes_all_memory_ends_the_fetch_and_not_the_machine() {
    let bomb = packed(1024);
    let server = LyingServer::start(move |port, path| match path {
        "/config.json" => {
            Reply::Whole(format!("{{\"dl\":\"http://{HOST}:{port}/dl\"}}").into_bytes())
        }
        _ => Reply::Packed(bomb.clone()),
    });
    let image = Image::from_environment();
    let machine = Machine::serving(
        &image,
        &Host {
            memory_mib: 768,
            ..Host::honest(&image)
        },
    );
    let archive = dependent(server.port, &sha256(b""));
    let outcome = machine.build(
        Port::Tls,
        &Source::Archive {
            bytes: &archive,
            name: "package.tar",
        },
    );
    outcome.assert_failed("OutOfMemory");
    machine.assert_no_result(&outcome.job);
    machine.assert_healthy(Port::Tls);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_registry_that_serves_other_bytes_than_were_locked_fails_the_build() {
    assert_fetch_fails(
        |_| Reply::Whole(leaf("compile_error!(\"other\");")),
        "LockfileMismatch",
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_registry_that_serves_half_of_a_package_fails_the_build() {
    assert_fetch_fails(Reply::Half, "DependencyFetchFailed");
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_registry_that_resets_its_connections_fails_the_build() {
    assert_fetch_fails(|_| Reply::Reset, "DependencyFetchFailed");
}
