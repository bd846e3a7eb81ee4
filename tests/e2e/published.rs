//! A published crate with many dependencies, submitted in all three ways.

use std::collections::BTreeMap;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::harness::{
    Bundle, Request, Response, Server, StaticServer, crate_file, git, git_repository, sha256,
};

/// The lockfile has more than this many packages.
const LEAST_LOCKED: usize = 40;

/// Returns the packages of a lockfile with checksums: URI and checksum.
fn locked(lockfile: &[u8]) -> BTreeMap<String, String> {
    let lockfile: toml::Table = std::str::from_utf8(lockfile).unwrap().parse().unwrap();
    let text = |package: &toml::Value, key: &str| {
        package.get(key).map(|it| it.as_str().unwrap().to_owned())
    };
    let entry = |package: &toml::Value| {
        let uri = format!(
            "pkg:cargo/{}@{}",
            text(package, "name")?,
            text(package, "version")?
        );
        Some((uri, text(package, "checksum")?))
    };
    lockfile["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(entry)
        .collect()
}

/// Asserts that every dependency of the statement is locked with the same digest, and that there
/// are many.
fn assert_locked(statement: &Value, lockfile: &[u8]) {
    let locked = locked(lockfile);
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    let packages = &dependencies[1..];
    assert!(
        locked.len() > LEAST_LOCKED && packages.len() > 10,
        "{} and {}",
        locked.len(),
        packages.len()
    );
    for package in packages {
        let uri = package["uri"].as_str().unwrap();
        assert_eq!(package["digest"]["sha256"], locked[uri], "{uri}");
    }
}

/// Asserts that the log, the provenance and the archive are the same by every URL.
fn assert_downloads(server: &Server, job: &str, result: &Response, bundle: &Bundle) {
    let line = |event: &Value| match event["type"].as_str() {
        Some("build") => format!("{}\n", event["msg"].as_str().unwrap()),
        Some("note") => format!("[kettle] {}\n", event["msg"].as_str().unwrap()),
        _ => String::new(),
    };
    let log: String = server.events(job).iter().map(line).collect();
    assert!(
        log.as_bytes() == bundle.files["build.log"],
        "the events are not the log"
    );
    assert!(
        server.get(&format!("/build/{job}/provenance.json")).body
            == bundle.files["provenance.json"]
    );
    let lockfile = server.get(&format!("/builds/{job}/build-config/Cargo.lock"));
    assert!(lockfile.body == bundle.files["build-config/Cargo.lock"]);
    for (name, bytes) in bundle.artifacts() {
        assert!(
            server.get(&format!("/builds/{job}/artifacts/{name}")).body == bytes,
            "{name}"
        );
    }
    let digest = STANDARD.encode(hex::decode(sha256(&result.body)).unwrap());
    assert_eq!(result.header("repr-digest"), format!("sha-256=:{digest}:"));
    let half = result.body.len() / 2;
    let path = format!("/build/{job}/result");
    let etag = result.header("etag");
    assert!(etag.starts_with('"'), "{etag} is weak");
    let resume = Request::get(&path)
        .header("Range", &format!("bytes={half}-"))
        .header("If-Range", etag);
    let rest = server.run(&resume);
    assert_eq!(rest.status, 206);
    assert!(rest.body == result.body[half..], "the rest is another");
}

#[test]
fn three_ways_in_build_the_same_tree() {
    let archive = crate_file("ripgrep", "14.1.1");
    let directory = tempfile::tempdir().unwrap();
    tar::Archive::new(GzDecoder::new(&archive[..]))
        .unpack(directory.path())
        .unwrap();
    let source = directory.path().join("ripgrep-14.1.1");
    git_repository(&source);
    let tree = git(&source, &["rev-parse", "HEAD^{tree}"]);
    let commit = git(&source, &["rev-parse", "HEAD"]);
    let epoch = git(&source, &["show", "--no-patch", "--format=%ct", "HEAD"])
        .parse()
        .unwrap();
    let files = StaticServer::start(source.join(".git"));
    let url = format!("http://127.0.0.1:{}/", files.port);

    let json = Server::start();
    let job = json
        .run(&Request::json(&archive, "ripgrep-14.1.1.crate"))
        .job();
    assert_eq!(json.events(&job).last().unwrap()["result"]["status"], "ok");
    let by_json = json.get(&format!("/build/{job}/result"));
    let first = Bundle::read(&by_json.body, 0);
    assert_downloads(&json, &job, &by_json, &first);

    let (by_form, (repository, repository_job)) = thread::scope(|scope| {
        let form =
            scope.spawn(|| Server::start().run(&Request::form(&archive, "ripgrep-14.1.1.crate")));
        let server = Server::start();
        let job = server.run(&Request::repository(&url, None)).job();
        assert_eq!(
            server.events(&job).last().unwrap()["result"]["status"],
            "ok"
        );
        (form.join().unwrap(), (server, job))
    });
    assert_eq!(
        by_form.status,
        200,
        "{}",
        String::from_utf8_lossy(&by_form.body)
    );
    let second = Bundle::read(&by_form.body, 0);
    let by_repository = repository.get(&format!("/build/{repository_job}/result"));
    let third = Bundle::read(&by_repository.body, epoch);
    assert_downloads(&repository, &repository_job, &by_repository, &third);

    assert!(
        second.artifacts() == first.artifacts(),
        "the artifacts of an archive differ by the way in"
    );
    // The build script of ripgrep asks git for the revision, which a repository alone has.
    let says = |bundle: &Bundle| {
        memchr::memmem::find(bundle.artifacts()["rg"], &commit.as_bytes()[..10]).is_some()
    };
    assert!(says(&third), "the program does not know its revision");
    assert!(!says(&first), "an archive has no revision");
    for bundle in [&first, &second, &third] {
        bundle.assert_described();
        let statement = bundle.statement();
        assert_locked(&statement, &bundle.files["build-config/Cargo.lock"]);
        let source = &statement["predicate"]["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(source["digest"]["gitTree"], tree);
    }
    let source = &third.statement()["predicate"]["buildDefinition"]["resolvedDependencies"][0];
    assert_eq!(source["digest"]["gitCommit"], commit);
    let source = &first.statement()["predicate"]["buildDefinition"]["externalParameters"]["source"];
    assert_eq!(source["archive"]["sha256"], sha256(&archive));
    for bundle in [&first, &third] {
        assert_eq!(bundle.artifacts().keys().collect::<Vec<_>>(), [&"rg"]);
    }
}
