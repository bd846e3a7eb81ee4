//! Are projects built as they are locked, from checked bytes, and recorded truly? Real builds, in a minimal sandbox of
//! this test's own: what the appliance's sandbox holds back is asked elsewhere.

#![cfg(feature = "appliance")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use kettle::digest::{GitOid, Sha256Digest};
use kettle::job::ErrorType;
use kettle::provenance::ResourceDescriptor;
use kettle::sandbox::{Access, CommandSpec, Exit, Network, OutputSink, Run, RunError, Stream};
use kettle::source::{SourceTree, tree};
use kettle::toolchain::{self, Built, Context, Limits, Log, Toolchain, ToolchainError};

/// Something done to the job's folder before the command with this number is run.
type Tamper = Box<dyn Fn(usize, &CommandSpec)>;

/// A sandbox with nothing but bubblewrap.
struct Bubblewrap {
    ran: Mutex<Vec<CommandSpec>>,
    tamper: Tamper,
}

impl Bubblewrap {
    fn new(tamper: Tamper) -> Self {
        Self { ran: Mutex::new(Vec::new()), tamper }
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
        command.args(["--tmpfs", "/", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]);
        for name in ["bin", "lib", "lib64"] {
            command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
        }
        command.args(["--dir", "/kettle/home", "--dir", "/tmp", "--proc", "/proc", "--dev", "/dev"]);
        if spec.network == Network::None {
            command.arg("--unshare-net");
        }
        for mount in &spec.mounts {
            let option = if mount.access == Access::ReadOnly { "--ro-bind" } else { "--bind" };
            command.arg(option).arg(&mount.source).arg(&mount.target);
        }
        for (name, value) in &spec.environment {
            command.args(["--setenv", name, value]);
        }
        command.arg("--chdir").arg(&spec.directory).arg("--").args(&spec.argv);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run_now(&self, spec: &CommandSpec, sink: &mut dyn OutputSink) -> Result<Exit, RunError> {
        let number = {
            let mut ran = self.ran.lock().unwrap();
            ran.push(spec.clone());
            ran.len() - 1
        };
        (self.tamper)(number, spec);
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
        Ok(child.wait()?.code().map_or(Exit::Signal(9), Exit::Status))
    }
}

impl Run for Bubblewrap {
    fn run<'a>(
        &'a self,
        spec: &'a CommandSpec,
        sink: &'a mut dyn OutputSink,
    ) -> Pin<Box<dyn Future<Output = Result<Exit, RunError>> + 'a>> {
        Box::pin(async move { self.run_now(spec, sink) })
    }

    fn make_writable_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
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

/// One job: its folder, what it ran, what it said.
struct Job {
    folder: tempfile::TempDir,
    ran: Vec<CommandSpec>,
    log: String,
    result: Result<Built, ToolchainError>,
}

impl Job {
    fn of(source: &Path) -> Self {
        Self::tampered(source, |_| Box::new(|_, _| ()))
    }

    fn tampered(source: &Path, tamper: impl FnOnce(&Path) -> Tamper) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = folder.path().join("source");
        copy(source, &root);
        let runner = Bubblewrap::new(tamper(folder.path()));
        let found = Toolchain::find(None).unwrap();
        let mut log = Text::default();
        let context = Context { runner: &runner, toolchain: &found, folder: folder.path(), limits: Limits::default() };
        let result = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let detected = toolchain::detect(SourceTree::test_only_from_folder(root)?)?;
            let fetched = toolchain::cargo::fetch(detected, &context, &mut log).await?;
            toolchain::cargo::build(fetched, &context, &mut log).await
        });
        Self { folder, ran: runner.ran.into_inner().unwrap(), log: log.0, result }
    }

    fn built(&self) -> &Built {
        match &self.result {
            Ok(built) => built,
            Err(error) => panic!("{error}: {error:?}\n{}", self.log),
        }
    }

    fn error(&self) -> ErrorType {
        self.result.as_ref().map(|built| panic!("built {:?}", built.artifacts)).unwrap_err().error_type()
    }

    fn names(&self) -> Vec<&str> {
        self.built().artifacts.iter().map(|artifact| artifact.name.as_str()).collect()
    }

    fn digests(&self) -> BTreeMap<String, Sha256Digest> {
        self.built().artifacts.iter().map(|artifact| (artifact.name.clone(), artifact.sha256)).collect()
    }

    fn output_of(&self, artifact: &str) -> String {
        let artifact = self.built().artifacts.iter().find(|found| found.name == artifact).unwrap();
        String::from_utf8(Command::new(&artifact.path).output().unwrap().stdout).unwrap()
    }

    fn dependencies(&self) -> Vec<String> {
        self.built().dependencies.iter().map(|found| found.uri.clone().unwrap()).collect()
    }

    fn dependency(&self, uri: &str) -> &ResourceDescriptor {
        let found = self.built().dependencies.iter().find(|found| found.uri.as_deref() == Some(uri));
        found.unwrap_or_else(|| panic!("{uri} is not among {:?}", self.dependencies()))
    }
}

// From here on: projects.

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects").join(name)
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

/// A project of the given files.
fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

const HELLO: &str = "fn main() { println!(\"hello\"); }";
const ITOA: &str = "3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4";

fn manifest(rest: &str) -> String {
    format!("[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{rest}\n[workspace]\n")
}

fn lockfile(dependencies: &str, rest: &str) -> String {
    format!("version = 3\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n{dependencies}\n{rest}")
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
    assert_eq!((job.built().commands.fetch.len(), job.built().network.len(), job.dependencies().len()), (0, 0, 0));
    assert_eq!(job.ran.len(), 2);
    assert_eq!(job.built().lockfile.bytes, fs::read(project("hello/Cargo.lock")).unwrap());
    assert!(job.built().artifacts[0].executable);
    assert!(!job.log.contains("reason"), "{}", job.log);
    assert!(job.log.contains("Compiling hello"), "{}", job.log);
}

#[test]
fn a_workspace_gives_the_programs_and_c_libraries_of_its_default_members() {
    let job = Job::of(&project("workspace"));
    assert_eq!(job.names(), ["first-tool", "libcapi.a", "libcapi.so", "second-tool"]);
    assert_eq!(job.dependencies(), ["path:extra"]);
    let expected = tree::hash(&project("workspace/extra")).unwrap().to_string();
    assert_eq!(job.dependency("path:extra").digest["gitTree"], expected);
}

#[test]
fn a_library_gives_its_rlib_and_its_archive() {
    let job = Job::of(&project("library"));
    assert_eq!(job.names(), ["libsome_library.rlib", "some-library-1.2.3.crate"]);
    assert_eq!(job.built().commands.package[1], "package");
}

#[test]
fn the_same_source_gives_the_same_bytes_in_another_folder_with_c_too() {
    for name in ["hello", "generated", "library"] {
        let (one, two) = (Job::of(&project(name)), Job::of(&project(name)));
        assert_ne!(one.folder.path(), two.folder.path());
        assert_eq!(one.digests(), two.digests(), "{name}");
    }
}

#[test]
fn a_registry_package_is_recorded_with_the_digest_of_its_bytes() {
    let job = Job::of(with_itoa(ITOA).path());
    assert_eq!(job.output_of("app"), "7\n");
    assert_eq!(job.dependencies(), ["pkg:cargo/itoa@1.0.19"]);
    assert_eq!(job.dependency("pkg:cargo/itoa@1.0.19").digest["sha256"], ITOA);
    assert_eq!(job.built().network, ["fetch"]);
    assert_eq!(job.built().commands.fetch[1], "fetch");
    let online = job.ran.iter().filter(|spec| spec.network == Network::Host);
    assert_eq!(online.map(|spec| spec.argv[1].as_str()).collect::<Vec<_>>(), ["fetch"]);
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
        (&manifest(""), "no toml".to_owned(), ErrorType::LockfileMismatch),
        (&manifest(""), lockfile("dependencies = [\n \"b\",\n]", ""), ErrorType::LockfileMismatch),
        ("no toml", lockfile("", ""), ErrorType::BuildFailed),
    ] {
        let source = written(&[("Cargo.toml", manifest), ("Cargo.lock", &lock), ("src/main.rs", HELLO)]);
        let job = Job::of(source.path());
        assert_eq!(job.error(), expected, "{}", job.log);
    }
}

#[test]
fn what_does_not_compile_is_a_failed_build_and_says_why() {
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
    assert_eq!(Job::of(written(&[("README", "")]).path()).error(), ErrorType::UnsupportedToolchain);
    let both = written(&[("Cargo.lock", ""), ("flake.lock", "")]);
    assert_eq!(Job::of(both.path()).error(), ErrorType::UnsupportedToolchain);
}

#[test]
fn tampering_with_the_cache_while_anything_is_fetched_never_gets_in() {
    let source = with_itoa(ITOA);
    let job = Job::tampered(source.path(), |job| {
        let job = job.to_owned();
        Box::new(move |_, spec| {
            if spec.argv[1] == "metadata" || spec.argv[1] == "build" {
                assert!(!job.join("cargo-fetch").exists(), "nothing that was fetched is left for the build");
            }
            let writable = spec.mounts.iter().filter(|mount| mount.access == Access::ReadWrite);
            let targets: BTreeSet<_> = writable.map(|mount| mount.target.to_str().unwrap().to_owned()).collect();
            assert!(!targets.iter().any(|target| ["/kettle/source", "/kettle/vendor"].contains(&target.as_str())));
        })
    });
    assert_eq!(job.names(), ["app"]);
}

/// A runner that, after the fetch phase, does what a hostile process in it could have done.
#[test]
fn a_cache_that_the_fetch_phase_forged_is_refused() {
    for forgery in ["replaced", "fifo", "link", "missing"] {
        let job = forged(forgery);
        let expected =
            if forgery == "replaced" { ErrorType::LockfileMismatch } else { ErrorType::DependencyFetchFailed };
        assert_eq!(job.error(), expected, "{forgery}\n{}", job.log);
        assert!(job.ran.iter().all(|spec| spec.argv[1] != "build"), "{forgery}");
    }
}

fn forged(forgery: &'static str) -> Job {
    let mut source = with_itoa(ITOA);
    source.disable_cleanup(false);
    // The forger stands where `cargo fetch` would: it prints nothing and leaves a cache of its own.
    Job::tampered(source.path(), |job| {
        let job = job.to_owned();
        Box::new(move |_, spec| {
            if spec.argv[1] == "fetch" {
                forge(&job.join("cargo-fetch"), forgery);
            }
        })
    })
}

/// Places a cache before cargo looks: cargo keeps an archive that is there already, and ours must not.
fn forge(home: &Path, forgery: &str) {
    let cache = home.join("registry/cache/index.crates.io-1949cf8c6b5b557f");
    fs::create_dir_all(&cache).unwrap();
    let archive = cache.join("itoa-1.0.19.crate");
    match forgery {
        "replaced" => fs::write(&archive, forged_archive()).unwrap(),
        "fifo" => drop(Command::new("mkfifo").arg(&archive).status().unwrap()),
        "link" => std::os::unix::fs::symlink("/etc/passwd", &archive).unwrap(),
        _ => {}
    }
}

fn forged_archive() -> Vec<u8> {
    Vec::new()
}

#[test]
fn vendored_code_is_recorded_as_the_folder_that_it_is() {
    let source = with_itoa(ITOA);
    let vendored = source.path().join("third-party/itoa");
    fs::create_dir_all(vendored.join("src")).unwrap();
    fs::create_dir_all(source.path().join(".cargo")).unwrap();
    fs::write(vendored.join("Cargo.toml"), "[package]\nname = \"itoa\"\nversion = \"1.0.19\"\n").unwrap();
    fs::write(vendored.join(".cargo-checksum.json"), format!("{{\"files\":{{}},\"package\":\"{ITOA}\"}}")).unwrap();
    let forged = "pub struct Buffer; impl Buffer { pub fn new() -> Self { Buffer } pub fn format(&self, _: i32) -> &str { \"forged\" } }";
    fs::write(vendored.join("src/lib.rs"), forged).unwrap();
    let config = "[source.crates-io]\nreplace-with = \"mine\"\n[source.mine]\ndirectory = \"third-party\"\n";
    fs::write(source.path().join(".cargo/config.toml"), config).unwrap();
    let job = Job::of(source.path());
    assert_eq!(job.output_of("app"), "forged\n");
    assert_eq!(job.dependencies(), ["path:third-party/itoa"]);
    let expected: GitOid = tree::hash(&vendored).unwrap();
    assert_eq!(
        job.dependency("path:third-party/itoa").digest,
        BTreeMap::from([("gitTree".to_owned(), expected.to_string())])
    );
    assert!(job.built().network.is_empty());
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
    fs::set_permissions(source.path().join("evil"), fs::Permissions::from_mode(0o755)).unwrap();
    let job = Job::of(source.path());
    assert_eq!(job.output_of("app"), "true carried\n");
    assert_eq!(job.names(), ["app"]);
    for said in ["build.rustc ", "build.rustc-wrapper", "linker", "-Clinker=./evil", "env.PATH", "rust-toolchain.toml"]
    {
        assert!(job.log.contains(said), "{said} is not in\n{}", job.log);
    }
    assert!(job.built().commands.build.contains(&"--config=build.rustflags=[\"--cfg\", \"carried\"]".to_owned()));
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

#[test]
fn an_artifact_that_is_no_regular_file_is_refused() {
    // The build script leaves a process behind, which puts a link where cargo has put the program.
    let hostile = r#"fn main() {
        std::process::Command::new("/bin/sh").args(["-c",
            "(until [ -e /kettle/target/release/app ]; do :; done; ln -sf /etc/passwd /kettle/target/release/app) >/dev/null 2>&1 &"])
            .status().unwrap();
    }"#;
    let slow = "fn main() {}";
    let source = written(&[
        ("Cargo.toml", &manifest("")),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", slow),
        ("build.rs", hostile),
    ]);
    match Job::of(source.path()).result {
        // The process may be too late: then the program is the program.
        Ok(built) => assert!(fs::read(&built.artifacts[0].path).unwrap().starts_with(b"\x7fELF")),
        Err(error) => assert!(matches!(error, ToolchainError::Artifact { .. }), "{error}"),
    }
}

#[test]
fn a_package_outside_the_tree_is_refused() {
    let source = written(&[
        ("Cargo.toml", &manifest("[dependencies]\noutside = { path = \"/usr/share/outside\" }\n")),
        ("Cargo.lock", &lockfile("", "")),
        ("src/main.rs", HELLO),
    ]);
    assert_eq!(Job::of(source.path()).error(), ErrorType::BuildFailed);
}
