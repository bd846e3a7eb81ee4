//! Sources: published crates, packages made up here, repositories.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the published archive `NAME-VERSION.crate`, as the ordinary client downloads it.
pub fn crate_file(name: &str, version: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\n{name} = \"={version}\"\n"
    );
    fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(directory.path().join("src")).unwrap();
    fs::write(directory.path().join("src/lib.rs"), "").unwrap();
    let fetch = Command::new("cargo")
        .arg("fetch")
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(
        fetch.status.success(),
        "{}",
        String::from_utf8_lossy(&fetch.stderr)
    );
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"));
    let caches = fs::read_dir(home.join("registry/cache")).unwrap();
    let mut files = caches.map(|cache| {
        cache
            .unwrap()
            .path()
            .join(format!("{name}-{version}.crate"))
    });
    fs::read(
        files
            .find(|file| file.is_file())
            .expect("the archive in cargo's cache"),
    )
    .unwrap()
}

/// Returns a package without dependencies: `files` beside a manifest and a lockfile; its name is
/// `package`. A content of `-> TARGET` is a symbolic link.
pub fn package(files: &[(&str, &str)]) -> Vec<u8> {
    let manifest = "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    let lockfile = "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n";
    let mut all = vec![("Cargo.toml", manifest), ("Cargo.lock", lockfile)];
    all.retain(|(name, _)| files.iter().all(|(given, _)| given != name));
    all.extend_from_slice(files);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in all {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        if let Some(target) = content.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive
                .append_link(&mut header, format!("package/{name}"), target)
                .unwrap();
            continue;
        }
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, format!("package/{name}"), content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

/// Returns a directory as an archive, with itself as the top directory.
pub fn tar_of(directory: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_dir_all(directory.file_name().unwrap(), directory)
        .unwrap();
    archive.into_inner().unwrap()
}

/// Runs git without the user's settings; returns its output, trimmed.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let git = Command::new("git")
        .args([
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@localhost",
            "-c",
            "core.autocrlf=false",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(
        git.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&git.stderr)
    );
    String::from_utf8(git.stdout).unwrap().trim().to_owned()
}

/// Commits everything in `directory`, and prepares it for plain file servers.
pub fn git_repository(directory: &Path) {
    git(directory, &["init", "--quiet", "--initial-branch=main"]);
    git(directory, &["add", "--force", "--all"]);
    git(directory, &["commit", "--quiet", "--message=all"]);
    git(directory, &["update-server-info"]);
}

/// A server of the files of a directory on loopback, which runs until the test process ends.
pub struct StaticServer {
    pub port: u16,
}

impl StaticServer {
    pub fn start(directory: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, directory) = (stream.unwrap(), directory.clone());
                std::thread::spawn(move || serve(stream, &directory));
            }
        });
        Self { port }
    }
}

/// Serves one request; a client that goes away does not matter.
fn serve(mut stream: std::net::TcpStream, directory: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first
        .split(' ')
        .nth(1)
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .trim_start_matches('/')
        .to_owned();
    let content = fs::read(directory.join(path));
    let status = if content.is_ok() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let content = content.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&content));
}
