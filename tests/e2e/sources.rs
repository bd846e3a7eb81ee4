//! What does a build see of its source, and what stays of what it does to it? As root only: another
//! user cannot mount what a build needs to write to its source.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Bundle, Request, Server, StaticServer, git, git_repository, package, tar_of};

/// A build script that writes to its source as some published crates do.
const WRITING: &str = r#"
    fn main() {
        std::fs::write("src/generated.rs", "pub const GREETING: &str = \"generated\";\n").unwrap();
        std::fs::create_dir_all("completions").unwrap();
        std::fs::write("completions/tool.bash", "x").unwrap();
        std::fs::write("README", "changed").unwrap();
        std::fs::remove_file("NOTES").unwrap();
        println!("cargo:rerun-if-changed=build.rs");
    }
"#;

/// A build script that asks git which commit it builds.
const ASKING: &str = r#"
    fn git(arguments: &[&str]) -> String {
        let output = std::process::Command::new("git").args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn main() {
        for arguments in [
            &["rev-parse", "HEAD"][..],
            &["rev-parse", "--abbrev-ref", "HEAD"],
            &["describe", "--always", "--dirty"],
            &["status", "--porcelain"],
            &["log", "--format=%H"],
        ] {
            println!("cargo:warning=git {}: {}", arguments.join(" "), git(arguments));
        }
    }
"#;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn lines(bundle: &Bundle) -> String {
    String::from_utf8(bundle.files["build.log"].clone()).unwrap()
}

/// Builds a repository with a service of its own.
fn build_repository(directory: &Path, reference: &str) -> Bundle {
    let files = StaticServer::start(directory.join(".git"));
    let url = format!("http://127.0.0.1:{}/", files.port);
    let server = Server::start();
    let job = server
        .run(&Request::repository(&url, Some(reference)))
        .job();
    let events = server.events(&job);
    let end = events.last().unwrap();
    assert_eq!(end["result"]["status"], "ok", "{events:?}");
    let time = git(
        directory,
        &["show", "--no-patch", "--format=%ct", reference],
    );
    let time = time.lines().last().unwrap().parse().unwrap();
    Bundle::read(&server.get(&format!("/build/{job}/result")).body, time)
}

#[test]
fn a_build_writes_to_its_source_and_nothing_of_that_is_kept() {
    if !is_root() {
        return;
    }
    let main = "mod generated;\nfn main() { println!(\"{}\", generated::GREETING) }\n";
    let files = [
        ("src/main.rs", main),
        ("build.rs", WRITING),
        ("README", "as it was"),
        ("NOTES", "as they were"),
    ];
    let answer = Server::start().run(&Request::form(&package(&files), "package.tar"));
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
    let bundle = Bundle::read(&answer.body, 0);
    bundle.assert_described();
    let note = "[kettle] the build changed its source, of which nothing is kept: \"NOTES\", \
                \"README\", \"completions/tool.bash\", \"src/generated.rs\"";
    assert!(lines(&bundle).contains(note), "{}", lines(&bundle));

    // The tree is the one that was sent.
    let sent = tempfile::tempdir().unwrap();
    tar::Archive::new(&package(&files)[..])
        .unpack(sent.path())
        .unwrap();
    let sent = sent.path().join("package");
    git_repository(&sent);
    let statement: Value = serde_json::from_slice(&bundle.files["provenance.json"]).unwrap();
    let source = &statement["predicate"]["buildDefinition"]["resolvedDependencies"][0];
    let tree = git(&sent, &["rev-parse", "HEAD^{tree}"]);
    assert_eq!(source["digest"]["gitTree"], tree.as_str());
}

#[test]
fn a_build_of_a_repository_can_ask_git_what_it_builds() {
    if !is_root() {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let files = [("src/main.rs", "fn main() {}\n"), ("build.rs", ASKING)];
    tar::Archive::new(&package(&files)[..])
        .unpack(site.path())
        .unwrap();
    let directory = site.path().join("package");
    git_repository(&directory);
    git(
        &directory,
        &["commit", "--quiet", "--allow-empty", "--message=second"],
    );
    git(&directory, &["tag", "--annotate", "--message=x", "v1.2.3"]);
    git(&directory, &["branch", "feature/x"]);
    git(&directory, &["update-server-info"]);
    let commit = git(&directory, &["rev-parse", "HEAD"]);
    let short = &commit[..7];
    for (reference, branch, described) in [
        ("v1.2.3", "HEAD", "v1.2.3"),
        ("feature/x", "feature/x", short),
        (&commit, "HEAD", short),
    ] {
        let log = lines(&build_repository(&directory, reference));
        for answer in [
            format!("git rev-parse HEAD: {commit}"),
            format!("git rev-parse --abbrev-ref HEAD: {branch}"),
            format!("git describe --always --dirty: {described}"),
            "git status --porcelain: ".to_owned(),
            format!("git log --format=%H: {commit}"),
        ] {
            let has_it = log
                .lines()
                .any(|line| line.trim_end().ends_with(answer.trim_end()));
            assert!(has_it, "{reference}: {answer}: {log}");
        }
    }
}

#[test]
fn a_library_is_the_same_from_a_repository_and_from_an_archive() {
    let site = tempfile::tempdir().unwrap();
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects/library");
    let archive = tar_of(&library);
    tar::Archive::new(&archive[..]).unpack(site.path()).unwrap();
    let directory = site.path().join("library");
    git_repository(&directory);
    let from_repository = build_repository(&directory, "HEAD");
    let answer = Server::start().run(&Request::form(&archive, "library.tar"));
    let from_archive = Bundle::read(&answer.body, 0);
    for name in ["some-library-1.2.3.crate", "libsome_library.rlib"] {
        let [one, other] = [&from_repository, &from_archive].map(|bundle| bundle.artifacts()[name]);
        assert!(one == other, "{name}");
    }
}
