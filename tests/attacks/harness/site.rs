//! A server of repositories that keeps no rule: plain files, and any response that an attack needs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::corpus::{Template, attacks};

/// A response in place of a file.
#[derive(Clone)]
pub enum Response {
    /// These bytes, header block included.
    Raw(Vec<u8>),
    /// Lines of refs for as long as the client reads.
    Endless,
    /// The list of refs by `git upload-pack` of this repository.
    Refs(PathBuf),
    /// Its response to a request.
    Pack(PathBuf),
}

/// The parts of a request that a program needs for its response.
struct Asked {
    /// `Git-Protocol`, or nothing.
    protocol: String,
    body: Vec<u8>,
}

impl Response {
    pub fn ok(body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat())
    }

    pub fn redirect(location: &str) -> Self {
        let head = "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n";
        Self::Raw(format!("{head}Location: {location}\r\n\r\n").into_bytes())
    }

    pub fn unauthorized() -> Self {
        let head = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n";
        Self::Raw(format!("{head}WWW-Authenticate: Basic realm=\"x\"\r\n\r\n").into_bytes())
    }

    fn send(&self, stream: &mut TcpStream, asked: &Asked) -> std::io::Result<()> {
        match self {
            Self::Raw(bytes) => stream.write_all(bytes),
            Self::Refs(repository) => {
                let refs = upload_pack(repository, &["--http-backend-info-refs"], asked)?;
                let body = [b"001e# service=git-upload-pack\n0000", &refs[..]].concat();
                stream.write_all(&smart("advertisement", &body))
            }
            Self::Pack(repository) => {
                stream.write_all(&smart("result", &upload_pack(repository, &[], asked)?))
            }
            Self::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                let lines: String = (0..1000)
                    .map(|at| format!("{}\trefs/heads/{at:0100}\n", "1".repeat(40)))
                    .collect();
                loop {
                    stream.write_all(lines.as_bytes())?;
                }
            }
        }
    }
}

fn smart(kind: &str, body: &[u8]) -> Vec<u8> {
    let head =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack";
    [
        format!("{head}-{kind}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat()
}

/// Runs git itself; `hook` in the repository replaces the program that makes packs, if it exists.
fn upload_pack(repository: &Path, options: &[&str], asked: &Asked) -> std::io::Result<Vec<u8>> {
    let hook = repository.join(HOOK);
    let mut git = Command::new("git");
    if hook.exists() {
        git.arg("-c")
            .arg(format!("uploadpack.packObjectsHook={}", hook.display()));
    }
    let mut git = git
        .args(["upload-pack", "--stateless-rpc"])
        .args(options)
        .arg(repository)
        .env("GIT_PROTOCOL", &asked.protocol)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    git.stdin.take().unwrap().write_all(&asked.body)?;
    Ok(git.wait_with_output()?.stdout)
}

/// A program that runs with the arguments and the input of the one that makes packs; its standard
/// error goes to the client.
pub const HOOK: &str = ".git/pack-hook";

/// Serves a directory; `/NAME/attack.git` is the repository NAME, so that all projects have one
/// name.
pub struct Site {
    directory: tempfile::TempDir,
    port: u16,
    /// The responses by path.
    answers: Arc<Mutex<BTreeMap<String, Response>>>,
    /// A server that no URL names.
    elsewhere: TcpListener,
    /// A file of the machine that must not be touched.
    pub canary: PathBuf,
}

impl Site {
    pub fn new(canary: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::<Mutex<BTreeMap<String, Response>>>::default();
        let (root, special) = (directory.path().to_owned(), Arc::clone(&answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, special) = (root.clone(), Arc::clone(&special));
                // A client that goes away does not matter.
                std::thread::spawn(move || answer(stream.unwrap(), &root, &special).ok());
            }
        });
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        Self {
            directory,
            port,
            answers,
            elsewhere,
            canary,
        }
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}/attack.git", self.port)
    }

    /// Returns the address of the server that no URL names.
    pub fn elsewhere(&self) -> String {
        format!("http://{}/", self.elsewhere.local_addr().unwrap())
    }

    pub fn elsewhere_was_asked(&self) -> bool {
        self.elsewhere.accept().is_ok()
    }

    /// Responds with `answer` to requests for the path.
    pub fn answer(&self, path: &str, answer: Response) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Lets git itself serve a repository, as servers of forges do.
    pub fn serve_smartly(&self, repository: &Repository) {
        let path = |end: &str| {
            format!(
                "/{}/.git/{end}",
                repository.path.file_name().unwrap().to_str().unwrap()
            )
        };
        self.answer(&path("info/refs"), Response::Refs(repository.path.clone()));
        self.answer(
            &path("git-upload-pack"),
            Response::Pack(repository.path.clone()),
        );
    }

    /// Returns the submission for the repository.
    pub fn submit(&self, repository: &Repository) -> Value {
        json!({ "repo_url": self.url(repository.path.file_name().unwrap().to_str().unwrap()) })
    }

    /// Creates a repository with the files of a harmless project.
    pub fn honest(&self, name: &str) -> Repository {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        let repository = Repository { path };
        repository.git(&["init", "--quiet", "--initial-branch=main"], b"");
        let project = attacks()
            .into_iter()
            .find(|it| it.is_honest() && it.template == Template::Plain)
            .unwrap();
        for (path, bytes) in project.files("") {
            repository.write(path.to_str().unwrap(), &bytes);
        }
        repository.commit();
        repository
    }

    /// Creates a repository with this `.gitmodules`; `sub` is a submodule.
    pub fn with_modules(&self, modules: &str) -> Value {
        let (inner, outer) = (self.honest("inner"), self.honest("outer"));
        outer.write(".gitmodules", modules.as_bytes());
        outer.commit();
        outer.graft("160000", b"sub", &inner.head());
        self.submit(&outer)
    }
}

fn answer(
    stream: TcpStream,
    root: &Path,
    answers: &Mutex<BTreeMap<String, Response>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut asked = Asked {
        protocol: String::new(),
        body: Vec::new(),
    };
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        match line.trim_end().split_once(": ") {
            Some(("Git-Protocol", protocol)) => asked.protocol = protocol.to_owned(),
            Some(("Content-Length", length)) => asked.body.resize(length.parse().unwrap(), 0),
            _ => {}
        }
        line.clear();
    }
    reader.read_exact(&mut asked.body)?;
    let path = first
        .split([' ', '?'])
        .nth(1)
        .unwrap_or_default()
        .replace("/attack.git/", "/.git/");
    let known = answers.lock().unwrap().get(&path).cloned();
    let file =
        || fs::read(root.join(path.trim_start_matches('/'))).map(|bytes| Response::ok(&bytes));
    let missing = || {
        Response::Raw(b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec())
    };
    known
        .unwrap_or_else(|| file().unwrap_or_else(|_| missing()))
        .send(&mut reader.into_inner(), &asked)
}

/// A repository of the site, with loose objects.
pub struct Repository {
    pub path: PathBuf,
}

impl Repository {
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Adds a link.
    pub fn link(&self, name: &str, target: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.exists() {
            fs::remove_file(&path).unwrap();
        }
        symlink(target, path).unwrap();
    }

    /// Writes a program beside the objects.
    pub fn write_program(&self, name: &str, text: &str) {
        self.write(name, text.as_bytes());
        fs::set_permissions(self.path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Commits the last tree with any text as its committer's time; returns the commit.
    pub fn commit_at(&self, time: &str) -> String {
        let tree = self.id_of("HEAD^{tree}");
        let text = format!("tree {tree}\nauthor A <a@b> {time}\ncommitter A <a@b> {time}\n\nall\n");
        let commit = self.object("commit", text.as_bytes());
        self.git(&["update-ref", "refs/heads/main", &commit], b"");
        self.git(&["update-server-info"], b"");
        commit
    }

    /// Points a reference to a commit.
    pub fn name(&self, reference: &str, commit: &str) {
        self.git(&["update-ref", reference, commit], b"");
        self.git(&["update-server-info"], b"");
    }

    /// Writes a file below `.git`.
    pub fn write_git(&self, name: &str, bytes: &[u8]) {
        self.write(&format!(".git/{name}"), bytes);
    }

    /// Commits everything; returns the commit.
    pub fn commit(&self) -> String {
        self.git(&["add", "--force", "--all"], b"");
        self.git(&["commit", "--quiet", "--message=all"], b"");
        self.git(&["update-server-info"], b"");
        self.head()
    }

    pub fn head(&self) -> String {
        self.id_of("HEAD")
    }

    pub fn id_of(&self, name: &str) -> String {
        self.git(&["rev-parse", name], b"")
    }

    /// Stores any bytes as an object.
    pub fn object(&self, kind: &str, bytes: &[u8]) -> String {
        self.git(
            &["hash-object", "-w", "--literally", "-t", kind, "--stdin"],
            bytes,
        )
    }

    /// Stores a tree of modes, names and ids.
    pub fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let entry = |(mode, name, id): &(&str, &[u8], &str)| {
            [
                mode.as_bytes(),
                b" ",
                name,
                b"\0",
                &hex::decode(id).unwrap(),
            ]
            .concat()
        };
        self.object("tree", &entries.iter().flat_map(entry).collect::<Vec<_>>())
    }

    /// Commits a tree that has one entry more than the last, with any name; returns the commit.
    pub fn graft(&self, mode: &str, name: &[u8], id: &str) -> String {
        let listed = self.git(&["ls-tree", "HEAD"], b"");
        let mut entries: Vec<_> = (listed.lines())
            .map(|line| {
                let (rest, name) = line.split_once('\t').unwrap();
                let words: Vec<_> = rest.split(' ').collect();
                (words[0].trim_start_matches('0'), name.as_bytes(), words[2])
            })
            .chain([(mode, name, id)])
            .collect();
        // As git compares them: a directory as if its name ended in a slash.
        entries.sort_by_key(|(mode, name, _)| {
            [*name, if *mode == "40000" { b"/" } else { b"" }].concat()
        });
        let tree = self.tree(&entries);
        let commit = self.git(&["commit-tree", &tree, "-p", "HEAD", "-m", "graft"], b"");
        self.git(&["update-ref", "refs/heads/main", &commit], b"");
        self.git(&["update-server-info"], b"");
        commit
    }

    /// Adds a file to the commit unchanged, whatever attributes are set.
    pub fn write_unchanged(&self, name: &str, bytes: &[u8]) {
        let blob = self.object("blob", bytes);
        self.graft("100644", name.as_bytes(), &blob);
    }

    /// Returns the path of an object below `.git`.
    pub fn object_path(&self, id: &str) -> String {
        format!("objects/{}/{}", &id[..2], &id[2..])
    }

    pub fn lose_object(&self, id: &str) {
        fs::remove_file(self.path.join(".git").join(self.object_path(id))).unwrap();
    }

    /// Stores the bytes of one object under the id of another.
    pub fn replace_object(&self, id: &str, by: &str) {
        let place = |id| self.path.join(".git").join(self.object_path(id));
        fs::set_permissions(place(id), fs::Permissions::from_mode(0o644)).unwrap();
        fs::copy(place(by), place(id)).unwrap();
    }

    fn git(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut git = Command::new("git")
            .args([
                "-c",
                "user.name=test",
                "-c",
                "user.email=test@localhost",
                "-c",
                "core.autocrlf=false",
            ])
            .args(arguments)
            .current_dir(&self.path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin.take().unwrap().write_all(input).unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}
