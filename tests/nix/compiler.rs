//! A C compiler as a flake's input: the programs of the system with nix in it, with everything that
//! they load, in one directory. A flake without nixpkgs has no other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::flake::{Flake, derivation};
use super::harness::StaticServer;
use super::tool::Tool;

const PROGRAMS: [&str; 3] = [
    "usr/libexec/gcc/x86_64-linux-gnu/*/cc1",
    "usr/bin/*-as",
    "usr/bin/*-ld.bfd",
];
/// The object files that a static program is linked with.
const OBJECTS: [&str; 8] = [
    "crt1.o",
    "crti.o",
    "crtbeginT.o",
    "libc.a",
    "libgcc.a",
    "libgcc_eh.a",
    "crtend.o",
    "crtn.o",
];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Compiles the flake's own `hello.c`, step by step as a driver would.
const SCRIPT: &str = "\
    run() { $compiler/ld-linux-x86-64.so.2 --library-path $compiler \"$@\"; }\n\
    run $compiler/cc1 -quiet -fpreprocessed -O1 $source/hello.c -o hello.s\n\
    run $compiler/as hello.s -o hello.o\n\
    cd $compiler\n\
    run ./ld -static -o $out crt1.o crti.o crtbeginT.o $NIX_BUILD_TOP/hello.o --start-group libc.a libgcc.a libgcc_eh.a \
    --end-group crtend.o crtn.o\n";

/// A flake that compiles C, with its compiler served on loopback.
pub struct Compiling {
    pub flake: Flake,
    _tool: Tool,
}

impl Compiling {
    /// Creates the flake; `host` is the appliance's address of this machine's loopback.
    pub fn new(root: &Path, host: &str) -> Self {
        let tool = Tool::of(root);
        let directory = tool.path("input");
        fs::create_dir(&directory).unwrap();
        for (name, path) in files(root) {
            fs::copy(path, directory.join(name)).unwrap();
        }
        let hash = tool.nar_hash("input");
        fs::create_dir(tool.path("served")).unwrap();
        let mut archive =
            tar::Builder::new(fs::File::create(tool.path("served/compiler.tar")).unwrap());
        archive.append_dir_all("compiler", &directory).unwrap();
        archive.finish().unwrap();
        let url = format!(
            "http://{host}:{}/compiler.tar",
            StaticServer::start(tool.path("served")).port
        );
        let node = json!({ "flake": false, "locked": { "narHash": hash, "type": "tarball", "url": url },
            "original": { "type": "tarball", "url": url } });
        let lock = json!({ "nodes": { "root": { "inputs": { "compiler": "compiler" } }, "compiler": node },
            "root": "root", "version": 7 });
        let package = derivation("hello", "inherit compiler; source = self;", SCRIPT);
        let flake = Flake::of(&format!(
            "{{ inputs.compiler = {{ url = \"{url}\"; flake = false; }}; \
             outputs = {{ self, compiler }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
        ))
        .file("flake.lock", lock.to_string())
        .file("hello.c", "int puts(const char *);\nint main(void) { return puts(\"hello from a flake\") < 0; }\n");
        Self { flake, _tool: tool }
    }
}

/// Asserts that the program prints its greeting.
pub fn assert_says_hello(program: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hello");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = loop {
        match Command::new(&path).output() {
            // A child that another test starts has the file open for writing until its exec.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::yield_now()
            }
            output => break output.unwrap(),
        }
    };
    assert_eq!(output.stdout, b"hello from a flake\n");
}

/// Returns the compiler's files: name in the directory, and path on this machine.
fn files(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for (pattern, name) in PROGRAMS.iter().zip(["cc1", "as", "ld"]) {
        load(root, &mut files, name, expand(root, pattern));
    }
    for name in OBJECTS {
        let places = ["usr/lib/x86_64-linux-gnu", "usr/lib/gcc/x86_64-linux-gnu/*"]
            .map(|place| format!("{place}/{name}"));
        let found = places.iter().find_map(|place| try_expand(root, place));
        files.insert(
            name.to_owned(),
            found.unwrap_or_else(|| panic!("no {name} in {}", root.display())),
        );
    }
    files.insert(
        LOADER.to_owned(),
        expand(root, &format!("usr/lib/x86_64-linux-gnu/{LOADER}")),
    );
    files
}

/// Adds a program or library with the libraries that it needs.
fn load(root: &Path, files: &mut BTreeMap<String, PathBuf>, name: &str, path: PathBuf) {
    let dynamic = Command::new("readelf")
        .arg("-d")
        .arg(&path)
        .output()
        .unwrap();
    if files.insert(name.to_owned(), path).is_some() {
        return;
    }
    let dynamic = String::from_utf8_lossy(&dynamic.stdout).into_owned();
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    for library in needed.filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']'))) {
        load(
            root,
            files,
            library,
            expand(root, &format!("usr/lib/x86_64-linux-gnu/{library}")),
        );
    }
}

fn expand(root: &Path, pattern: &str) -> PathBuf {
    try_expand(root, pattern)
        .unwrap_or_else(|| panic!("nothing in {} is {pattern}", root.display()))
}

/// Returns the first file that matches a pattern, with its links followed within the root.
fn try_expand(root: &Path, pattern: &str) -> Option<PathBuf> {
    let script =
        format!("for f in {pattern}; do [ -e \"$f\" ] && realpath \"$f\" && exit; done; exit 1");
    let found = Command::new("sh")
        .args(["-c", &script])
        .current_dir(root)
        .output()
        .unwrap();
    found
        .status
        .success()
        .then(|| PathBuf::from(String::from_utf8(found.stdout).unwrap().trim()))
}
