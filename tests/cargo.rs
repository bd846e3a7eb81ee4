//! Are projects built as they are locked, from checked bytes, and recorded truly? These are real
//! builds, in a minimal sandbox of this test; other tests are about the appliance's sandbox.

#![cfg(all(feature = "cli", feature = "host"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kettle::digest::{GitOid, Sha256Digest};
use kettle::error_type::ErrorType;
use kettle::provenance::link::can_displace_linker;
use kettle::provenance::{LinkRecord, ResourceDescriptor};
use kettle::sandbox::{
    Access, CommandSpec, Exit, Network, OutputSink, Run, RunError, Served, Stream, Work,
};
use kettle::source::{SourceTree, tree};
use kettle::toolchain::options::{CargoOptions, ItemName};
use kettle::toolchain::{
    self, Attempt, Built, Context, Limits, Log, Options, Toolchain, ToolchainError,
};

/// An action on the job's directory after a command was run.
type Tamper = Box<dyn Fn(&CommandSpec)>;

/// A sandbox with nothing but bubblewrap.
struct Bubblewrap {
    ran: Mutex<Vec<CommandSpec>>,
    tamper: Tamper,
    /// A directory that the fetch phase sees at [`SERVED`], in place of a server.
    served: Option<PathBuf>,
}

/// Where the fetch phase finds the repository that a test serves.
const SERVED: &str = "/served";

impl Bubblewrap {
    fn new(tamper: Tamper) -> Self {
        Self {
            ran: Mutex::new(Vec::new()),
            tamper,
            served: None,
        }
    }

    fn command(&self, spec: &CommandSpec) -> Command {
        let mut command = Command::new("/usr/bin/bwrap");
        command.args([
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--uid",
            "65532",
            "--gid",
            "65532",
            "--die-with-parent",
            "--clearenv",
        ]);
        command.args([
            "--tmpfs",
            "/",
            "--ro-bind",
            "/usr",
            "/usr",
            "--ro-bind",
            "/etc",
            "/etc",
        ]);
        for name in ["bin", "lib", "lib64"] {
            command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
        }
        command.args([
            "--dir",
            "/kettle/home",
            "--dir",
            "/tmp",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]);
        if spec.network == Network::None {
            command.arg("--unshare-net");
        }
        for mount in &spec.mounts {
            let option = if mount.access == Access::ReadOnly {
                "--ro-bind"
            } else {
                "--bind"
            };
            command.arg(option).arg(&mount.source).arg(&mount.target);
        }
        if let Some(served) = self
            .served
            .as_ref()
            .filter(|_| spec.network == Network::Fetch)
        {
            command.arg("--ro-bind").arg(served).arg(SERVED);
        }
        for (name, value) in &spec.environment {
            command.args(["--setenv", name, value]);
        }
        command
            .arg("--chdir")
            .arg(&spec.directory)
            .arg("--")
            .args(&spec.argv);
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run_now(&self, spec: &CommandSpec, sink: &mut dyn OutputSink) -> io::Result<Exit> {
        self.ran.lock().unwrap().push(spec.clone());
        let mut child = self.command(spec).spawn()?;
        let mut errors = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            errors.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut output = child.stdout.take().unwrap();
        let mut buffer = [0; 8192];
        loop {
            match output.read(&mut buffer)? {
                0 => break,
                count => sink.chunk(Stream::Stdout, &buffer[..count])?,
            }
        }
        sink.chunk(Stream::Stderr, &reader.join().unwrap()?)?;
        let exit = child.wait()?.code().map_or(Exit::Signal(9), Exit::Status);
        (self.tamper)(spec);
        Ok(exit)
    }
}

impl Run for Bubblewrap {
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>> {
        Box::pin(async move {
            self.run_now(spec, sink)
                .map_err(|source| RunError::Output { source })
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

/// Keeps everything as text.
#[derive(Default)]
struct Text(String);

impl Log for Text {
    fn note(&mut self, line: &str) -> io::Result<()> {
        self.0 += &format!("{line}\n");
        Ok(())
    }

    fn output(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.0 += &String::from_utf8_lossy(bytes);
        Ok(())
    }
}

/// One job: its directory, its commands and its output.
struct Job {
    directory: tempfile::TempDir,
    ran: Vec<CommandSpec>,
    log: String,
    result: Result<Built, ToolchainError>,
}

impl Job {
    fn of(source: &Path) -> Self {
        Self::tampered(source, |_| Box::new(|_| ()))
    }

    fn tampered(source: &Path, tamper: impl FnOnce(&Path) -> Tamper) -> Self {
        Self::served(source, None, tamper)
    }

    fn choosing(source: &Path, options: Options) -> Self {
        Self::run(source, options, None, |_| Box::new(|_| ()))
    }

    fn served(source: &Path, served: Option<&Path>, tamper: impl FnOnce(&Path) -> Tamper) -> Self {
        Self::run(source, Options::default(), served, tamper)
    }

    fn run(
        source: &Path,
        options: Options,
        served: Option<&Path>,
        tamper: impl FnOnce(&Path) -> Tamper,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = directory.path().join("source");
        copy(source, &root);
        let mut runner = Bubblewrap::new(tamper(directory.path()));
        runner.served = served.map(Path::to_owned);
        let found = Toolchain::search().unwrap();
        let mut log = Text::default();
        let context = Context {
            runner: &runner,
            toolchain: &found,
            folder: directory.path(),
            limits: Limits::default(),
        };
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(async {
                let tree = SourceTree::test_only_from_directory(root)?;
                let detected = toolchain::detect(tree, options, false)?;
                let fetched = toolchain::fetch(detected, &context, &mut log).await?;
                match toolchain::build(fetched, &context, &mut log).await? {
                    Attempt::Built(built) => Ok(*built),
                    Attempt::GivesWay(_) => unreachable!("cargo gives way to nobody"),
                }
            });
        Self {
            directory,
            ran: runner.ran.into_inner().unwrap(),
            log: log.0,
            result,
        }
    }

    fn built(&self) -> &Built {
        match &self.result {
            Ok(built) => built,
            Err(error) => panic!("{error}: {error:?}\n{}", self.log),
        }
    }

    fn error(&self) -> ErrorType {
        self.result
            .as_ref()
            .map(|built| panic!("built {:?}", built.artifacts()))
            .unwrap_err()
            .error_type()
    }

    fn names(&self) -> Vec<&str> {
        self.built()
            .artifacts()
            .iter()
            .map(|artifact| artifact.name.as_str())
            .collect()
    }

    fn digests(&self) -> BTreeMap<String, Sha256Digest> {
        self.built()
            .artifacts()
            .iter()
            .map(|artifact| (artifact.name.clone(), artifact.sha256))
            .collect()
    }

    fn output_of(&self, artifact: &str) -> String {
        let artifact = self
            .built()
            .artifacts()
            .iter()
            .find(|found| found.name == artifact)
            .unwrap();
        let output = loop {
            match Command::new(&artifact.path).output() {
                // A child that another test starts has the file open for writing until its exec.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now()
                }
                output => break output.unwrap(),
            }
        };
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn dependencies(&self) -> Vec<String> {
        self.built()
            .dependencies()
            .iter()
            .map(|found| found.uri.clone().unwrap())
            .collect()
    }

    fn dependency(&self, uri: &str) -> &ResourceDescriptor {
        let found = self
            .built()
            .dependencies()
            .iter()
            .find(|found| found.uri.as_deref() == Some(uri));
        found.unwrap_or_else(|| panic!("{uri} is not among {:?}", self.dependencies()))
    }
}

// --- projects ---

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/projects")
        .join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            kind if kind.is_symlink() => {
                std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), target).unwrap()
            }
            _ => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Returns a project with the given files.
fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

const HELLO: &str = "fn main() { println!(\"hello\"); }";
const ITOA: &str = "3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4";

fn manifest(rest: &str) -> String {
    format!(
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{rest}\n[workspace]\n"
    )
}

fn lockfile(dependencies: &str, rest: &str) -> String {
    format!(
        "version = 3\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n{dependencies}\n{rest}"
    )
}

fn with_itoa(checksum: &str) -> tempfile::TempDir {
    let lock = lockfile(
        "dependencies = [\n \"itoa\",\n]\n",
        &format!(
            "[[package]]\nname = \"itoa\"\nversion = \"1.0.19\"\n\
             source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{checksum}\"\n"
        ),
    );
    let main = "fn main() { println!(\"{}\", itoa::Buffer::new().format(7)); }";
    written(&[
        ("Cargo.toml", &manifest("[dependencies]\nitoa = \"1\"\n")),
        ("Cargo.lock", &lock),
        ("src/main.rs", main),
    ])
}

#[test]
fn a_crate_without_dependencies_needs_no_network_and_two_commands() {
    let job = Job::of(&project("hello"));
    assert_eq!(job.names(), ["hello"]);
    assert_eq!(job.output_of("hello"), "Hello from an attested build!\n");
    assert_eq!(
        (
            job.built().commands().fetch.len(),
            job.built().network().len(),
            job.dependencies().len()
        ),
        (0, 0, 0)
    );
    assert_eq!(job.ran.len(), 2);
    assert_eq!(
        job.built().lockfile().bytes,
        fs::read(project("hello/Cargo.lock")).unwrap()
    );
    assert!(job.built().artifacts()[0].executable);
    assert!(!job.log.contains("reason"), "{}", job.log);
    assert!(job.log.contains("Compiling hello"), "{}", job.log);
}

#[test]
fn a_workspace_gives_the_programs_and_c_libraries_of_its_default_members() {
    let job = Job::of(&project("workspace"));
    assert_eq!(
        job.names(),
        ["first-tool", "libcapi.a", "libcapi.so", "second-tool"]
    );
    assert_eq!(job.dependencies(), ["path:extra"]);
    let expected = tree::hash(&project("workspace/extra")).unwrap().to_string();
    assert_eq!(job.dependency("path:extra").digest["gitTree"], expected);
}

#[test]
fn a_library_gives_its_rlib_and_its_archive() {
    let job = Job::of(&project("library"));
    assert_eq!(
        job.names(),
        ["libsome_library.rlib", "some-library-1.2.3.crate"]
    );
    assert_eq!(job.built().commands().package[1], "package");
}

/// A library with a program behind a feature, and a member with a program.
fn gated() -> tempfile::TempDir {
    let manifest = "[package]\nname = \"root\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[features]\ncli = []\n\
        [[bin]]\nname = \"tool\"\npath = \"src/main.rs\"\nrequired-features = [\"cli\"]\n[lib]\npath = \"src/lib.rs\"\n\
        [workspace]\nmembers = [\"other\"]\n";
    let other = "[package]\nname = \"other\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
        [dependencies]\nroot = { path = \"..\" }\n";
    let lock = "version = 4\n[[package]]\nname = \"other\"\nversion = \"0.1.0\"\ndependencies = [\n \"root\",\n]\n\
        [[package]]\nname = \"root\"\nversion = \"0.1.0\"\n";
    written(&[
        ("Cargo.toml", manifest),
        ("Cargo.lock", lock),
        ("src/lib.rs", "pub fn seven() -> u8 { 7 }\n"),
        (
            "src/main.rs",
            "fn main() { println!(\"{}\", root::seven()) }\n",
        ),
        ("other/Cargo.toml", other),
        (
            "other/src/main.rs",
            "fn main() { println!(\"other {}\", root::seven()) }\n",
        ),
    ])
}

fn names(names: &[&str]) -> Option<Vec<ItemName>> {
    let name = |name: &&str| ItemName::parse(name).unwrap();
    Some(names.iter().map(name).collect())
}

fn choosing(cargo: CargoOptions) -> Options {
    Options {
        cargo,
        ..Options::default()
    }
}

#[test]
fn a_library_is_delivered_where_its_programs_need_features_and_they_are_named() {
    let job = Job::of(gated().path());
    assert_eq!(job.names(), ["libroot.rlib", "root-0.1.0.crate"]);
    for note in [
        "tool needs cli (choose with features)",
        "program other of package other (choose with package)",
    ] {
        assert!(job.log.contains(note), "{note}: {}", job.log);
    }
}

#[test]
fn a_client_chooses_features_package_and_programs() {
    let features = CargoOptions {
        features: names(&["cli"]),
        ..CargoOptions::default()
    };
    let job = Job::choosing(gated().path(), choosing(features.clone()));
    assert_eq!(job.output_of("tool"), "7\n");
    let package = CargoOptions {
        package: ItemName::parse("other").ok(),
        bins: names(&["other"]),
        ..CargoOptions::default()
    };
    let job = Job::choosing(gated().path(), choosing(package));
    assert_eq!(job.names(), ["other"]);
    assert_eq!(job.output_of("other"), "other 7\n");
    assert_eq!(job.dependencies().len(), 1);
    let wrong = CargoOptions {
        bins: names(&["toll"]),
        ..features
    };
    let job = Job::choosing(gated().path(), choosing(wrong));
    assert_eq!(job.error(), ErrorType::BuildFailed);
    let message = job.result.as_ref().unwrap_err().to_string();
    let there = "the project has: other of package other, tool of package root";
    assert!(message.ends_with(there), "{message}");
}

#[test]
fn a_choice_is_compared_with_the_project_before_anything_is_fetched() {
    let source = with_itoa(ITOA);
    let wrong = CargoOptions {
        features: names(&["fast"]),
        ..CargoOptions::default()
    };
    let job = Job::choosing(source.path(), choosing(wrong));
    assert_eq!(job.error(), ErrorType::BuildFailed);
    assert_eq!(job.ran.len(), 1);
    let manifest = fs::read_to_string(source.path().join("Cargo.toml")).unwrap();
    let manifest = manifest.replacen("[package]", "[package]\nrust-version = \"1.999\"", 1);
    fs::write(source.path().join("Cargo.toml"), manifest).unwrap();
    let job = Job::of(source.path());
    assert_eq!(job.error(), ErrorType::UnsupportedToolchain, "{}", job.log);
    assert_eq!(job.ran.len(), 2);
}

#[test]
fn a_failed_build_says_the_first_error_of_its_tool() {
    let source = project("hello");
    let directory = tempfile::tempdir().unwrap();
    copy(&source, directory.path());
    fs::write(
        directory.path().join("src/main.rs"),
        "fn main() { seven() }\n",
    )
    .unwrap();
    let job = Job::of(directory.path());
    let message = job.result.as_ref().unwrap_err().to_string();
    let start = "the build failed (exit status 101): error[E0425]: cannot find function `seven` in \
                 this scope; --> ";
    assert!(message.starts_with(start), "{message}");
    assert!(message.contains("src/main.rs:1:13"), "{message}");
}

#[test]
fn pointers_and_targets_without_a_library_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    copy(&project("hello"), directory.path());
    let configuration = directory.path().join(".cargo");
    fs::create_dir(&configuration).unwrap();
    fs::write(
        configuration.join("config.toml"),
        "build.target = 'riscv64gc-unknown-none-elf'\n",
    )
    .unwrap();
    let job = Job::of(directory.path());
    assert_eq!(job.error(), ErrorType::UnsupportedToolchain, "{}", job.log);
    fs::write(
        configuration.join("config.toml"),
        "build.target = 'x86_64-unknown-linux-gnu'\n",
    )
    .unwrap();
    let job = Job::of(directory.path());
    assert_eq!(job.output_of("hello"), "Hello from an attested build!\n");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";
    fs::write(directory.path().join("model"), pointer).unwrap();
    let job = Job::of(directory.path());
    assert_eq!(job.error(), ErrorType::SourceFetchFailed, "{}", job.log);
}

#[test]
fn the_same_source_gives_the_same_bytes_in_another_directory_with_c_too() {
    for name in ["hello", "generated", "library"] {
        let (one, two) = (Job::of(&project(name)), Job::of(&project(name)));
        assert_ne!(one.directory.path(), two.directory.path());
        assert_eq!(one.digests(), two.digests(), "{name}");
    }
}

#[test]
fn a_registry_package_is_recorded_with_the_digest_of_its_bytes() {
    let job = Job::of(with_itoa(ITOA).path());
    assert_eq!(job.output_of("app"), "7\n");
    assert_eq!(job.dependencies(), ["pkg:cargo/itoa@1.0.19"]);
    assert_eq!(
        job.dependency("pkg:cargo/itoa@1.0.19").digest["sha256"],
        ITOA
    );
    assert_eq!(job.built().network(), ["fetch"]);
    assert_eq!(job.built().commands().fetch[1], "fetch");
    let online = job.ran.iter().filter(|spec| spec.network == Network::Fetch);
    assert_eq!(
        online.map(|spec| spec.argv[1].as_str()).collect::<Vec<_>>(),
        ["fetch"]
    );
}

#[test]
fn a_checksum_that_is_not_the_registrys_is_a_lockfile_mismatch() {
    let job = Job::of(with_itoa(&"0".repeat(64)).path());
    assert_eq!(job.error(), ErrorType::LockfileMismatch, "{}", job.log);
}

#[test]
fn a_lockfile_that_does_not_fit_is_a_lockfile_mismatch() {
    let old = manifest("").replace("0.1.0", "0.2.0");
    for (manifest, lock, expected) in [
        (old.as_str(), lockfile("", ""), ErrorType::LockfileMismatch),
        (
            &manifest(""),
            "no toml".to_owned(),
            ErrorType::LockfileMismatch,
        ),
        (
            &manifest("[dependencies]\nitoa = \"1\"\n"),
            lockfile("", ""),
            ErrorType::LockfileMismatch,
        ),
        (
            &manifest("[dependencies]\nx = { git = \"http://127.0.0.1:1/x\" }\n"),
            lockfile("", ""),
            ErrorType::LockfileMismatch,
        ),
        ("no toml", lockfile("", ""), ErrorType::BuildFailed),
    ] {
        let source = written(&[
            ("Cargo.toml", manifest),
            ("Cargo.lock", &lock),
            ("src/main.rs", HELLO),
        ]);
        let job = Job::of(source.path());
        assert!(job.result.is_err(), "{manifest}{lock}{}", job.log);
        assert_eq!(job.error(), expected, "{}", job.log);
    }
}

#[test]
fn a_source_that_does_not_compile_is_a_failed_build_and_says_why() {
    let source = written(&[
        ("Cargo.toml", &manifest("")),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", "fn main() { x }"),
    ]);
    let job = Job::of(source.path());
    assert_eq!(job.error(), ErrorType::BuildFailed);
    assert!(job.log.contains("cannot find value `x`"), "{}", job.log);
}

#[test]
fn kinds_that_cannot_be_built_are_told_apart() {
    assert_eq!(
        Job::of(written(&[("README", "")]).path()).error(),
        ErrorType::UnsupportedToolchain
    );
    let flake = written(&[("flake.lock", "")]);
    assert_eq!(
        Job::of(flake.path()).error(),
        ErrorType::UnsupportedToolchain
    );
}

#[test]
fn nothing_that_was_fetched_is_left_for_the_build() {
    let job = Job::tampered(with_itoa(ITOA).path(), |job| {
        let fetched = job.join("cargo-fetch");
        Box::new(move |spec| assert_eq!(fetched.exists(), spec.argv[1] == "fetch"))
    });
    assert_eq!(job.names(), ["app"]);
    for spec in &job.ran {
        let writable = spec
            .mounts
            .iter()
            .filter(|mount| mount.access == Access::ReadWrite);
        let allowed = if spec.network == Network::Fetch {
            "/kettle/cargo"
        } else {
            "/kettle/target"
        };
        assert!(
            writable
                .map(|mount| mount.target.as_path())
                .all(|target| target == Path::new(allowed))
        );
    }
}

#[test]
fn a_cache_that_something_in_the_fetch_phase_forged_is_refused() {
    for (forgery, expected) in [
        ("replaced", ErrorType::LockfileMismatch),
        ("appended", ErrorType::LockfileMismatch),
        ("fifo", ErrorType::DependencyFetchFailed),
        ("link", ErrorType::DependencyFetchFailed),
        ("missing", ErrorType::DependencyFetchFailed),
    ] {
        let job = Job::tampered(with_itoa(ITOA).path(), |job| {
            let caches = job.join("cargo-fetch/registry/cache");
            Box::new(move |spec| {
                if spec.argv[1] == "fetch" {
                    forge(&caches, forgery)
                }
            })
        });
        assert_eq!(job.error(), expected, "{forgery}\n{}", job.log);
        assert_eq!(job.ran.len(), 2, "nothing runs after {forgery}");
    }
}

fn forge(caches: &Path, forgery: &str) {
    let archive = only(caches).join("itoa-1.0.19.crate");
    let mut bytes = fs::read(&archive).unwrap();
    fs::remove_file(&archive).unwrap();
    bytes.push(0);
    match forgery {
        "replaced" => fs::write(&archive, forged_archive()).unwrap(),
        "appended" => fs::write(&archive, bytes).unwrap(),
        "fifo" => assert!(
            Command::new("mkfifo")
                .arg(&archive)
                .status()
                .unwrap()
                .success()
        ),
        "link" => std::os::unix::fs::symlink("/etc/passwd", &archive).unwrap(),
        _ => {}
    }
}

fn forged_archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let content = b"pub fn forged() {}";
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "itoa-1.0.19/src/lib.rs", &content[..])
        .unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// Creates a repository whose package inherits from its workspace; returns the ids of its commit
/// and tree.
fn repository() -> (tempfile::TempDir, String, String) {
    let directory = written(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"inherits\"]\n[workspace.package]\nversion = \"0.3.0\"\n",
        ),
        (
            "inherits/Cargo.toml",
            "[package]\nname = \"inherits\"\nversion.workspace = true\n",
        ),
        ("inherits/src/lib.rs", "pub fn answer() -> i32 { 42 }"),
        ("run.sh", "#!/bin/sh\n"),
    ]);
    fs::set_permissions(
        directory.path().join("run.sh"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("inherits/Cargo.toml", directory.path().join("link")).unwrap();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=n",
                "-c",
                "user.email=e",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "one"]);
    let ids = (
        git(&["rev-parse", "HEAD"]),
        git(&["rev-parse", "HEAD^{tree}"]),
    );
    (directory, ids.0, ids.1)
}

fn with_git(commit: &str) -> tempfile::TempDir {
    with_git_at(&format!("file://{SERVED}"), commit)
}

fn with_git_at(url: &str, commit: &str) -> tempfile::TempDir {
    let lock = lockfile(
        "dependencies = [\n \"inherits\",\n]\n",
        &format!(
            "[[package]]\nname = \"inherits\"\nversion = \"0.3.0\"\nsource = \"git+{url}?branch=main#{commit}\"\n"
        ),
    );
    let dependency =
        format!("[dependencies]\ninherits = {{ git = \"{url}\", branch = \"main\" }}\n");
    let main = "fn main() { println!(\"{}\", inherits::answer()); }";
    written(&[
        ("Cargo.toml", &manifest(&dependency)),
        ("Cargo.lock", &lock),
        ("src/main.rs", main),
    ])
}

#[test]
fn a_git_dependency_is_recorded_with_commit_and_tree() {
    let (repository, commit, tree) = repository();
    let job = Job::served(with_git(&commit).path(), Some(repository.path()), |_| {
        Box::new(|_| ())
    });
    assert_eq!(job.output_of("app"), "42\n");
    let uri = format!("git+file://{SERVED}#{commit}");
    let digest = BTreeMap::from([
        ("gitCommit".to_owned(), commit),
        ("gitTree".to_owned(), tree),
    ]);
    assert_eq!(job.dependency(&uri).digest, digest);
}

/// Runs git in a directory; returns its output, trimmed.
fn git_in(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    for setting in [
        "user.name=n",
        "user.email=e",
        "init.defaultBranch=main",
        "protocol.file.allow=always",
        "core.autocrlf=false",
    ] {
        command.args(["-c", setting]);
    }
    let output = command.args(arguments).current_dir(directory).output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes a directory with the repositories `dep`, a crate whose files attributes would change, and
/// `inner`, a submodule of it with a submodule of its own. Returns the commit and tree of `dep`.
fn nested_repositories() -> (tempfile::TempDir, String, String) {
    let lib = "pub fn answer() -> i32 {\n\
               (include_str!(\"../a.txt\").len() + include_str!(\"../sub/deep/word.txt\").len()) as i32\n}\n";
    let directory = written(&[
        ("deepest/word.txt", "12\n"),
        ("deepest/.gitattributes", "*.txt text eol=crlf\n"),
        ("inner/keep", ""),
        ("dep/a.txt", "x\n"),
        ("dep/.gitattributes", "*.txt text eol=crlf\n"),
        (
            "dep/Cargo.toml",
            "[package]\nname = \"inherits\"\nversion = \"0.3.0\"\n",
        ),
        ("dep/src/lib.rs", lib),
    ]);
    let at = |name: &str| directory.path().join(name);
    for (name, below) in [
        ("deepest", None),
        ("inner", Some("deepest")),
        ("dep", Some("inner")),
    ] {
        git_in(&at(name), &["init", "--quiet"]);
        if let Some(below) = below {
            let path = if name == "dep" { "sub" } else { "deep" };
            let url = format!("../{below}");
            git_in(
                &at(name),
                &["remote", "add", "origin", at(name).to_str().unwrap()],
            );
            git_in(&at(name), &["submodule", "--quiet", "add", &url, path]);
        }
        git_in(&at(name), &["add", "--all"]);
        git_in(&at(name), &["commit", "--quiet", "--message=m"]);
    }
    let commit = git_in(&at("dep"), &["rev-parse", "HEAD"]);
    let tree = git_in(&at("dep"), &["rev-parse", "HEAD^{tree}"]);
    (directory, commit, tree)
}

#[test]
fn a_git_dependency_with_submodules_and_attributes_is_compiled_as_its_commit_has_it() {
    let (directory, commit, tree) = nested_repositories();
    let url = format!("file://{SERVED}/dep");
    let source = with_git_at(&url, &commit);
    let job = Job::served(source.path(), Some(directory.path()), |_| Box::new(|_| ()));
    // With line endings of Windows it would be 7.
    assert_eq!(job.output_of("app"), "5\n", "{}", job.log);
    let digest = BTreeMap::from([
        ("gitCommit".to_owned(), commit.clone()),
        ("gitTree".to_owned(), tree),
    ]);
    assert_eq!(
        job.dependency(&format!("git+{url}#{commit}")).digest,
        digest
    );
    let note = format!("git dependency {commit} is compiled as its commit has it");
    assert!(job.log.contains(&note), "{}", job.log);
}

/// The response of a server instead of a file.
enum Instead {
    /// A redirect.
    To(String),
    /// A temporary failure, with a text.
    Failure(String),
    /// A status line and headers, whole.
    Head(Vec<u8>),
}

/// Serves plain files below `root`, or the response that `instead` has for a target, until the test
/// process ends; returns the address, and how often it was asked.
fn serve(
    root: &Path,
    instead: impl Fn(&str) -> Option<Instead> + Send + Sync + 'static,
) -> (String, &'static AtomicUsize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (root, requests) = (root.to_owned(), &*Box::leak(Box::new(AtomicUsize::new(0))));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            requests.fetch_add(1, Ordering::SeqCst);
            answer(stream.unwrap(), &root, &instead).ok();
        }
    });
    (address, requests)
}

fn answer(
    stream: TcpStream,
    root: &Path,
    instead: &dyn Fn(&str) -> Option<Instead>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    while lines
        .last()
        .is_none_or(|line: &String| !line.trim_end().is_empty())
    {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        lines.push(line);
    }
    let target = lines[0].split(' ').nth(1).unwrap_or_default();
    let path = root.join(
        target
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_start_matches('/'),
    );
    let (status, location, body) = match (instead(target), fs::read(path)) {
        (Some(Instead::Head(head)), _) => {
            let mut stream = reader.into_inner();
            stream.write_all(&head)?;
            return stream.write_all(b"Connection: close\r\nContent-Length: 0\r\n\r\n");
        }
        (Some(Instead::To(to)), _) => ("302 Found", format!("Location: {to}\r\n"), Vec::new()),
        (Some(Instead::Failure(text)), _) => {
            ("503 Service Unavailable", String::new(), text.into_bytes())
        }
        (None, Ok(body)) => ("200 OK", String::new(), body),
        (None, Err(_)) => ("404 Not Found", String::new(), Vec::new()),
    };
    let mut stream = reader.into_inner();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\n{location}Content-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// Prepares a repository for servers of plain files.
fn publish(repository: &Path) {
    let status = Command::new("git")
        .arg("update-server-info")
        .current_dir(repository)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Returns a project that uses packages `names` of a registry at `address`, whose files are in the
/// served directory.
fn registry(served: &Path, address: &str, archives: &str, names: &[&str]) -> tempfile::TempDir {
    let index = format!("sparse+{address}/");
    let (mut locked, mut wanted, mut lines) = (String::new(), String::new(), String::new());
    for name in names {
        let checksum = publish_package(served, name);
        locked += &format!(
            "[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{index}\"\nchecksum = \"{checksum}\"\n"
        );
        wanted += &format!("{name} = {{ version = \"1\", registry = \"own\" }}\n");
        lines += &format!(" \"{name}\",\n");
    }
    fs::write(
        served.join("config.json"),
        format!("{{\"dl\":\"{archives}/dl\"}}"),
    )
    .unwrap();
    let sum = names
        .iter()
        .map(|name| format!("{name}::answer()"))
        .collect::<Vec<_>>()
        .join(" + ");
    written(&[
        (
            "Cargo.toml",
            &manifest(&format!("[dependencies]\n{wanted}")),
        ),
        (
            "Cargo.lock",
            &lockfile(&format!("dependencies = [\n{lines}]\n"), &locked),
        ),
        (
            ".cargo/config.toml",
            &format!("[registries.own]\nindex = \"{index}\"\n"),
        ),
        (
            "src/main.rs",
            &format!("fn main() {{ println!(\"{{}}\", {sum}); }}"),
        ),
    ])
}

/// Adds a package to a registry, and its archive also to `store`; returns the archive's digest.
fn publish_package(served: &Path, name: &str) -> Sha256Digest {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let package =
        format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
    for (file, content) in [
        ("Cargo.toml", &*package),
        ("src/lib.rs", "pub fn answer() -> u8 { 42 }\n"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive
            .append_data(
                &mut header,
                format!("{name}-1.0.0/{file}"),
                content.as_bytes(),
            )
            .unwrap();
    }
    let archive = archive.into_inner().unwrap().finish().unwrap();
    let checksum = Sha256Digest::of(&archive);
    let entry = format!(
        "{{\"name\":\"{name}\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{checksum}\",\"features\":{{}},\"yanked\":false}}\n"
    );
    let (index, download) = (
        format!("{}/{}", &name[..2], &name[2..4]),
        format!("dl/{name}/1.0.0"),
    );
    for directory in [&*index, &download, "store"] {
        fs::create_dir_all(served.join(directory)).unwrap();
    }
    fs::write(served.join(index).join(name), entry).unwrap();
    fs::write(served.join(download).join("download"), &archive).unwrap();
    fs::write(served.join("store").join(name), archive).unwrap();
    checksum
}

/// A registry can send cargo anywhere for an archive: by its settings, or by a redirect. Plain http
/// is allowed only to hosts that the lockfile names so, and another host is never asked.
#[test]
fn an_archive_comes_by_plain_http_from_hosts_that_the_lockfile_names_so_only() {
    for (by_settings, by_redirect) in [(false, false), (true, false), (false, true)] {
        let served = tempfile::tempdir().unwrap();
        let (other, asked) = serve(served.path(), |_| None);
        let other = other.replace("127.0.0.1", "localhost");
        let to = other.clone();
        let moved = move |target: &str| {
            (by_redirect && target.starts_with("/dl/"))
                .then(|| Instead::To(format!("{to}{target}")))
        };
        let (address, _) = serve(served.path(), moved);
        let archives = if by_settings { &other } else { &address };
        let job = Job::of(registry(served.path(), &address, archives, &["leaf"]).path());
        if by_settings || by_redirect {
            assert_eq!(job.error(), ErrorType::DependencyFetchFailed, "{}", job.log);
            assert!(
                job.log.contains("plain-http-is-not-followed"),
                "{}",
                job.log
            );
        } else {
            assert_eq!(job.output_of("app"), "42\n", "{}", job.log);
            let [package] = &*job.dependencies() else {
                panic!("{:?}", job.dependencies())
            };
            assert!(
                package.ends_with(&format!("?repository_url=sparse%2B{address}/")),
                "{package}"
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}

/// Returns the URL that each package was fetched from, where that differs from the registry's.
fn fetched_from(job: &Job, address: &str, name: &str) -> Option<String> {
    let found = job.dependency(&format!(
        "pkg:cargo/{name}@1.0.0?repository_url=sparse%2B{address}/"
    ));
    found
        .annotations
        .get("fetchedFrom")
        .map(|url| url.as_str().unwrap().to_owned())
}

#[test]
fn an_archive_that_its_registry_redirects_is_recorded_with_its_last_url() {
    let served = tempfile::tempdir().unwrap();
    let (address, asked) = serve(served.path(), |target| {
        Some(Instead::To(match target {
            "/dl/leaf/1.0.0/download" => "/once/more?x='y'".to_owned(),
            "/once/more?x='y'" => "../store/leaf?from='x'".to_owned(),
            "/dl/twig/1.0.0/download" => "/store/twig".to_owned(),
            _ => return None,
        }))
    });
    let names = ["leaf", "twig", "bark"];
    let job = Job::of(registry(served.path(), &address, &address, &names).path());
    assert_eq!(job.output_of("app"), "126\n", "{}", job.log);
    let found = names.map(|name| fetched_from(&job, &address, name));
    let expected = [
        Some(format!("{address}/store/leaf?from='x'")),
        Some(format!("{address}/store/twig")),
        None,
    ];
    assert_eq!(found, expected, "{}", job.log);
    assert!(
        !job.log.contains("DEBUG")
            && !job.log.contains("http-debug")
            && !job.log.contains("nghttp2"),
        "{}",
        job.log
    );
    assert_eq!(
        job.log.matches("a registry redirects").count(),
        1,
        "{}",
        job.log
    );
    // The settings, three entries of the index, and each archive twice with its redirects.
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1 + 3 + 2 * (3 + 2 + 1),
        "{}",
        job.log
    );
}

/// Curl reports the redirects that it follows; one that it cannot report fails the fetch.
#[test]
fn a_redirect_counts_however_the_server_writes_it() {
    let served = tempfile::tempdir().unwrap();
    let (store, _) = serve(served.path(), |_| None);
    let host = store.strip_prefix("http://").unwrap();
    let text = |head: &str| {
        (
            head.as_bytes().to_vec(),
            Some(format!("{store}/store/leaf")),
        )
    };
    let long = format!(
        "HTTP/1.1 302 Found\r\nLocation: {store}/store/leaf?{}\r\n",
        "x".repeat(3000)
    );
    for (head, expected) in [
        text(&format!(
            "HTTP/1.1 300 X\r\nLocation: {store}/store/leaf\r\n"
        )),
        text(&format!(
            "HTTP/1.1 399 X\r\nHTTP/1.1 200: OK\r\nlocation: {store}/store/leaf\r\nLocation: {store}/other\r\n"
        )),
        (long.into_bytes(), None),
        (
            [
                b"HTTP/1.1 302 X\r\nLocation: http://\xff@",
                host.as_bytes(),
                b"/store/leaf\r\n",
            ]
            .concat(),
            None,
        ),
    ] {
        let shown = String::from_utf8_lossy(&head[..30]).into_owned();
        let (address, _) = serve(served.path(), move |target| {
            (target == "/dl/leaf/1.0.0/download").then(|| Instead::Head(head.clone()))
        });
        let job = Job::of(registry(served.path(), &address, &address, &["leaf"]).path());
        if expected.is_some() {
            assert_eq!(
                fetched_from(&job, &address, "leaf"),
                expected,
                "{shown}: {}",
                job.log
            );
        } else {
            assert_eq!(
                job.error(),
                ErrorType::DependencyFetchFailed,
                "{shown}: {}",
                job.log
            );
            let message = job.result.as_ref().unwrap_err().to_string();
            assert!(
                message.starts_with(
                    "leaf-1.0.0.crate was redirected to a URL that cannot be recorded"
                ),
                "{message}"
            );
        }
    }
}

#[test]
fn a_server_that_speaks_like_cargos_trace_gets_no_url_into_the_statement() {
    let served = tempfile::tempdir().unwrap();
    let asked = AtomicUsize::new(0);
    let (address, _) = serve(served.path(), move |target| {
        let forged = "   9.000000001s DEBUG network: http-debug: < HTTP/1.1 302 Found\n   \
                      9.000000002s DEBUG network: http-debug: < Location: https://good.example/leaf\n   \
                      9.000000003s DEBUG network: http-debug: * Issue another request to this URL: 'https://good.example/leaf'\n";
        (target == "/dl/leaf/1.0.0/download").then_some(())?;
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Some(Instead::Failure(forged.to_owned())),
            1 => Some(Instead::To("/store/leaf".to_owned())),
            2 => Some(Instead::Failure(forged.to_owned())),
            _ => None,
        }
    });
    let job = Job::of(registry(served.path(), &address, &address, &["leaf"]).path());
    assert_eq!(job.output_of("app"), "42\n", "{}", job.log);
    assert_eq!(fetched_from(&job, &address, "leaf"), None, "{}", job.log);
}

#[test]
fn a_git_dependency_that_its_server_sends_on_is_fetched_there_and_recorded() {
    let (repository, commit, tree) = repository();
    publish(repository.path());
    let moved = |target: &str| {
        Some(Instead::To(format!(
            "/.git{}",
            target.strip_prefix("/old")?
        )))
    };
    let (address, _) = serve(repository.path(), moved);
    let url = format!("{address}/old");
    let job = Job::of(with_git_at(&url, &commit).path());
    assert_eq!(job.output_of("app"), "42\n", "{}", job.log);
    let found = job.dependency(&format!("git+{url}#{commit}"));
    assert_eq!(found.digest["gitTree"], tree);
    assert_eq!(found.annotations["fetchedFrom"], format!("{address}/.git"));
}

#[test]
fn a_git_dependency_is_not_fetched_from_another_host_port_or_scheme() {
    let (repository, commit, _) = repository();
    publish(repository.path());
    let (other, requests) = serve(repository.path(), |_| None);
    let to = other.clone();
    let (address, _) = serve(repository.path(), move |target| {
        Some(Instead::To(format!("{to}{target}")))
    });
    let url = format!("{address}/.git");
    let job = Job::of(with_git_at(&url, &commit).path());
    assert_eq!(job.error(), ErrorType::DependencyFetchFailed, "{}", job.log);
    let message = job.result.as_ref().unwrap_err().to_string();
    assert!(
        message.contains(&format!("{url} to {other}/.git, ")),
        "{message}"
    );
    // Git itself does not follow either, where the server gives the first client another response.
    let asked = AtomicUsize::new(0);
    let to = other.clone();
    let (address, _) = serve(repository.path(), move |target| {
        (asked.fetch_add(1, Ordering::SeqCst) > 1).then(|| Instead::To(format!("{to}{target}")))
    });
    let job = Job::of(with_git_at(&format!("{address}/.git"), &commit).path());
    assert_eq!(job.error(), ErrorType::DependencyFetchFailed, "{}", job.log);
    assert!(
        job.ran.iter().any(|spec| spec.argv[1] == "fetch"),
        "{}",
        job.log
    );
    assert_eq!(requests.load(Ordering::SeqCst), 0, "{}", job.log);
}

#[test]
fn a_checkout_that_something_in_the_fetch_phase_changed_is_refused() {
    let (repository, commit, _) = repository();
    for file in ["inherits/src/lib.rs", "inherits/build.rs", "Cargo.toml"] {
        let job = Job::served(with_git(&commit).path(), Some(repository.path()), |job| {
            let checkouts = job.join("cargo-fetch/git/checkouts");
            Box::new(move |spec| {
                if spec.argv[1] == "fetch" {
                    fs::write(only(&only(&checkouts)).join(file), "").unwrap()
                }
            })
        });
        assert_eq!(
            job.error(),
            ErrorType::LockfileMismatch,
            "{file}\n{}",
            job.log
        );
    }
}

#[test]
fn a_commit_that_is_not_there_was_not_fetched() {
    let (repository, ..) = repository();
    let job = Job::served(
        with_git(&"1".repeat(40)).path(),
        Some(repository.path()),
        |_| Box::new(|_| ()),
    );
    assert_eq!(job.error(), ErrorType::DependencyFetchFailed, "{}", job.log);
}

fn only(directory: &Path) -> PathBuf {
    fs::read_dir(directory)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

#[test]
fn vendored_code_is_recorded_as_the_directory_that_it_is() {
    let source = with_itoa(ITOA);
    let vendored = source.path().join("third-party/itoa");
    fs::create_dir_all(vendored.join("src")).unwrap();
    fs::create_dir_all(source.path().join(".cargo")).unwrap();
    fs::write(
        vendored.join("Cargo.toml"),
        "[package]\nname = \"itoa\"\nversion = \"1.0.19\"\n",
    )
    .unwrap();
    fs::write(
        vendored.join(".cargo-checksum.json"),
        format!("{{\"files\":{{}},\"package\":\"{ITOA}\"}}"),
    )
    .unwrap();
    let forged = "pub struct Buffer; impl Buffer { pub fn new() -> Self { Buffer } pub fn format(&self, _: i32) -> &str { \"forged\" } }";
    fs::write(vendored.join("src/lib.rs"), forged).unwrap();
    let config =
        "[source.crates-io]\nreplace-with = \"mine\"\n[source.mine]\ndirectory = \"third-party\"\n";
    fs::write(source.path().join(".cargo/config.toml"), config).unwrap();
    let job = Job::of(source.path());
    assert_eq!(job.output_of("app"), "forged\n");
    assert_eq!(job.dependencies(), ["path:third-party/itoa"]);
    let expected: GitOid = tree::hash(&vendored).unwrap();
    assert_eq!(
        job.dependency("path:third-party/itoa").digest,
        BTreeMap::from([("gitTree".to_owned(), expected.to_string())])
    );
    assert!(job.built().network().is_empty());
}

#[test]
fn a_configuration_cannot_displace_the_toolchain() {
    let attack = "#!/bin/sh\necho displaced >&2\nexit 1\n";
    let config = "build.rustc = './evil'\nbuild.rustc-wrapper = './evil'\nbuild.target-dir = 'target'\n\
                  target.x86_64-unknown-linux-gnu.linker = './evil'\nbuild.rustflags = ['--cfg', 'carried', '-Clinker=./evil']\n\
                  env.GREETING = 'carried'\nenv.PATH = { value = '.', relative = true, force = true }\n";
    let main = "fn main() { println!(\"{} {}\", cfg!(carried), env!(\"GREETING\")); }";
    let source = written(&[
        ("Cargo.toml", &manifest("")),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", main),
        (".cargo/config.toml", config),
        ("rust-toolchain.toml", "[toolchain]\npath = \"/evil\"\n"),
        ("evil", attack),
        ("target/release/planted", "planted"),
    ]);
    fs::set_permissions(
        source.path().join("evil"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let job = Job::of(source.path());
    assert_eq!(job.output_of("app"), "true carried\n");
    assert_eq!(job.names(), ["app"]);
    for said in [
        "build.rustc ",
        "build.rustc-wrapper",
        "linker",
        "-Clinker=./evil",
        "env.PATH",
        "rust-toolchain.toml",
    ] {
        assert!(job.log.contains(said), "{said} is not in\n{}", job.log);
    }
    assert!(
        job.built()
            .commands()
            .build
            .contains(&"--config=build.rustflags=[\"--cfg\", \"carried\"]".to_owned())
    );
}

#[test]
fn a_build_that_forges_messages_adds_nothing() {
    let forge = r#"fn main() {
        let target = std::path::PathBuf::from(std::env::var("CARGO_TARGET_DIR").unwrap()).join("release");
        std::fs::write(target.join("planted"), "planted").unwrap();
        println!("{{\"reason\":\"compiler-artifact\",\"package_id\":\"x\",\"target\":{{\"name\":\"planted\",\"kind\":[\"bin\"]}},\"filenames\":[\"/kettle/target/release/planted\"]}}");
    }"#;
    let source = written(&[
        ("Cargo.toml", &manifest("")),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", HELLO),
        ("build.rs", forge),
    ]);
    assert_eq!(Job::of(source.path()).names(), ["app"]);
}

/// Returns a project whose build script brings its own linker, which leaves its mark in the files
/// that it links, by arguments that `given` prints with the directory of that linker in `out`.
fn with_own_linker(given: &str) -> tempfile::TempDir {
    let script = r##"
        use std::os::unix::fs::PermissionsExt;
        const LINKER: &str = "#!/bin/sh\n/usr/bin/ld.bfd \"$@\" || exit 1\n\
            case \"$1\" in @*) set -- $(cat ${1#@});; esac\n\
            while [ \"$1\" != -o ]; do shift; done\nprintf 'linked by a linker of its own' >> \"$2\"\n";
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            let path = std::path::Path::new(&out).join("ld.bfd");
            std::fs::write(&path, LINKER).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            // What a build script prints is not taken for what cargo says.
            println!("cargo::warning=     Running `/usr/bin/rustc --crate-name app src/main.rs -C link-arg=-forged`");
            println!("cargo::rerun-if-changed=build.rs");
            eprintln!("     Running `/usr/bin/rustc --crate-name app src/main.rs -C link-arg=-forged`");
            GIVEN
        }"##;
    written(&[
        ("Cargo.toml", &manifest("")),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", HELLO),
        (
            "build.rs",
            &script
                .replace("GIVEN", given)
                .replace("/usr/bin/rustc", &compiler()),
        ),
    ])
}

/// Returns the compiler as cargo shows it in the sandbox.
fn compiler() -> String {
    Toolchain::search().unwrap().program("rustc")
}

#[test]
fn a_linker_that_a_build_script_brings_by_arguments_is_recorded() {
    let given = r#"
        println!("cargo::rustc-link-arg=-B{out}");
        println!("cargo::rustc-link-arg-bins=-fuse-ld=bfd");
        println!("cargo::rustc-link-arg-bin=app=-Wl,-rpath,$ORIGIN/it is !here");"#;
    let job = Job::of(with_own_linker(given).path());
    let artifact = &job.built().artifacts()[0];
    assert!(
        fs::read(&artifact.path)
            .unwrap()
            .ends_with(b"linked by a linker of its own"),
        "it was not displaced"
    );
    let [record] = job.built().link_arguments() else {
        panic!("{:?}", job.built().link_arguments())
    };
    assert_eq!(record.package, "app@0.1.0");
    let [directory, rpath, linker] = record.arguments.as_slice() else {
        panic!("{record:?}")
    };
    assert!(
        directory.starts_with("-B/kettle/target/release/build/app-"),
        "{directory}"
    );
    assert_eq!(
        (linker.as_str(), rpath.as_str()),
        ("-fuse-ld=bfd", "-Wl,-rpath,$ORIGIN/it is !here")
    );
    assert!(record.environment.is_empty());
    let displacing = record
        .arguments
        .iter()
        .filter(|argument| can_displace_linker(argument));
    assert_eq!(displacing.collect::<Vec<_>>(), [directory, linker]);
    let commands = job
        .log
        .lines()
        .filter(|line| line.starts_with(&format!("     Running `{} ", compiler())));
    assert_eq!(commands.count(), 0, "{}", job.log);
    // A line that cargo prints only in verbose mode.
    assert!(
        !job.log.contains("global-cache") && !job.log.contains("Caused by"),
        "{}",
        job.log
    );
}

#[test]
fn a_linker_that_a_build_script_brings_by_variables_is_recorded() {
    let given = r#"
        println!("cargo::rustc-env=COMPILER_PATH={out}");
        println!("cargo::rustc-env=VERSION=1");
        println!("cargo::rustc-link-arg=-fuse-ld=bfd");"#;
    let job = Job::of(with_own_linker(given).path());
    let artifact = &job.built().artifacts()[0];
    assert!(
        fs::read(&artifact.path)
            .unwrap()
            .ends_with(b"linked by a linker of its own"),
        "it was not displaced"
    );
    let [record] = job.built().link_arguments() else {
        panic!("{:?}", job.built().link_arguments())
    };
    assert_eq!(
        record.environment.keys().collect::<Vec<_>>(),
        ["COMPILER_PATH"]
    );
    assert!(record.environment["COMPILER_PATH"].starts_with("/kettle/target/release/build/app-"));
}

/// GCC expands `@FILE` in every argument, also where rustc names a directory of libraries; and it
/// reads a file called `specs`, which names the linker, from `LIBRARY_PATH`. Both displace the
/// linker without an argument of `rustc-link-arg`.
#[test]
fn a_linker_that_a_build_script_brings_without_arguments_is_recorded() {
    let by_directory = r#"
        // The first word is the directory that `-L` is about.
        std::fs::write(format!("{out}/arguments"), format!("x -B{out}")).unwrap();
        println!("cargo::rustc-link-search=native=@{out}/arguments");
        println!("cargo::rustc-link-arg=-fuse-ld=bfd");"#;
    let by_specification = r#"
        std::fs::write(format!("{out}/specs"), format!("*linker:\n{}\n\n", path.display())).unwrap();
        println!("cargo::rustc-env=LIBRARY_PATH={out}");"#;
    for (given, is_recorded) in [
        (
            by_directory,
            (|record| {
                record
                    .arguments
                    .iter()
                    .any(|it| it.starts_with("@/kettle/target/"))
            }) as IsRecorded,
        ),
        (by_specification, |record| {
            record.environment.contains_key("LIBRARY_PATH")
        }),
    ] {
        let job = Job::of(with_own_linker(given).path());
        let artifact = fs::read(&job.built().artifacts()[0].path).unwrap();
        assert!(
            artifact.ends_with(b"linked by a linker of its own"),
            "it was not displaced: {given}"
        );
        let [record] = job.built().link_arguments() else {
            panic!("{:?}", job.built().link_arguments())
        };
        assert!(is_recorded(record), "{record:?}");
        assert!(
            record
                .arguments
                .iter()
                .all(|argument| can_displace_linker(argument)),
            "{record:?}"
        );
    }
}

/// A check of a record.
type IsRecorded = fn(&LinkRecord) -> bool;

/// A macro's output is shown as it is, so it can imitate cargo. It can add to the record, and hide
/// nothing.
#[test]
fn a_macro_cannot_hide_what_a_build_script_gave_to_the_linker() {
    let printing = |text: &str| {
        let macros = format!(
            "use proc_macro::TokenStream;\n#[proc_macro]\npub fn imitate(_: TokenStream) -> TokenStream {{\n\
             eprint!(\"{{}}\", {text:?}); TokenStream::new() }}"
        );
        let lock = "[[package]]\nname = \"imitating\"\nversion = \"0.1.0\"\n";
        let source = written(&[
            (
                "Cargo.toml",
                &manifest("[dependencies]\nimitating = { path = \"imitating\" }\n"),
            ),
            (
                "Cargo.lock",
                &lockfile("dependencies = [\n \"imitating\",\n]\n", lock),
            ),
            (
                "build.rs",
                "fn main() { println!(\"cargo::rustc-link-arg=-fuse-ld=bfd\"); }",
            ),
            ("src/main.rs", "imitating::imitate!(); fn main() {}"),
            (
                "imitating/Cargo.toml",
                "[package]\nname = \"imitating\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
            ),
            ("imitating/src/lib.rs", &macros),
        ]);
        Job::of(source.path())
    };
    let start = format!("     Running `{} ", compiler());
    let added = printing(&format!(
        "{start}--crate-name other x.rs -C link-arg=-B/x`\n"
    ));
    let arguments: Vec<_> = added
        .built()
        .link_arguments()
        .iter()
        .map(|record| record.arguments.join(" "))
        .collect();
    assert_eq!(arguments, ["-fuse-ld=bfd", "-B/x"]);
    for open in [
        format!("{start}'"),
        format!("{start}x"),
        format!("{start}x\n"),
    ] {
        assert_eq!(printing(&open).error(), ErrorType::BuildFailed, "{open}");
    }
    let built = printing("     Running `");
    assert_eq!(
        built.built().link_arguments()[0].arguments,
        ["-fuse-ld=bfd"],
        "{}",
        built.log
    );
}

#[test]
fn nothing_is_recorded_of_a_linker_that_got_nothing() {
    assert_eq!(Job::of(&project("generated")).built().link_arguments(), []);
}

#[test]
fn the_toolchain_is_measured_down_to_the_libraries_that_compile() {
    let found = Toolchain::search().unwrap();
    let runner = Bubblewrap::new(Box::new(|_| ()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let versions = runtime.block_on(found.versions(&runner)).unwrap();
    let tools = versions.label(found.measure().unwrap());
    let of = |name: &str| {
        tools
            .iter()
            .find(|tool| tool.name.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}"))
    };
    assert!(of("rustc").version.starts_with("rustc 1."));
    assert!(of("cargo").version.starts_with("cargo 1."));
    assert!(of("ld").version.starts_with("GNU ld"));
    for name in [
        "librustc_driver-",
        "rust-std",
        "cc",
        "cc1",
        "collect2",
        "as",
        "ar",
    ] {
        assert!(!of(name).version.is_empty(), "{name}");
    }
    let rustc = fs::read(found.machine_sysroot().join("bin/rustc")).unwrap();
    assert_eq!(of("rustc").sha256, Sha256Digest::of(&rustc));
}

#[test]
fn a_package_outside_the_tree_is_refused() {
    let source = written(&[
        (
            "Cargo.toml",
            &manifest("[dependencies]\noutside = { path = \"/usr/share/outside\" }\n"),
        ),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", HELLO),
    ]);
    assert_eq!(Job::of(source.path()).error(), ErrorType::BuildFailed);
}

/// Returns the source of a published crate from its registry, fetched by an ordinary cargo.
fn published(name: &str, version: &str) -> PathBuf {
    let client = written(&[
        (
            "Cargo.toml",
            &manifest(&format!("[dependencies]\n{name} = \"={version}\"\n")),
        ),
        ("src/main.rs", HELLO),
    ]);
    let metadata = Command::new("cargo")
        .args(["fetch", "--quiet", "--manifest-path"])
        .arg(client.path().join("Cargo.toml"))
        .status()
        .unwrap();
    assert!(metadata.success());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"));
    let directories = fs::read_dir(home.join("registry/src"))
        .unwrap()
        .map(|directory| directory.unwrap().path());
    directories
        .map(|directory| directory.join(format!("{name}-{version}")))
        .find(|directory| directory.is_dir())
        .unwrap()
}

#[test]
fn a_published_crate_with_many_dependencies() {
    let job = Job::of(&published("ripgrep", "14.1.1"));
    assert_eq!(job.names(), ["rg"]);
    let uris = job.dependencies();
    assert!(uris.len() > 25, "{uris:?}");
    assert!(
        uris.iter().all(|uri| uri.starts_with("pkg:cargo/")),
        "{uris:?}"
    );
    assert!(
        uris.iter().is_sorted_by_key(|uri| uri.split_once('@')),
        "{uris:?}"
    );
    // These are in the lockfile, but for other platforms or for tests only.
    assert!(!uris.iter().any(|uri| uri.contains("windows")
        || uri.contains("serde_derive")
        || uri.contains("jemalloc")));
}

#[test]
fn a_published_crate_that_compiles_c_is_the_same_twice() {
    let source = published("b3sum", "1.5.5");
    let (one, two) = (Job::of(&source), Job::of(&source));
    assert_eq!(one.names(), ["b3sum"]);
    assert_eq!(one.digests(), two.digests());
    assert!(
        one.dependencies()
            .iter()
            .any(|uri| uri.starts_with("pkg:cargo/cc@")),
        "{:?}",
        one.dependencies()
    );
}

#[test]
fn a_published_library() {
    let job = Job::of(&published("itoa", "1.0.19"));
    assert_eq!(job.names(), ["itoa-1.0.19.crate", "libitoa.rlib"]);
}
