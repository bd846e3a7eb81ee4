//! What does `kettle build` send of directories, archives and repositories, and what comes out?

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::command::{
    ACCEPTED, Desk, FAILED, MARKER, NO_FREE_MACHINE, NOTHING, REJECTED, Run, appliance, has_no_job,
    processor, statement, tls,
};
use super::harness::{Server, StaticServer, git, git_repository, package};
use super::processors::MEASUREMENT;

fn source_of(statement: &Value) -> &Value {
    &statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
}

/// Verifies the written bundle again, with the command that people use.
fn verify(desk: &Desk, bundle: &Path) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kettle"));
    command
        .arg("verify")
        .arg(bundle)
        .arg("--trust-root")
        .arg(processor().trust_root())
        .args(["--measurement", &MEASUREMENT.to_string()])
        .current_dir(desk.path("."));
    Run::of(&mut command)
}

#[test]
fn a_work_tree_goes_to_files_in_one_command() {
    let (desk, server) = (Desk::new(), appliance());
    let root = desk.source();
    git_repository(&root);
    // Changed after the commit, new, ignored, executable, a link, removed, with a long name.
    let program = format!("fn main() {{ println!(\"{MARKER} changed\") }}\n");
    fs::write(root.join("src/main.rs"), program).unwrap();
    fs::write(root.join(".gitignore"), "/secret\n/target\n").unwrap();
    fs::write(root.join("secret"), "ignored").unwrap();
    fs::write(root.join("run.sh"), "").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("Cargo.toml", root.join("link")).unwrap();
    fs::write(root.join("gone"), "").unwrap();
    git(&root, &["add", "gone"]);
    fs::remove_file(root.join("gone")).unwrap();
    let deep = root.join("d".repeat(90)).join("e".repeat(90));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();

    let run = desk.build(&tls(&server), &[] as &[&str]);
    run.expect(ACCEPTED, "ACCEPTED");
    run.expect(ACCEPTED, "1 that git tracks are not on the disk");
    let ran = Command::new(desk.artifact()).output().unwrap();
    assert_eq!(ran.stdout, format!("{MARKER} changed\n").into_bytes());
    assert!(verify(&desk, &desk.out().join("package.tar.gz")).status == ACCEPTED);
    assert!(verify(&desk, &desk.out().join("package")).status == ACCEPTED);
    // The id that git itself gives the tree of these files.
    git(&root, &["add", "--all"]);
    let tree = git(&root, &["write-tree"]);
    assert_eq!(
        source_of(&statement(&desk.out().join("package")))["digest"]["gitTree"],
        *tree
    );
    assert_eq!(
        fs::read_dir(desk.out()).unwrap().count(),
        2,
        "nothing unfinished is left"
    );
}

#[test]
fn a_directory_without_git_is_sent_as_a_whole_and_the_output_says_so() {
    for (path, words) in [
        (None, "this is no work tree"),
        (Some("/nothing"), "EVERY FILE"),
    ] {
        let (desk, server) = (Desk::new(), appliance());
        if path.is_some() {
            git_repository(&desk.source());
        }
        fs::write(desk.source().join(".gitignore"), "/secret\n").unwrap();
        fs::write(desk.source().join("secret"), "ignored").unwrap();
        let mut command = desk.command("package", &tls(&server));
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let run = Run::of(&mut command);
        run.expect(ACCEPTED, words);
        fs::remove_dir_all(desk.source().join(".git")).ok();
        let tree = kettle::source::tree::hash(&desk.source())
            .unwrap()
            .to_string();
        assert_eq!(
            source_of(&statement(&desk.out().join("package")))["digest"]["gitTree"],
            tree
        );
    }
}

#[test]
fn all_sends_what_git_ignores_and_nothing_of_git() {
    let (desk, server) = (Desk::new(), appliance());
    git_repository(&desk.source());
    fs::write(desk.source().join(".gitignore"), "/more\n").unwrap();
    fs::write(desk.source().join("more"), "ignored").unwrap();
    desk.build(&tls(&server), &["--all"])
        .expect(ACCEPTED, "because of --all");
    fs::remove_dir_all(desk.source().join(".git")).unwrap();
    let tree = kettle::source::tree::hash(&desk.source())
        .unwrap()
        .to_string();
    assert_eq!(
        source_of(&statement(&desk.out().join("package")))["digest"]["gitTree"],
        tree
    );
}

#[test]
fn a_repositorys_configuration_runs_no_program_here() {
    let (desk, server) = (Desk::new(), appliance());
    git_repository(&desk.source());
    let script = desk.path("run-me");
    fs::write(
        &script,
        format!("#!/bin/sh\ntouch {}\n", desk.path("ran").display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    git(
        &desk.source(),
        &["config", "core.fsmonitor", script.to_str().unwrap()],
    );
    desk.build(&tls(&server), &[] as &[&str])
        .expect(ACCEPTED, "ACCEPTED");
    assert!(
        !desk.path("ran").exists(),
        "git ran what the repository names"
    );
}

#[test]
fn an_object_that_is_missing_is_not_fetched_by_a_program_that_the_repository_names() {
    let (desk, server) = (Desk::new(), appliance());
    let source = desk.source();
    fs::write(source.join(".gitignore"), "/x\n").unwrap();
    git_repository(&source);
    let script = desk.path("run-me");
    fs::write(
        &script,
        format!("#!/bin/sh\ntouch {}\n", desk.path("ran").display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // git reads which files are ignored from its index where the file is not to be on the disk.
    let blob = git(&source, &["rev-parse", "HEAD:.gitignore"]);
    git(&source, &["update-index", "--skip-worktree", ".gitignore"]);
    fs::remove_file(source.join(".gitignore")).unwrap();
    fs::remove_file(source.join(format!(".git/objects/{}/{}", &blob[..2], &blob[2..]))).unwrap();
    for (name, value) in [
        ("extensions.partialClone", "origin"),
        ("core.repositoryFormatVersion", "1"),
        ("remote.origin.url", source.to_str().unwrap()),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", script.to_str().unwrap()),
        ("protocol.file.allow", "always"),
    ] {
        git(&source, &["config", name, value]);
    }
    let _ = desk.build(&tls(&server), &[] as &[&str]);
    assert!(
        !desk.path("ran").exists(),
        "git ran what the repository names"
    );
}

#[test]
fn a_directory_that_became_a_link_leads_nowhere() {
    let (desk, server) = (Desk::new(), appliance());
    let source = desk.source();
    fs::create_dir(source.join("a")).unwrap();
    fs::write(source.join("a/id"), "of the source").unwrap();
    fs::write(source.join(".gitignore"), "/a\n").unwrap();
    git_repository(&source);
    git(&source, &["add", "--force", "a/id"]);
    fs::remove_dir_all(source.join("a")).unwrap();
    fs::create_dir(desk.path("outside")).unwrap();
    fs::write(desk.path("outside/id"), "a secret").unwrap();
    std::os::unix::fs::symlink(desk.path("outside"), source.join("a")).unwrap();
    let run = desk.build(&tls(&server), &[] as &[&str]);
    run.expect(ACCEPTED, "1 that git tracks are not on the disk");
}

#[test]
fn another_repository_than_the_expected_one_is_not_requested() {
    let (desk, server) = (Desk::new(), appliance());
    let mut command = desk.command("https://example.org/other", &tls(&server));
    let run = Run::of(command.args(["--repository", "https://example.org/project.git"]));
    run.expect(NOTHING, "https://example.org/other is another repository");
    assert!(desk.is_empty());
}

#[test]
fn an_archive_is_sent_as_it_is() {
    let (desk, server) = (Desk::new(), appliance());
    let archive = package(&[("src/main.rs", "fn main() {}")]);
    fs::write(desk.path("source.tar"), &archive).unwrap();
    Run::of(&mut desk.command("source.tar", &tls(&server))).expect(ACCEPTED, "ACCEPTED");
    let statement = statement(&desk.out().join("package"));
    let source = &statement["predicate"]["buildDefinition"]["externalParameters"]["source"];
    assert_eq!(source["archive"]["name"], "source.tar");
    assert_eq!(
        source["archive"]["sha256"],
        super::harness::sha256(&archive)
    );
}

#[test]
fn a_repository_is_named_with_its_ref() {
    let (desk, server) = (Desk::new(), appliance());
    git_repository(&desk.source());
    git(&desk.source(), &["tag", "v1"]);
    git(&desk.source(), &["update-server-info"]);
    let files = StaticServer::start(desk.path("."));
    let url = format!("http://127.0.0.1:{}/package/.git", files.port);
    let mut command = desk.command(&url, &tls(&server));
    Run::of(command.args(["--ref", "v1"])).expect(ACCEPTED, "ACCEPTED");
    let commit = git(&desk.source(), &["rev-parse", "v1"]);
    let directory = fs::read_dir(desk.out())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let directory = directory.into_iter().find(|path| path.is_dir()).unwrap();
    assert_eq!(
        source_of(&statement(&directory))["digest"]["gitCommit"],
        *commit
    );
}

#[test]
fn a_build_that_fails_has_a_status_of_its_own_and_leaves_nothing() {
    let (desk, server) = (Desk::new(), appliance());
    fs::write(desk.source().join("src/main.rs"), "fn main() { nonsense }").unwrap();
    let run = desk.build(&tls(&server), &[] as &[&str]);
    run.expect(FAILED, "the build failed (BuildFailed)");
    run.expect(FAILED, "nonsense");
    assert!(desk.is_empty());
    let (desk, server) = (Desk::new(), appliance());
    fs::write(desk.source().join("src/main.rs"), "fn main() { nonsense }").unwrap();
    let documents = desk.build(&tls(&server), &["--json"]).documents();
    let last = documents.last().unwrap();
    let verdict = (&last["type"], &last["verdict"], &last["error_type"]);
    assert_eq!(
        verdict,
        (&"verdict".into(), &"failed".into(), &"BuildFailed".into())
    );
}

#[test]
fn json_is_a_document_a_line_with_each_event_once() {
    let (desk, server) = (Desk::new(), appliance());
    let run = desk.build(&tls(&server), &["--json", "--nonce", "00c0ffee"]);
    assert_eq!((run.status, run.errors.as_str()), (ACCEPTED, ""));
    let documents = run.documents();
    let ids: Vec<_> = documents
        .iter()
        .filter_map(|document| document["id"].as_u64())
        .collect();
    assert!(
        ids.len() > 5 && ids.iter().copied().eq(0..ids.len() as u64),
        "{ids:?}"
    );
    let of = |kind: &str| {
        documents
            .iter()
            .filter(|it| it["type"] == kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("machine")[0]["verdict"], "accepted");
    // Everything that a machine says is inside such a document.
    assert!(
        of("event").len() == ids.len()
            && of("event").iter().all(|it| it["event"]["type"].is_string())
    );
    let verdict = of("verdict");
    assert!(
        verdict.len() == 1 && documents.last() == Some(verdict[0]),
        "{documents:?}"
    );
    assert_eq!(
        (&verdict[0]["verdict"], &verdict[0]["claims"]["nonce"]),
        (&"accepted".into(), &"00c0ffee".into())
    );
    for file in verdict[0]["files"].as_array().unwrap() {
        assert!(desk.path(file.as_str().unwrap()).is_file(), "{file}");
    }
}

#[test]
fn wrong_usage_reaches_no_machine() {
    let (desk, server) = (Desk::new(), appliance());
    let to = tls(&server);
    fs::create_dir(desk.path("full")).unwrap();
    fs::write(desk.path("full/file"), "").unwrap();
    for (source, more, words) in [
        ("nothing-here", &[][..], "no directory, no file"),
        (
            "git@host:project.git",
            &[],
            "has to have an https:// or http:// URL",
        ),
        ("package", &["--ref", "v1"], "--ref is of a repository"),
        (
            "package/Cargo.toml",
            &["--all"],
            "--all is about the files of a directory",
        ),
        ("package", &["--measurement", "00"], "--measurement"),
        ("package", &["--nonce", "0"], "--nonce"),
        (
            "package",
            &["--insecure-no-evidence"],
            "cannot be used with",
        ),
    ] {
        Run::of(desk.command(source, &to).args(more)).expect(NOTHING, words);
        assert!(desk.is_empty(), "{source} {more:?}");
    }
    let mut full = desk.command("package", &to);
    full.args(["--out", "full"]);
    let once = Run::of(&mut full);
    assert!(once.status == NOTHING, "{once:?}");
    for to in ["https://127.0.0.1:1/v1", "ftp://127.0.0.1", "127.0.0.1"] {
        Run::of(&mut desk.command("package", to)).expect(NOTHING, "--to");
    }
    let plain = format!("http://127.0.0.1:{}", server.port);
    Run::of(&mut desk.command("package", &plain)).expect(NOTHING, "speaks plaintext");
    Run::of(desk.bare("package", "").env("KETTLE_APPLIANCE", "")).expect(NOTHING, "--to");
    assert!(has_no_job(&server));
}

#[test]
fn a_host_without_evidence_gets_nothing_unless_somebody_wants_that() {
    let (desk, server) = (Desk::new(), Server::start());
    let run = desk.build(&tls(&server), &[] as &[&str]);
    run.expect(NOTHING, "got nothing of the source");
    assert!(has_no_job(&server));
    let insecure = |to: &str, more: &[&str]| {
        Run::of(
            desk.bare("package", to)
                .arg("--insecure-no-evidence")
                .args(more),
        )
    };
    let run = insecure(&tls(&server), &[]);
    run.expect(ACCEPTED, "NOTHING ABOUT THIS MACHINE IS VERIFIED");
    assert!(
        run.out
            .starts_with("NOT VERIFIED: NOBODY SIGNED THIS BUNDLE"),
        "{run:?}"
    );
    assert!(!run.out.contains("ACCEPTED"), "{run:?}");
    assert!(desk.artifact().is_file());
    fs::remove_dir_all(desk.out()).unwrap();
    let server = Server::start();
    let run = insecure(&format!("http://127.0.0.1:{}", server.port), &["--json"]);
    let verdict = run.documents().pop().unwrap();
    assert_eq!(
        (run.status, &verdict["verdict"]),
        (ACCEPTED, &Value::from("not-verified"))
    );
}

#[test]
fn a_machine_that_is_taken_is_an_error_and_one_that_comes_later_is_waited_for() {
    let (desk, server) = (Desk::new(), appliance());
    desk.build(&tls(&server), &[] as &[&str])
        .expect(ACCEPTED, "ACCEPTED");
    let other = Desk::new();
    other
        .build(&tls(&server), &["--wait", "0"])
        .expect(NO_FREE_MACHINE, "status 409 (SlotTaken)");
    assert!(other.is_empty());
    let run = other.build(&tls(&server), &["--wait", "3"]);
    run.expect(NO_FREE_MACHINE, "trying again in");
    run.expect(NO_FREE_MACHINE, "no free machine at https://127.0.0.1");
    assert!(
        run.errors
            .matches("accepted; its TLS key is pinned")
            .count()
            > 1,
        "{run:?}"
    );
    let nobody = "https://127.0.0.1:1";
    other
        .build(nobody, &["--wait", "0"])
        .expect(NO_FREE_MACHINE, "cannot be reached");
}

#[test]
fn a_bundle_that_is_rejected_is_kept_under_that_name_and_not_unpacked() {
    let (desk, server) = (Desk::new(), appliance());
    let wanted = ["--commit", "0123456789012345678901234567890123456789"];
    desk.build(&tls(&server), &wanted)
        .expect(REJECTED, "commit-mismatch");
    let names: Vec<_> = fs::read_dir(desk.out())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["rejected.tar.gz"]);
}
