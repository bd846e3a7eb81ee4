//! A private repository: where is its token while the source is fetched, and where afterwards?

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::harness::{NONCE, Request, Server, git_repository};

/// The token, in two parts, so that no file of the tests and no source that is built contains it.
const PARTS: [&str; 2] = ["glpat-Zm9vYmFyYmF6", "cXV4MTIzNDU2Nzg5"];

/// How long the buffers of a connection may outlive it.
const PATIENCE: Duration = Duration::from_secs(60);

fn token() -> String {
    PARTS.concat()
}

/// Returns the header by which git logs in.
fn login() -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("x-access-token:{}", token()))
    )
}

/// Returns whether bytes contain the token, as it is or in base64.
fn has_token(bytes: &[u8]) -> bool {
    let encoded = login();
    let encoded = encoded.trim_start_matches("Basic ").trim_end_matches('=');
    let has = |form: &str| memchr::memmem::find(bytes, form.as_bytes()).is_some();
    has(&token()) || has(encoded)
}

/// Returns the processes of this machine whose arguments or variables contain the token.
fn processes_with_token() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        for name in ["cmdline", "environ"] {
            let path = process.path().join(name);
            if fs::read(&path).is_ok_and(|bytes| has_token(&bytes)) {
                found.push(path);
            }
        }
    }
    found
}

/// A server of plain files that requires the login, and looks at all processes at each request.
struct PrivateServer {
    port: u16,
    /// The process that is known to have the token while it is used.
    holder: Arc<AtomicU32>,
    is_held: Arc<AtomicBool>,
    found: Arc<Mutex<Vec<PathBuf>>>,
    logins: Arc<Mutex<Vec<bool>>>,
}

impl PrivateServer {
    fn start(directory: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            holder: Arc::default(),
            is_held: Arc::default(),
            found: Arc::default(),
            logins: Arc::default(),
        };
        let (found, logins) = (Arc::clone(&server.found), Arc::clone(&server.logins));
        let (holder, is_held) = (Arc::clone(&server.holder), Arc::clone(&server.is_held));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let is_in = serve(stream.unwrap(), &directory).unwrap_or(false);
                logins.lock().unwrap().push(is_in);
                found.lock().unwrap().extend(processes_with_token());
                let holder = holder.load(Ordering::SeqCst);
                if holder != 0 && !is_held.load(Ordering::SeqCst) {
                    is_held.store(!memory_with_token(holder).is_empty(), Ordering::SeqCst);
                }
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// Serves one request. Returns whether it had the login.
fn serve(mut stream: TcpStream, directory: &Path) -> std::io::Result<bool> {
    let mut lines = BufReader::new(stream.try_clone()?)
        .lines()
        .map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let path = first
        .split([' ', '?'])
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let expected = format!("Authorization: {}", login());
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let is_in = lines.contains(&expected);
    let content = match is_in {
        true => fs::read(directory.join(path.trim_start_matches('/'))).ok(),
        false => None,
    };
    let status = match (is_in, &content) {
        (false, _) => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
        (true, None) => "404 Not Found",
        (true, Some(_)) => "200 OK",
    };
    let content = content.unwrap_or_default();
    let length = content.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(&content)?;
    Ok(is_in)
}

/// Writes a project whose build script looks for the token in everything that a build can read.
fn curious_project(directory: &Path) {
    let script = r#"
        use std::{env, fs, path::Path};

        fn look(path: &Path, token: &[u8], seen: &mut usize) {
            let Ok(metadata) = path.symlink_metadata() else { return };
            if metadata.is_dir() {
                for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                    look(&entry.path(), token, seen);
                }
            } else if metadata.is_file() && metadata.len() < 1 << 24 {
                let Ok(bytes) = fs::read(path) else { return };
                *seen += 1;
                assert!(!bytes.windows(token.len()).any(|part| part == token), "{}", path.display());
            }
        }

        fn main() {
            let token = ["PART0", "PART1"].concat();
            for (name, value) in env::vars() {
                assert!(!value.contains(&token), "{name}");
            }
            let mut seen = 0;
            for place in ["/kettle", "/etc", "/tmp", "/run", "/var", "/dev/shm", "/work", "/home"] {
                look(Path::new(place), token.as_bytes(), &mut seen);
            }
            for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
                for name in ["cmdline", "environ", "maps"] {
                    look(&process.path().join(name), token.as_bytes(), &mut seen);
                }
            }
            println!("cargo:warning=looked at {seen} files");
        }
    "#;
    let script = script.replace("PART0", PARTS[0]).replace("PART1", PARTS[1]);
    let manifest = "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    let lockfile = "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n";
    fs::create_dir(directory.join("src")).unwrap();
    for (name, content) in [
        ("Cargo.toml", manifest),
        ("Cargo.lock", lockfile),
        ("build.rs", &script),
        ("src/main.rs", "fn main() {}\n"),
    ] {
        fs::write(directory.join(name), content).unwrap();
    }
}

/// Submits fields as JSON by the port with TLS; the token is in no argument of the client.
fn submit(server: &Server, fields: &Value) -> (u16, Value) {
    let url = format!("https://127.0.0.1:{}/build", server.tls_port);
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--write-out",
            "\n%{http_code}",
        ])
        .args([
            "--header",
            "Content-Type: application/json",
            "--data-binary",
            "@-",
            &url,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let body = fields.to_string();
    curl.stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let output = curl.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// Returns the files below a directory whose bytes contain the token. The service may remove some of
/// them meanwhile.
fn files_with_token(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            found.extend(files_with_token(&entry.path()));
        } else if kind.is_file() && fs::read(entry.path()).is_ok_and(|bytes| has_token(&bytes)) {
            found.push(entry.path());
        }
    }
    found
}

/// Returns the areas of a process's memory that contain the token.
fn memory_with_token(process: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    for area in maps.lines().filter(|area| area.contains(" rw")) {
        let (range, _) = area.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        memory.seek(SeekFrom::Start(start)).unwrap();
        if memory.read_exact(&mut bytes).is_ok() && has_token(&bytes) {
            found.push(area.to_owned());
        }
    }
    found
}

#[test]
fn the_token_of_a_private_repository_is_nowhere_after_the_source_phase() {
    let site = tempfile::tempdir().unwrap();
    let work = site.path().join("package");
    fs::create_dir(&work).unwrap();
    curious_project(&work);
    git_repository(&work);
    let files = PrivateServer::start(work.join(".git"));
    let server = Server::start();
    let fields = json!({ "nonce": NONCE, "repo_url": files.url(), "repo_token": token() });

    // In plaintext it is refused, and the machine stays free.
    let refused = server.run(&Request::fields(&fields));
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.json()["type"], "/problems/token-in-plaintext");
    assert_ne!(server.get("/ready").status, 404, "the machine is taken");
    // Without it, and with another one, the reason says what to do.
    let mut without = fields.clone();
    without["repo_token"] = Value::Null;
    let (status, problem) = submit(&server, &without);
    assert_eq!(status, 422, "{problem}");
    assert!(
        problem["error"]
            .as_str()
            .unwrap()
            .contains("needs repo_token"),
        "{problem}"
    );
    assert!(files.logins.lock().unwrap().iter().all(|is_in| !is_in));

    files.holder.store(server.id(), Ordering::SeqCst);
    let (status, accepted) = submit(&server, &fields);
    assert_eq!(status, 202, "{accepted}");
    let job = accepted["job_id"].as_str().unwrap();
    let events = server.events(job);
    let end = events.last().unwrap();
    assert_eq!(end["result"]["status"], "ok", "{events:?}");
    assert!(
        events
            .iter()
            .any(|event| event.to_string().contains("looked at")),
        "{events:?}"
    );
    let logins = files.logins.lock().unwrap().clone();
    assert!(
        logins.iter().filter(|is_in| **is_in).count() > 3,
        "{logins:?}"
    );

    // The search of the memory finds it while it is needed.
    assert!(files.is_held.load(Ordering::SeqCst));
    // While it was used, no process of the machine had it where others see it.
    assert_eq!(*files.found.lock().unwrap(), [] as [PathBuf; 0]);
    assert_eq!(processes_with_token(), [] as [PathBuf; 0]);
    // Everything that a client can get.
    for path in [
        "",
        "/events",
        "/result",
        "/provenance.json",
        "/sbom.cdx.json",
        "/build.log",
    ] {
        let answer = server.get(&format!("/build/{job}{path}"));
        assert_eq!(answer.status, 200, "{path}");
        let mut unpacked = Vec::new();
        if path == "/result" {
            GzDecoder::new(&answer.body[..])
                .read_to_end(&mut unpacked)
                .unwrap();
        }
        assert!(!has_token(&answer.body) && !has_token(&unpacked), "{path}");
    }
    // Everything that the service wrote.
    assert_eq!(files_with_token(server.directory()), [] as [PathBuf; 0]);
    // The service's own memory, once the connection that brought the token has ended.
    let start = Instant::now();
    loop {
        let found = memory_with_token(server.id());
        if found.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{found:#?}");
        sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_renewed_token_finds_the_same_job() {
    let site = tempfile::tempdir().unwrap();
    let work = site.path().join("package");
    fs::create_dir(&work).unwrap();
    curious_project(&work);
    git_repository(&work);
    let files = PrivateServer::start(work.join(".git"));
    let server = Server::start();
    let fields = json!({ "nonce": NONCE, "repo_url": files.url(), "repo_token": token() });
    let (status, accepted) = submit(&server, &fields);
    assert_eq!(status, 202, "{accepted}");
    let mut renewed = fields;
    renewed["repo_token"] = "another-token".into();
    let url = format!("https://127.0.0.1:{}/build", server.tls_port);
    let output = Command::new("curl")
        .args([
            "--silent",
            "--insecure",
            "--header",
            "Content-Type: application/json",
        ])
        .args(["--header", &format!("Idempotency-Key: {NONCE}")])
        .args(["--data", &renewed.to_string(), &url])
        .output()
        .unwrap();
    let repeated: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(repeated["job_id"], accepted["job_id"], "{repeated}");
}
