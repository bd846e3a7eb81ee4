//! A published crate with dependencies, sent in both ways to a machine that can reach only its
//! host.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::builds::definition;
use crate::client::{Port, Source};
use crate::image::Image;
use crate::machine::user_network::HOST;
use crate::machine::{Host, Machine};
use crate::support::{Bundle, StaticServer, crate_file, git, git_repository, sha256, tar_of};

/// A small crate, with a lockfile in its package, and two dependencies.
const CRATE: (&str, &str) = ("indexmap", "2.11.4");
const DEPENDENCIES: [(&str, &str); 2] = [("equivalent", "1.0.2"), ("hashbrown", "0.15.5")];
const ARTIFACTS: [&&str; 2] = [&"indexmap-2.11.4.crate", &"libindexmap.rlib"];

/// The crate with its dependencies in a directory, as `cargo vendor` writes them and the
/// configuration for them.
struct Vendored {
    source: PathBuf,
    _directory: TempDir,
}

impl Vendored {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let (name, version) = CRATE;
        let archive = crate_file(name, version);
        tar::Archive::new(GzDecoder::new(&archive[..]))
            .unpack(directory.path())
            .unwrap();
        let source = directory.path().join(format!("{name}-{version}"));
        let vendor = Command::new("cargo")
            .args(["vendor", "--locked", "vendor"])
            .current_dir(&source)
            .output()
            .unwrap();
        assert!(
            vendor.status.success(),
            "{}",
            String::from_utf8_lossy(&vendor.stderr)
        );
        fs::create_dir_all(source.join(".cargo")).unwrap();
        fs::write(source.join(".cargo/config.toml"), vendor.stdout).unwrap();
        git_repository(&source);
        Self {
            source,
            _directory: directory,
        }
    }

    /// Asks git for the id of a commit or of a directory in it, or for its time.
    fn git(&self, arguments: &[&str]) -> String {
        git(&self.source, arguments)
    }
}

/// Builds it on its own machine; the bundle's times are `epoch`.
fn build(source: &Source, epoch: u64) -> Bundle {
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &Host::honest(&image));
    let outcome = machine.build(Port::Tls, source);
    outcome.assert_succeeded();
    let bundle = Bundle::read(&machine.bundle(Port::Tls, &outcome.job), epoch);
    bundle.assert_described();
    bundle
}

/// Returns the dependencies in a statement: the source itself, then the directories that
/// dependencies came from.
fn dependencies(bundle: &Bundle) -> Vec<Value> {
    definition(bundle)["resolvedDependencies"]
        .as_array()
        .unwrap()
        .clone()
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_published_crate_is_built_from_an_archive_and_from_a_git_server_of_the_host() {
    let vendored = Vendored::new();
    let object = |name: &str| vendored.git(&["rev-parse", name]);
    let directory = |(name, version): &(&str, &str)| {
        json!({
            "name": format!("{name}@{version}"),
            "uri": format!("path:vendor/{name}"),
            "digest": { "gitTree": object(&format!("HEAD:vendor/{name}")) },
        })
    };
    let directories: Vec<_> = DEPENDENCIES.iter().map(directory).collect();
    let (commit, tree) = (object("HEAD"), object("HEAD^{tree}"));
    let epoch = vendored
        .git(&["show", "--no-patch", "--format=%ct", "HEAD"])
        .parse()
        .unwrap();
    let server = StaticServer::start(vendored.source.join(".git"));
    let url = format!("http://{HOST}:{}/", server.port);

    let from_server = build(&Source::Repository { url: &url }, epoch);
    fs::remove_dir_all(vendored.source.join(".git")).unwrap();
    let archive = tar_of(&vendored.source);
    let from_archive = build(
        &Source::Archive {
            bytes: &archive,
            name: "indexmap.tar",
        },
        0,
    );

    let repository = json!({ "uri": format!("git+{url}#{commit}"), "digest": { "gitCommit": commit, "gitTree": tree } });
    assert_eq!(
        dependencies(&from_server),
        [&[repository], &directories[..]].concat()
    );
    let source = json!({ "name": "indexmap.tar", "digest": { "sha256": sha256(&archive), "gitTree": tree } });
    assert_eq!(
        dependencies(&from_archive),
        [&[source], &directories[..]].concat()
    );
    assert!(
        from_server.artifacts().keys().eq(ARTIFACTS),
        "{:?}",
        from_server.artifacts().keys()
    );
    assert!(
        from_server.artifacts() == from_archive.artifacts(),
        "the artifacts differ"
    );
}
