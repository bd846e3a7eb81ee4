//! Which repositories become a source tree? Over plain files and over git's own protocol, honest
//! and not.

#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "repository/token.rs"]
mod token;

use std::fs;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use kettle::sandbox::{CommandSpec, Exit, OutputSink, Run, RunError, Served, Stream, Work};
use kettle::source::archive::{ArchiveError, Refusal};
use kettle::source::repository::redirect::RedirectError;
use kettle::source::repository::{FetchLog, ModulesError, RepositoryError, fetch};
use kettle::source::{GitRef, LinkError, Origin, RepositoryToken, RepositoryUrl, SourceTree, tree};

// --- commands, without a sandbox ---

/// Changes the arguments of a command before it runs, as a compromised git would.
type Tamper = fn(&mut Vec<String>);

struct Unsandboxed(Tamper);

impl Run for Unsandboxed {
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>> {
        Box::pin(async move {
            run_here(spec, self.0, sink).map_err(|source| RunError::Output { source })
        })
    }

    fn make_writable_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn serve<'a>(
        &'a self,
        _: &'a CommandSpec,
        _: &'a Path,
        _: Work<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Served, RunError>> + 'a>> {
        unreachable!("nothing here needs a service")
    }

    fn make_service_directory(&self, _: &Path) -> io::Result<()> {
        unreachable!("nothing here needs a service")
    }
}

fn run_here(spec: &CommandSpec, tamper: Tamper, sink: &mut dyn OutputSink) -> io::Result<Exit> {
    let here = |text: &str| {
        spec.mounts.iter().fold(text.to_owned(), |text, mount| {
            text.replace(
                mount.target.to_str().unwrap(),
                mount.source.to_str().unwrap(),
            )
        })
    };
    let mut argv: Vec<String> = spec.argv.iter().map(|argument| here(argument)).collect();
    tamper(&mut argv);
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().envs(&spec.environment);
    // The sandbox has the secret file at a path of its own.
    let mut secret = tempfile::NamedTempFile::new()?;
    if let Some(file) = &spec.secret {
        secret.write_all(&file.content)?;
        let names = spec.environment.iter();
        let names = names.filter(|(_, value)| Path::new(value) == file.target);
        for (name, _) in names {
            command.env(name, secret.path());
        }
    }
    let output = command
        .current_dir(here(spec.directory.to_str().unwrap()))
        .output()?;
    sink.chunk(Stream::Stderr, &output.stderr)?;
    for chunk in output.stdout.chunks(1000) {
        sink.chunk(Stream::Stdout, chunk)?;
    }
    Ok(Exit::Status(output.status.code().unwrap_or(-1)))
}

#[derive(Default)]
struct Log(Vec<u8>);

impl OutputSink for Log {
    fn chunk(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl FetchLog for Log {
    fn note(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{line}")
    }
}

// --- a server ---

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Plain files.
    Dumb,
    /// `git http-backend`.
    Smart,
}

/// The redirect of a server for a target: a status and a `Location`.
type Moved = Box<dyn Fn(&str, &str) -> Option<(u16, String)> + Send + Sync>;

/// A directory that is served until the test process ends.
struct Service {
    root: PathBuf,
    kind: Kind,
    /// The redirects by method and target.
    moved: Moved,
    requests: AtomicUsize,
    /// The value of `Authorization` that is required.
    login: Option<String>,
    /// The target of each request, with its value of `Authorization`.
    seen: Mutex<Vec<(String, String)>>,
}

impl Service {
    /// Starts a server; returns its address, and the service, which counts requests.
    fn start(root: &Path, kind: Kind, moved: Moved) -> (String, Arc<Self>) {
        Self::start_private(root, kind, moved, None)
    }

    /// Starts a server that may require a login.
    fn start_private(
        root: &Path,
        kind: Kind,
        moved: Moved,
        login: Option<String>,
    ) -> (String, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = Arc::new(Self {
            root: root.to_owned(),
            kind,
            moved,
            requests: AtomicUsize::new(0),
            login,
            seen: Mutex::default(),
        });
        let served = Arc::clone(&service);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let service = Arc::clone(&served);
                std::thread::spawn(move || answer(stream.unwrap(), &service).ok());
            }
        });
        (address, service)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Serves the directory; returns the address.
fn serve(root: &Path, kind: Kind) -> String {
    Service::start(root, kind, Box::new(|_, _| None)).0
}

fn answer(stream: TcpStream, service: &Service) -> io::Result<()> {
    let Service {
        root,
        kind,
        moved,
        requests,
        login,
        seen,
    } = service;
    requests.fetch_add(1, Ordering::SeqCst);
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let header = |name: &str| {
        let found = lines.iter().find_map(|line| {
            line.split_once(": ")
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        });
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut request = lines[0].split(' ');
    let (method, target) = (request.next().unwrap(), request.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut stream = reader.into_inner();
    let authorization = header("authorization");
    let asked = (target.to_owned(), authorization.clone());
    seen.lock().unwrap().push(asked);
    if login.as_ref().is_some_and(|login| *login != authorization) {
        let head = "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n";
        return write!(stream, "{head}WWW-Authenticate: Basic realm=\"x\"\r\n\r\n");
    }
    if target.starts_with("/echo") {
        let body = token::repeated(&authorization);
        let head = "HTTP/1.1 403 No\r\nConnection: close\r\nContent-Type: text/plain\r\n";
        let length = body.len();
        return write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}");
    }
    if let Some((status, location)) = moved(method, target) {
        let head = format!("HTTP/1.1 {status} Moved\r\nConnection: close\r\nContent-Length: 0\r\n");
        return write!(stream, "{head}Location: {location}\r\n\r\n");
    }
    if *kind == Kind::Dumb {
        return match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(bytes) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    bytes.len()
                )?;
                stream.write_all(&bytes)
            }
            Err(_) => write!(
                stream,
                "HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            ),
        };
    }
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    backend.stdin.take().unwrap().write_all(&body)?;
    let output = backend.wait_with_output()?.stdout;
    let text = String::from_utf8_lossy(&output);
    let status = text
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK")
        .to_owned();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    stream.write_all(&output)
}

// --- repositories ---

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "protocol.file.allow=always",
            "-c",
            "core.autocrlf=false",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_COMMITTER_DATE", "1700000000 +0200")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A work tree at `site/NAME`, so that it is served as `/NAME/.git`.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn repository(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = self.directory.path().join("site").join(name);
        fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main"]);
        for (name, content) in files {
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), content).unwrap();
        }
        commit(&path);
        path
    }

    fn url(&self, kind: Kind, name: &str) -> RepositoryUrl {
        let address = serve(&self.directory.path().join("site"), kind);
        RepositoryUrl::parse(&format!("{address}/{name}/.git")).unwrap()
    }

    fn fetch_with(
        &self,
        tamper: Tamper,
        url: &RepositoryUrl,
        reference: Option<&str>,
    ) -> Result<SourceTree, RepositoryError> {
        self.fetch_as(tamper, url, reference, None).0
    }

    /// Fetches with a token. Returns the log too.
    fn fetch_as(
        &self,
        tamper: Tamper,
        url: &RepositoryUrl,
        reference: Option<&str>,
        token: Option<&RepositoryToken>,
    ) -> (Result<SourceTree, RepositoryError>, String) {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        let reference = reference.map(|text| GitRef::parse(text).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut log = Log::default();
        let result = runtime.block_on(fetch(
            &Unsandboxed(tamper),
            url,
            reference.as_ref(),
            token,
            &directory,
            &mut log,
        ));
        let log = String::from_utf8_lossy(&log.0).into_owned();
        let mut left: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(
            left,
            if result.is_ok() {
                vec!["git", "source"]
            } else {
                vec![]
            },
            "{log}"
        );
        if result.is_err() {
            println!("{log}");
        }
        (result, log)
    }

    fn fetch(
        &self,
        url: &RepositoryUrl,
        reference: Option<&str>,
    ) -> Result<SourceTree, RepositoryError> {
        self.fetch_with(|_| {}, url, reference)
    }
}

fn commit(path: &Path) -> String {
    git(path, &["add", "--all", "--force"]);
    git(path, &["commit", "-qm", "x", "--allow-empty"]);
    git(path, &["update-server-info"]);
    git(path, &["rev-parse", "HEAD"])
}

fn tree_of(path: &Path, revision: &str) -> String {
    git(path, &["rev-parse", &format!("{revision}^{{tree}}")])
}

fn commit_of(tree: &SourceTree) -> String {
    match tree.origin() {
        Origin::Repository { commit, .. } => commit.to_string(),
        Origin::Archive { .. } => panic!("{tree:?}"),
    }
}

/// Asserts that git, with the `.git` that was made for a build, says what was fetched, and that it
/// finds no file changed.
fn assert_git_tells_the_truth(tree: &SourceTree, reference: Option<&str>, commit: &str) {
    let directory = tree.git().unwrap().join(".git");
    let ask = |arguments: &[&str]| {
        let places = [
            format!("--git-dir={}", directory.display()),
            format!("--work-tree={}", tree.root().display()),
        ];
        let all = places
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied());
        git(tree.root(), &all.collect::<Vec<_>>())
    };
    assert_eq!(ask(&["rev-parse", "HEAD"]), commit);
    assert_eq!(ask(&["rev-parse", "HEAD^{tree}"]), tree.tree().to_string());
    assert_eq!(ask(&["status", "--porcelain"]), "");
    assert_eq!(
        ask(&["log", "--format=%H %ct"]),
        format!("{commit} 1700000000")
    );
    assert_eq!(ask(&["diff", "--stat", "HEAD"]), "");
    let (branch, described) = match reference {
        Some("main" | "refs/heads/main") => ("main", &commit[..7]),
        Some("side/branch") => ("side/branch", &commit[..7]),
        Some("v1" | "refs/tags/v1") => ("HEAD", "v1"),
        _ => ("HEAD", &commit[..7]),
    };
    assert_eq!(
        ask(&["rev-parse", "--abbrev-ref", "HEAD"]),
        branch,
        "{reference:?}"
    );
    let describe = ask(&["describe", "--always", "--dirty"]);
    assert_eq!(describe, described, "{reference:?}");
    if described == "v1" {
        assert_eq!(ask(&["describe", "--exact-match"]), "v1");
    }
    fs::write(tree.root().join("Cargo.lock"), "changed").unwrap();
    assert!(ask(&["describe", "--always", "--dirty"]).ends_with("-dirty"));
}

#[test]
fn resolves_every_kind_of_ref_on_every_kind_of_server() {
    let site = Site::new();
    let path = site.repository(
        "hello",
        &[
            ("Cargo.lock", "1"),
            ("src/main.rs", "fn main() {}"),
            ("run", "#!"),
        ],
    );
    fs::set_permissions(path.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("src/main.rs", path.join("link")).unwrap();
    symlink("not/there", path.join("dangling")).unwrap();
    let first = commit(&path);
    git(&path, &["tag", "-a", "-m", "x", "v1"]);
    git(&path, &["checkout", "-qb", "side/branch"]);
    fs::write(path.join("more"), "x").unwrap();
    let side = commit(&path);
    git(&path, &["checkout", "-q", "main"]);
    fs::write(path.join("Cargo.lock"), "2").unwrap();
    let last = commit(&path);
    let refs = [
        (None, &last),
        (Some("HEAD"), &last),
        (Some("main"), &last),
        (Some("refs/heads/main"), &last),
        (Some("side/branch"), &side),
        (Some("v1"), &first),
        (Some("refs/tags/v1"), &first),
        (Some(first.as_str()), &first),
        (Some(side.as_str()), &side),
    ];
    for kind in [Kind::Dumb, Kind::Smart] {
        let url = site.url(kind, "hello");
        for (reference, expected) in refs {
            let tree = site
                .fetch(&url, reference)
                .unwrap_or_else(|error| panic!("{kind:?} {reference:?}: {error}"));
            assert_eq!(commit_of(&tree), *expected, "{kind:?} {reference:?}");
            assert_eq!(
                tree.tree().to_string(),
                tree_of(&path, expected),
                "{kind:?} {reference:?}"
            );
            assert_eq!(tree::hash(tree.root()).unwrap(), tree.tree());
            assert_eq!(tree.epoch(), 1_700_000_000);
            assert!(!tree.root().join(".git").exists());
            assert_git_tells_the_truth(&tree, reference, expected);
            assert_eq!(
                fs::metadata(tree.root().join("run"))
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o7777,
                0o755
            );
        }
        for missing in ["nothing", "refs/heads/nothing", &"1".repeat(40)] {
            let error = site.fetch(&url, Some(missing)).unwrap_err();
            assert!(
                matches!(error, RepositoryError::Git { .. }),
                "{kind:?} {missing}: {error:?}"
            );
            assert!(!error.is_fault());
        }
    }
}

#[test]
fn files_are_the_blobs_whatever_attributes_say() {
    let site = Site::new();
    let attributes = "*.txt text eol=crlf\n*.id ident\n*.sub export-subst\n*.gone export-ignore\n*.f filter=lfs\n\
        *.u16 working-tree-encoding=UTF-16\n";
    let files = [
        ("a.txt", "a\nb\n"),
        ("a.id", "$Id$"),
        ("a.sub", "$Format:%H$"),
        ("a.gone", "x"),
        ("a.f", "x"),
        ("a.u16", "x"),
    ];
    let path = site.repository("hello", &files);
    fs::write(path.join(".gitattributes"), attributes).unwrap();
    // Without conversion, so that the files here are also the blobs.
    fs::write(
        path.join(".git/info/attributes"),
        "* -text -eol -ident -filter -working-tree-encoding\n",
    )
    .unwrap();
    commit(&path);
    let tree = site.fetch(&site.url(Kind::Smart, "hello"), None).unwrap();
    assert_eq!(tree.tree().to_string(), tree_of(&path, "HEAD"));
    for (name, content) in files {
        assert_eq!(
            fs::read_to_string(tree.root().join(name)).unwrap(),
            content,
            "{name}"
        );
    }
}

#[test]
fn submodules_come_by_the_commit_that_the_superproject_names() {
    let site = Site::new();
    let inner = site.repository("inner", &[("deep.rs", "deep")]);
    let middle = site.repository("middle", &[("lib.rs", "lib")]);
    let outer = site.repository("outer", &[("Cargo.lock", ""), ("sub.rs", "sorts behind")]);
    let add = |path: &Path, url: &str, at: &str| {
        git(path, &["clone", "-q", "--no-recurse-submodules", url, at]);
        fs::write(
            path.join(".gitmodules"),
            format!(
                "[submodule \"x\"]\n\tpath = {at}\n\turl = ../../{}/.git\n",
                url.rsplit('/').next().unwrap()
            ),
        )
        .unwrap();
        git(
            path,
            &["-c", "advice.addEmbeddedRepo=false", "add", "--all"],
        );
        commit(path)
    };
    add(&middle, inner.to_str().unwrap(), "vendor/inner");
    add(&outer, middle.to_str().unwrap(), "sub");
    symlink("sub/vendor/inner/deep.rs", outer.join("into")).unwrap();
    commit(&outer);
    fs::write(middle.join("lib.rs"), "newer").unwrap();
    commit(&middle);
    for kind in [Kind::Smart, Kind::Dumb] {
        let tree = site
            .fetch(&site.url(kind, "outer"), None)
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(tree.tree().to_string(), tree_of(&outer, "HEAD"), "{kind:?}");
        assert_eq!(
            fs::read_to_string(tree.root().join("sub/lib.rs")).unwrap(),
            "lib"
        );
        assert_eq!(
            fs::read_to_string(tree.root().join("into")).unwrap(),
            "deep"
        );
    }
}

#[test]
fn refuses_hostile_trees() {
    let site = Site::new();
    let leaving = site.repository("leaving", &[("Cargo.lock", "")]);
    symlink("/etc/passwd", leaving.join("passwd")).unwrap();
    commit(&leaving);
    let climbing = site.repository("climbing", &[("Cargo.lock", "")]);
    symlink("../../x", climbing.join("up")).unwrap();
    commit(&climbing);
    for (name, reason) in [
        ("leaving", LinkError::Absolute),
        ("climbing", LinkError::Leaves),
    ] {
        let error = site.fetch(&site.url(Kind::Smart, name), None).unwrap_err();
        let RepositoryError::Files(ArchiveError::Entry {
            reason: Refusal::Link(actual),
            ..
        }) = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(actual, reason, "{name}");
    }
}

#[test]
fn refuses_hostile_submodules() {
    let site = Site::new();
    let with = |name: &str, modules: Option<&str>| {
        let path = site.repository(name, &[("Cargo.lock", "")]);
        if let Some(modules) = modules {
            fs::write(path.join(".gitmodules"), modules).unwrap();
            git(&path, &["add", "--all"]);
        }
        let link = format!("160000,{},sub", "1".repeat(40));
        git(&path, &["update-index", "--add", "--cacheinfo", &link]);
        git(&path, &["commit", "-qm", "x"]);
        git(&path, &["update-server-info"]);
        site.fetch(&site.url(Kind::Dumb, name), None).unwrap_err()
    };
    let error = with("no-url", None);
    assert!(
        matches!(error, RepositoryError::Modules(ModulesError::NoUrl { .. })),
        "{error:?}"
    );
    for (name, url) in [
        ("ext", "ext::sh -c id"),
        ("file", "file:///etc"),
        ("option", "./--upload-pack=x y"),
        ("local", "/etc"),
    ] {
        let error = with(
            name,
            Some(&format!(
                "[submodule \"s\"]\n\tpath = sub\n\turl = \"{url}\"\n"
            )),
        );
        assert!(
            matches!(error, RepositoryError::Modules(ModulesError::Url { .. })),
            "{name}: {error:?}"
        );
    }
    let error = with(
        "missing",
        Some("[submodule \"s\"]\n\tpath = sub\n\turl = ../../no-url/.git\n"),
    );
    assert!(matches!(error, RepositoryError::Git { .. }), "{error:?}");
}

#[test]
fn a_server_that_lies_about_an_object_is_refused() {
    let site = Site::new();
    let path = site.repository("hello", &[("Cargo.lock", "1")]);
    let first = git(&path, &["rev-parse", "HEAD"]);
    fs::write(path.join("Cargo.lock"), "2").unwrap();
    let second = commit(&path);
    let object = |id: &str| path.join(".git/objects").join(&id[..2]).join(&id[2..]);
    fs::set_permissions(object(&first), fs::Permissions::from_mode(0o644)).unwrap();
    fs::copy(object(&second), object(&first)).unwrap();
    assert!(
        site.fetch(&site.url(Kind::Dumb, "hello"), Some(&first))
            .is_err()
    );
}

#[test]
fn a_git_that_lies_is_refused() {
    let site = Site::new();
    let path = site.repository("hello", &[("Cargo.lock", "1")]);
    let first = git(&path, &["rev-parse", "HEAD"]);
    fs::write(path.join("Cargo.lock"), "2").unwrap();
    commit(&path);
    let url = site.url(Kind::Dumb, "hello");
    let other_commit: Tamper = |argv| lie(argv, "cat-file");
    let other_files: Tamper = |argv| lie(argv, "archive");
    let error = site.fetch_with(other_commit, &url, None).unwrap_err();
    assert!(
        matches!(error, RepositoryError::CommitHash { .. }),
        "{error:?}"
    );
    let error = site.fetch_with(other_files, &url, None).unwrap_err();
    assert!(
        matches!(error, RepositoryError::TreeHash { .. }),
        "{error:?}"
    );
    let other_id: Tamper = |argv| lie(argv, "rev-parse");
    let last = git(&path, &["rev-parse", "HEAD"]);
    let error = site.fetch_with(other_id, &url, Some(&last)).unwrap_err();
    assert!(
        matches!(error, RepositoryError::OtherCommit { actual, .. } if actual.to_string() == first),
        "{error:?}"
    );
}

/// Lets one command of git work on the parent of the commit that it gets.
fn lie(argv: &mut [String], command: &str) {
    if argv.iter().any(|argument| argument == command) {
        let last = argv.last_mut().unwrap();
        *last = format!("{}~1", last.trim_end_matches("^{commit}"));
    }
}

// --- redirects ---

/// Two servers of the same repositories: `good`, which gets the request and redirects, and `other`,
/// which counts requests.
struct Redirecting {
    site: Site,
    good: String,
    other: Arc<Service>,
    other_address: String,
}

impl Redirecting {
    /// Starts both; `to` gets the address of the good server, that of the other, the method and the
    /// target.
    fn new(
        kind: Kind,
        to: impl Fn(&str, &str, &str, &str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let site = Site::new();
        site.repository("hello", &[("Cargo.lock", "1")]);
        let root = site.directory.path().join("site");
        let (address, other) = Service::start(&root, kind, Box::new(|_, _| None));
        let own = Arc::new(OnceLock::<String>::new());
        let (known, other_address) = (Arc::clone(&own), address.clone());
        let moved: Moved =
            Box::new(move |method, target| to(known.get().unwrap(), &address, method, target));
        let (good, _) = Service::start(&root, kind, moved);
        own.set(good.clone()).unwrap();
        Self {
            site,
            good,
            other,
            other_address,
        }
    }

    fn fetch(&self, path: &str) -> Result<SourceTree, RepositoryError> {
        self.site.fetch(
            &RepositoryUrl::parse(&format!("{}{path}", self.good)).unwrap(),
            None,
        )
    }
}

fn redirect_of(result: Result<SourceTree, RepositoryError>) -> RedirectError {
    match result {
        Err(RepositoryError::Redirect(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_redirect_to_another_host_port_or_scheme_is_refused_before_anybody_there_is_asked() {
    type Elsewhere = fn(&str, &str) -> String;
    let cases: [(u16, Elsewhere); 5] = [
        (301, |_, other| other.to_owned()),
        (302, |_, other| other.replace("127.0.0.1", "localhost")),
        (303, |good, _| good.replace("127.0.0.1", "localhost")),
        (307, |good, _| good.replace("http://", "https://")),
        (308, |_, other| other.trim_start_matches("http:").to_owned()),
    ];
    for (status, elsewhere) in cases {
        for kind in [Kind::Smart, Kind::Dumb] {
            let to = move |good: &str, other: &str, _: &str, target: &str| {
                Some((status, format!("{}{target}", elsewhere(good, other))))
            };
            let servers = Redirecting::new(kind, to);
            let error = redirect_of(servers.fetch("/hello/.git"));
            let message = error.to_string();
            assert!(
                matches!(error, RedirectError::Elsewhere { .. }) && !error.is_fault(),
                "{message}"
            );
            assert!(
                message.contains(&format!("redirects {}/hello/.git to ", servers.good)),
                "{message}"
            );
            assert!(message.matches("/hello/.git").count() == 2, "{message}");
            assert_eq!(servers.other.requests(), 0, "{message}");
        }
    }
}

#[test]
fn a_redirect_on_the_same_host_is_followed_and_recorded() {
    for kind in [Kind::Smart, Kind::Dumb] {
        let servers = Redirecting::new(kind, |good, _, _, target| {
            let rest = target.strip_prefix("/old")?;
            Some((301, format!("{good}/hello/.git{rest}")))
        });
        let tree = servers
            .fetch("/old")
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let Origin::Repository {
            url, fetched_from, ..
        } = tree.origin()
        else {
            panic!("{tree:?}")
        };
        assert_eq!(url.as_str(), format!("{}/old", servers.good));
        assert_eq!(
            fetched_from.as_ref().unwrap().as_str(),
            format!("{}/hello/.git", servers.good)
        );
        let tree = servers.fetch("/hello/.git").unwrap();
        assert!(
            matches!(
                tree.origin(),
                Origin::Repository {
                    fetched_from: None,
                    ..
                }
            ),
            "{tree:?}"
        );
    }
}

#[test]
fn a_submodule_is_not_fetched_from_where_its_server_redirects_to() {
    let servers = Redirecting::new(Kind::Smart, |_, other, _, target| {
        target
            .starts_with("/inner")
            .then(|| (302, format!("{other}{target}")))
    });
    servers.site.repository("inner", &[("lib.rs", "")]);
    let outer = servers.site.repository("outer", &[("Cargo.lock", "")]);
    let modules = "[submodule \"x\"]\n\tpath = sub\n\turl = ../../inner/.git\n";
    fs::write(outer.join(".gitmodules"), modules).unwrap();
    git(&outer, &["clone", "-q", "../inner", "sub"]);
    git(
        &outer,
        &["-c", "advice.addEmbeddedRepo=false", "add", "--all"],
    );
    commit(&outer);
    let message = redirect_of(servers.fetch("/outer/.git")).to_string();
    assert!(
        message.contains(&format!("redirects {}/inner/.git to ", servers.good)),
        "{message}"
    );
    assert_eq!(servers.other.requests(), 0, "{message}");
}

#[test]
fn redirects_without_end_are_refused() {
    let servers = Redirecting::new(Kind::Smart, |good, _, _, target| {
        let (path, rest) = target.split_once("/info/")?;
        Some((302, format!("{good}{path}x/info/{rest}")))
    });
    let error = redirect_of(servers.fetch("/hello"));
    assert!(matches!(error, RedirectError::TooMany { .. }), "{error}");
}

/// Requests after the first one are not redirected either, and git is not sent to another object
/// store.
#[test]
fn later_requests_stay_with_the_server_that_was_asked() {
    let posted = Redirecting::new(Kind::Smart, |_, other, method, target| {
        (method == "POST").then(|| (307, format!("{other}{target}")))
    });
    let objects = Redirecting::new(Kind::Dumb, |_, other, _, target| {
        target
            .contains("/objects/")
            .then(|| (302, format!("{other}{target}")))
    });
    let alternates = Redirecting::new(Kind::Dumb, |_, _, _, target| {
        let is_object = target.contains("/objects/") && !target.ends_with("/http-alternates");
        is_object.then(|| (404, String::new()))
    });
    let info = alternates
        .site
        .directory
        .path()
        .join("site/hello/.git/objects/info");
    fs::write(
        info.join("http-alternates"),
        format!("{}/hello/.git/objects\n", alternates.other_address),
    )
    .unwrap();
    for servers in [posted, objects, alternates] {
        let error = servers.fetch("/hello/.git").unwrap_err();
        let is_expected = matches!(
            error,
            RepositoryError::Git { .. } | RepositoryError::Redirect(_)
        );
        assert!(is_expected && !error.is_fault(), "{error:?}");
        assert_eq!(servers.other.requests(), 0, "{error}");
    }
}
