//! Inputs: each one that the lockfile names has to be fetched, and to have its hash.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::appliance::{Outcome, store_paths};
use crate::compiler::{Compiling, assert_says_hello};
use crate::flake::{Flake, derivation};
use crate::harness::{StaticServer, git, git_repository};
use crate::tool::{self, Tool};

/// An archive that is served on loopback, and the hash of what is in it.
struct Tarball {
    url: String,
    hash: String,
    tool: Tool,
}

impl Tarball {
    fn of(files: &[(&str, &str)]) -> Self {
        let tool = Tool::new();
        for (name, content) in files {
            let path = tool.path("input").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let hash = tool.nar_hash("input");
        let served = tool.path("served");
        fs::create_dir(&served).unwrap();
        let mut archive = tar::Builder::new(fs::File::create(served.join("input.tar")).unwrap());
        archive.append_dir_all("input", tool.path("input")).unwrap();
        archive.finish().unwrap();
        let server = StaticServer::start(served);
        Self {
            url: format!("http://127.0.0.1:{}/input.tar", server.port),
            hash,
            tool,
        }
    }

    fn lock(&self, hash: &str) -> String {
        let locked = json!({ "type": "tarball", "url": self.url, "narHash": hash });
        lock(
            "input",
            &json!({ "locked": locked, "original": { "type": "tarball", "url": self.url }, "flake": false }),
        )
    }
}

fn lock(name: &str, node: &Value) -> String {
    json!({ "nodes": { "root": { "inputs": { name: name } }, name: node }, "root": "root", "version": 7 }).to_string()
}

/// Returns a flake that copies a file of its input, which is no flake.
fn with_input(url: &str, lock: &str) -> Flake {
    let package = derivation(
        "package",
        "inherit input;",
        "read -r line < $input/text; echo \"$line\" > $out",
    );
    Flake::of(&format!(
        "{{ inputs.input = {{ url = \"{url}\"; flake = false; }}; \
         outputs = {{ self, input }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
    ))
    .file("flake.lock", lock)
}

fn dependency(statement: &Value, name: &str) -> Value {
    let all = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    all.iter()
        .find(|it| it["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {all:#?}"))
        .clone()
}

#[test]
#[ignore = "needs nix"]
fn a_tarball_input_is_fetched_checked_and_recorded() {
    let tarball = Tarball::of(&[("text", "from the input\n")]);
    let flake = with_input(&tarball.url, &tarball.lock(&tarball.hash));
    let [first, second] = [(); 2].map(|()| Outcome::of(&flake).bundle());
    assert_eq!(first.artifacts()["package"], b"from the input\n");
    assert_eq!(first.statement()["subject"], second.statement()["subject"]);
    let statement = first.statement();
    let input = dependency(&statement, "input");
    assert_eq!(input["annotations"]["locked"]["narHash"], *tarball.hash);
    assert_eq!(input["annotations"]["locked"]["url"], *tarball.url);
    let in_store = store_paths(&statement)
        .into_iter()
        .find(|(_, it)| it["annotations"]["added"] == "input")
        .unwrap();
    assert_eq!(in_store.1["digest"], input["digest"]);
    let internal = &statement["predicate"]["buildDefinition"]["internalParameters"];
    assert_eq!(internal["network"], json!(["fetch", "daemon"]));
    assert_eq!(internal["command"]["fetch"][1], "flake");
}

/// Redirects every request to the same path at `to`, until the test process ends; returns its
/// address.
pub fn redirecting(to: String) -> String {
    answering(move |path| Response::Location(format!("{to}{path}")))
}

/// The response of a server.
pub enum Response {
    Location(String),
    File(PathBuf),
}

/// Responds to requests for a path, until the test process ends; returns its address.
pub fn answering(answer: impl Fn(&str) -> Response + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            while lines
                .last()
                .is_none_or(|line: &String| !line.trim_end().is_empty())
            {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                lines.push(line);
            }
            let path = lines[0].split(' ').nth(1).unwrap();
            let (head, body) = match answer(path) {
                Response::Location(to) => (format!("302 Found\r\nLocation: {to}"), Vec::new()),
                Response::File(file) => fs::read(file)
                    .map_or(("404 Gone".to_owned(), Vec::new()), |body| {
                        ("200 OK".to_owned(), body)
                    }),
            };
            let mut stream = reader.into_inner();
            write!(
                stream,
                "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    address
}

#[test]
#[ignore = "needs nix"]
fn an_input_that_is_redirected_is_recorded_with_its_last_url() {
    let tarball = Tarball::of(&[("text", "from elsewhere\n")]);
    let host = tarball.url.trim_end_matches("/input.tar").to_owned();
    let first = Tarball {
        url: format!("{}/input.tar", redirecting(redirecting(host))),
        ..tarball
    };
    let bundle = Outcome::of(&with_input(&first.url, &first.lock(&first.hash))).bundle();
    assert_eq!(bundle.artifacts()["package"], b"from elsewhere\n");
    let input = dependency(&bundle.statement(), "input");
    assert_eq!(input["annotations"]["locked"]["url"], *first.url);
    let last = input["annotations"]["fetchedFrom"].as_str().unwrap();
    assert!(last.ends_with("/input.tar") && last != first.url, "{last}");
    let direct = Tarball {
        url: last.to_owned(),
        ..first
    };
    let bundle = Outcome::of(&with_input(&direct.url, &direct.lock(&direct.hash))).bundle();
    assert_eq!(
        dependency(&bundle.statement(), "input")["annotations"]["fetchedFrom"],
        Value::Null
    );
}

#[test]
#[ignore = "needs nix"]
fn an_input_with_another_hash_is_refused() {
    let tarball = Tarball::of(&[("text", "from the input\n")]);
    let other = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let outcome = Outcome::of(&with_input(&tarball.url, &tarball.lock(other)));
    outcome.assert_failed("LockfileMismatch", "mismatch in field 'narHash' of input");
}

#[test]
#[ignore = "needs nix"]
fn an_input_that_nobody_serves_is_not_fetched() {
    let tarball = Tarball::of(&[("text", "x\n")]);
    let url = tarball.url.replace("input.tar", "elsewhere.tar");
    let flake = with_input(
        &url,
        &tarball
            .lock(&tarball.hash)
            .replace("input.tar", "elsewhere.tar"),
    );
    Outcome::of(&flake).assert_failed("DependencyFetchFailed", "404");
}

/// A part of the source is not fetched, and is recorded as that part.
#[test]
#[ignore = "needs nix"]
fn a_directory_or_a_file_of_the_source_is_an_input() {
    for (path, read) in [("./sub", "$input/text"), ("./sub/text", "$input")] {
        let flake = with_part(path, read).file("sub/text", "from the source\n");
        let bundle = Outcome::of(&flake).bundle();
        assert_eq!(
            bundle.artifacts()["package"],
            b"from the source\n",
            "{path}"
        );
        let tool = Tool::new();
        flake.write(&tool.path("source"));
        let digest = json!({ "sha256": hex_of(&tool.nar_hash(&format!("source/{path}"))) });
        assert_eq!(
            dependency(&bundle.statement(), "input")["digest"],
            digest,
            "{path}"
        );
    }
}

#[test]
#[ignore = "needs nix"]
fn a_part_of_the_source_that_is_a_link_or_nothing_is_no_input() {
    for path in ["./link", "./link/text", "./nothing"] {
        let flake = with_part(path, "/dev/null")
            .file("sub/text", "x\n")
            .link("link", "sub");
        Outcome::of(&flake).assert_failed("LockfileMismatch", "is reached through a link");
    }
}

/// Returns a flake that reads a part of its own source, which is an input.
fn with_part(path: &str, read: &str) -> Flake {
    let package = derivation(
        "package",
        "inherit input;",
        &format!("read -r line < {read}; echo \"$line\" > $out"),
    );
    Flake::of(&format!(
        "{{ inputs.input = {{ url = \"path:{path}\"; flake = false; }}; \
         outputs = {{ self, input }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
    ))
    .file("flake.lock", lock("input", &part(path, &json!([]))))
}

/// Returns the node of a relative path.
fn part(path: &str, parent: &Value) -> Value {
    let reference = json!({ "path": path, "type": "path" });
    json!({ "flake": false, "locked": reference, "original": reference, "parent": parent })
}

/// Converts a hash of a lockfile to the form of provenance.
fn hex_of(hash: &str) -> String {
    hex::encode(base64::Engine::decode(&STANDARD, hash.strip_prefix("sha256-").unwrap()).unwrap())
}

#[test]
#[ignore = "needs nix"]
fn a_directory_of_an_input_is_recorded_as_a_part_of_it() {
    let inner = "{ inputs.part = { url = \"path:./part\"; flake = false; }; outputs = { self, part }: { inherit part; }; }";
    let tarball = Tarball::of(&[("flake.nix", inner), ("part/text", "from a part\n")]);
    let mut lock: Value =
        serde_json::from_str(&tarball.lock(&tarball.hash).replace("\"flake\":false,", "")).unwrap();
    lock["nodes"]["input"]["inputs"] = json!({ "part": "part" });
    lock["nodes"]["part"] = part("./part", &json!(["input"]));
    let package = derivation(
        "package",
        "inherit (input) part;",
        "read -r line < $part/text; echo \"$line\" > $out",
    );
    let flake = Flake::of(&format!(
        "{{ inputs.input.url = \"{}\"; outputs = {{ self, input }}: {{ packages.x86_64-linux.default = {package}; }}; }}",
        tarball.url
    ));
    let bundle = Outcome::of(&flake.file("flake.lock", lock.to_string())).bundle();
    assert_eq!(bundle.artifacts()["package"], b"from a part\n");
    let part = dependency(&bundle.statement(), "part");
    assert_eq!(
        (
            &part["annotations"]["partOf"],
            &part["annotations"]["folder"]
        ),
        (&json!("input"), &json!("part"))
    );
    assert_eq!(
        part["digest"]["sha256"],
        hex_of(&tarball.tool.nar_hash("input/part"))
    );
}

#[test]
#[ignore = "needs nix"]
fn two_inputs_may_hold_the_same() {
    let tarball = Tarball::of(&[("text", "from both\n")]);
    let package = derivation(
        "package",
        "inherit a b;",
        "[ $a = $b ]; read -r line < $a/text; echo \"$line\" > $out",
    );
    let inputs = ["a", "b"].map(|name| {
        format!(
            "inputs.{name} = {{ url = \"{}\"; flake = false; }};",
            tarball.url
        )
    });
    let mut lock: Value = serde_json::from_str(&tarball.lock(&tarball.hash)).unwrap();
    let node = lock["nodes"]["input"].take();
    lock["nodes"] = json!({ "root": { "inputs": { "a": "a", "b": "b" } }, "a": node, "b": node });
    let flake = Flake::of(&format!(
        "{{ {} outputs = {{ self, a, b }}: {{ packages.x86_64-linux.default = {package}; }}; }}",
        inputs.concat()
    ));
    let bundle = Outcome::of(&flake.file("flake.lock", lock.to_string())).bundle();
    assert_eq!(bundle.artifacts()["package"], b"from both\n");
    let statement = bundle.statement();
    assert_eq!(
        dependency(&statement, "a")["digest"],
        dependency(&statement, "b")["digest"]
    );
}

#[test]
#[ignore = "needs nix"]
fn a_git_input_is_fetched_at_its_commit_and_checked() {
    let tool = Tool::new();
    for name in ["input", "repository"] {
        fs::create_dir(tool.path(name)).unwrap();
        fs::write(tool.path(name).join("text"), "from a commit\n").unwrap();
    }
    let repository = tool.path("repository");
    git_repository(&repository);
    let url = format!(
        "http://127.0.0.1:{}/.git",
        StaticServer::start(repository.clone()).port
    );
    let locked = json!({ "type": "git", "url": url, "ref": "refs/heads/main", "rev": git(&repository, &["rev-parse", "HEAD"]),
        "narHash": tool.nar_hash("input"), "revCount": 1,
        "lastModified": git(&repository, &["log", "-1", "--format=%ct"]).parse::<u64>().unwrap() });
    let lock = |locked: &Value| {
        lock(
            "input",
            &json!({ "locked": locked, "original": { "type": "git", "url": url }, "flake": false }),
        )
    };
    let input = format!("git+{url}");
    assert_eq!(
        Outcome::of(&with_input(&input, &lock(&locked)))
            .bundle()
            .artifacts()["package"],
        b"from a commit\n"
    );
    let mut other = locked;
    other["rev"] = "1".repeat(40).into();
    Outcome::of(&with_input(&input, &lock(&other)))
        .assert_failed("DependencyFetchFailed", "Unable to find 1111");
}

/// Git names the target of a redirect only in its log, so only the scheme can be enforced: https.
#[test]
#[ignore = "needs nix"]
fn a_git_input_is_not_redirected_to_plain_http() {
    let tool = Tool::new();
    for name in ["input", "repository"] {
        fs::create_dir(tool.path(name)).unwrap();
        fs::write(tool.path(name).join("text"), "from elsewhere\n").unwrap();
    }
    let repository = tool.path("repository");
    git_repository(&repository);
    let served = format!(
        "http://127.0.0.1:{}",
        StaticServer::start(repository.clone()).port
    );
    let flake = |host: &str| {
        let url = format!("{host}/.git");
        let locked = json!({ "type": "git", "url": url, "ref": "refs/heads/main",
            "rev": git(&repository, &["rev-parse", "HEAD"]), "narHash": tool.nar_hash("input"), "revCount": 1,
            "lastModified": git(&repository, &["log", "-1", "--format=%ct"]).parse::<u64>().unwrap() });
        let node =
            json!({ "locked": locked, "original": { "type": "git", "url": url }, "flake": false });
        with_input(&format!("git+{url}"), &lock("input", &node))
    };
    assert_eq!(
        Outcome::of(&flake(&served)).bundle().artifacts()["package"],
        b"from elsewhere\n"
    );
    let outcome = Outcome::of(&flake(&redirecting(served)));
    outcome.assert_failed("DependencyFetchFailed", "http");
}

/// An input that is a flake brings its own outputs.
#[test]
#[ignore = "needs nix"]
fn an_input_can_be_a_flake() {
    let inner = format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {}; }}; }}",
        derivation("inner", "", "echo inner > $out")
    );
    let tarball = Tarball::of(&[("flake.nix", &inner)]);
    let lock = tarball.lock(&tarball.hash).replace("\"flake\":false,", "");
    let flake = Flake::of(&format!(
        "{{ inputs.input.url = \"{}\"; outputs = {{ self, input }}: {{ inherit (input) packages; }}; }}",
        tarball.url
    ))
    .file("flake.lock", lock);
    assert_eq!(
        Outcome::of(&flake).bundle().artifacts()["inner"],
        b"inner\n"
    );
}

#[test]
#[ignore = "needs nix"]
fn a_c_program_is_compiled_by_a_compiler_that_is_an_input() {
    let compiling = Compiling::new(&tool::root(), "127.0.0.1");
    let [first, second] = [(); 2].map(|()| Outcome::of(&compiling.flake).bundle());
    assert_says_hello(first.artifacts()["hello"]);
    assert_eq!(first.statement()["subject"], second.statement()["subject"]);
}
