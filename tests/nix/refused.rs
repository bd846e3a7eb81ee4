//! Which flakes are not built, and with which message?

use serde_json::json;

use crate::appliance::Outcome;
use crate::flake::{Flake, derivation};
use crate::harness::{Request, Server};

/// Returns a flake whose default package is this expression.
fn package(expression: &str) -> Flake {
    Flake::of(&format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {expression}; }}; }}"
    ))
}

/// Returns a derivation that has the value of an expression in its output.
fn telling(expression: &str) -> Flake {
    package(&derivation(
        "package",
        &format!("value = {expression};"),
        "echo \"<$value>\" > $out",
    ))
}

#[test]
#[ignore = "needs nix"]
fn a_source_without_a_lockfile_is_no_project() {
    let archive = Flake::script("echo > $out").without("flake.lock").archive();
    let answer = Server::start().run(&Request::json(&archive, "flake.tar"));
    assert_eq!(answer.status, 422, "{answer:?}");
}

#[test]
#[ignore = "needs nix"]
fn a_lockfile_that_lacks_an_input_is_not_completed() {
    let flake = Flake::of("{ inputs.a.url = \"path:./a\"; outputs = { self, a }: { }; }")
        .file("a/flake.nix", "{ outputs = { self }: { }; }");
    Outcome::of(&flake).assert_failed("LockfileMismatch", "flake.lock does not fit the flake");
    let flake = Flake::of("{ inputs.far.url = \"github:o/r\"; outputs = { self, far }: { }; }");
    Outcome::of(&flake).assert_failed("LockfileMismatch", "for input \"far\"");
}

#[test]
#[ignore = "needs nix"]
fn a_lockfile_that_is_none_is_refused() {
    for (lock, says) in [
        ("", "flake.lock cannot be used"),
        ("{}", "flake.lock cannot be used"),
        (
            r#"{"nodes":{"root":{"inputs":{"a":"b"}}},"root":"root","version":7}"#,
            "flake.lock cannot be used",
        ),
        (
            r#"{"nodes":{"root":{}},"root":"root","version":99}"#,
            "flake.lock cannot be used",
        ),
    ] {
        Outcome::of(&Flake::script("echo > $out").file("flake.lock", lock))
            .assert_failed("LockfileMismatch", says);
    }
    let locked =
        json!({ "type": "path", "path": "/etc", "narHash": format!("sha256-{}=", "A".repeat(43)) });
    let node =
        json!({ "locked": locked, "original": { "type": "path", "path": "/etc" }, "flake": false });
    let lock = json!({ "nodes": { "root": { "inputs": { "a": "a" } }, "a": node }, "root": "root", "version": 7 });
    let flake = Flake::script("echo > $out").file("flake.lock", lock.to_string());
    Outcome::of(&flake).assert_failed("LockfileMismatch", "\"/etc\" on the machine");
}

#[test]
#[ignore = "needs nix"]
fn a_flake_without_a_default_package_says_so() {
    let flake = Flake::of("{ outputs = { self }: { packages.aarch64-linux.default = 1; }; }");
    Outcome::of(&flake).assert_failed(
        "BuildFailed",
        "the flake has no default package for x86_64-linux",
    );
}

#[test]
#[ignore = "needs nix"]
fn the_evaluators_message_reaches_the_log() {
    for (flake, says) in [
        (package("throw \"this is why\""), "this is why"),
        (Flake::of("{ outputs = { self }: "), "syntax error"),
        (Flake::of("{ }").without("flake.nix"), "flake.nix"),
        (package("1"), "to be a derivation"),
    ] {
        Outcome::of(&flake).assert_failed("BuildFailed", says);
    }
    Outcome::of(&package("throw \"x\""))
        .assert_failed("BuildFailed", "the flake cannot be evaluated");
}

#[test]
#[ignore = "needs nix"]
fn a_builder_that_fails_has_its_output_in_the_log() {
    let outcome = Outcome::of(&Flake::script("echo this is why; exit 3"));
    outcome.assert_failed("BuildFailed", "package> this is why");
}

/// The cause is neither the evaluation nor an internal error.
#[test]
#[ignore = "needs nix"]
fn a_flake_that_cannot_be_built_or_delivered_says_why() {
    let other =
        package("derivation { name = \"x\"; system = \"aarch64-linux\"; builder = \"/bin/sh\"; }");
    let outcome = Outcome::of(&other);
    outcome.assert_failed("BuildFailed", "platform mismatch");
    assert!(
        outcome.result["error"]
            .as_str()
            .unwrap()
            .contains("the build failed"),
        "{}",
        outcome.result
    );
    Outcome::of(&Flake::derivation("__noChroot = true;", "echo > $out"))
        .assert_failed("BuildFailed", "__noChroot");
    let deep = "#include <stdlib.h>\n#include <sys/stat.h>\n#include <unistd.h>\n\
        int main(void) { mkdir(getenv(\"out\"), 0777); chdir(getenv(\"out\"));\n\
        for (int i = 0; i < 300; i++) { mkdir(\"d\", 0777); chdir(\"d\"); } return 0; }";
    Outcome::of(&Flake::built_by(deep))
        .assert_failed("BuildFailed", "exceeds maximum NAR directory depth");
}

/// The daemon keeps a line in memory until the line ends.
#[test]
#[ignore = "needs nix"]
fn a_log_without_lines_has_an_end() {
    let endless = "#include <unistd.h>\nint main(void) { static char x[1 << 16]; while (write(2, x, sizeof x) > 0); return 0; }";
    Outcome::of(&Flake::built_by(endless))
        .assert_failed("BuildFailed", "killed after writing more than");
}

/// Each would make the result depend on the machine or on the time.
#[test]
#[ignore = "needs nix"]
fn evaluation_is_pure() {
    for (expression, says) in [
        (
            "builtins.readFile \"/etc/nix/nix.conf\"",
            "is forbidden in pure evaluation mode",
        ),
        (
            "builtins.readFile /etc/passwd",
            "is forbidden in pure evaluation mode",
        ),
        (
            "\"${/kettle/source}\"",
            "is forbidden in pure evaluation mode",
        ),
        (
            "toString builtins.currentTime",
            "attribute 'currentTime' missing",
        ),
        (
            "builtins.currentSystem",
            "attribute 'currentSystem' missing",
        ),
        (
            "builtins.fetchurl \"http://127.0.0.1:1/x\"",
            "in pure evaluation mode",
        ),
        (
            "builtins.fetchTarball \"http://127.0.0.1:1/x\"",
            "in pure evaluation mode",
        ),
        ("toString (import <nixpkgs> {})", "pure"),
        ("builtins.exec [ \"sh\" ]", "exec"),
        (
            "builtins.storePath \"/nix/store\"",
            "not allowed in pure evaluation mode",
        ),
        (
            "(builtins.getFlake \"path:/kettle/source\").outPath",
            "pure",
        ),
    ] {
        Outcome::of(&telling(expression)).assert_failed("BuildFailed", says);
    }
    let outcome = Outcome::of(&telling(
        "builtins.getEnv \"HOME\" + builtins.getEnv \"NIX_CONFIG\"",
    ));
    assert_eq!(outcome.bundle().artifacts()["package"], b"<>\n");
}

#[test]
#[ignore = "needs nix"]
fn nothing_is_fetched_while_a_flake_is_evaluated() {
    let hash = "0".repeat(52);
    let fetch =
        format!("builtins.fetchurl {{ url = \"http://127.0.0.1:1/x\"; sha256 = \"{hash}\"; }}");
    Outcome::of(&telling(&fetch)).assert_failed("BuildFailed", "unable to download");
}

#[test]
#[ignore = "needs nix"]
fn a_flake_that_imports_from_what_cannot_be_built_or_without_end_fails() {
    let inner = derivation("inner", "", "echo this is why; exit 1");
    Outcome::of(&telling(&format!("import {inner}"))).assert_failed("BuildFailed", "this is why");
    // Each import decides what the next one is.
    let next = derivation(
        "n-${toString n}",
        "value = toString (n + 1);",
        "echo $value > $out",
    );
    let endless = format!("let go = n: if n > 20 then \"done\" else go (import {next}); in go 0");
    Outcome::of(&telling(&endless)).assert_failed("BuildFailed", "more than 16 derivations");
}

/// The flake requests another cache, another key, no sandbox, a hook: all are ignored.
#[test]
#[ignore = "needs nix"]
fn the_flakes_own_configuration_is_not_accepted() {
    let settings = "sandbox = false; extra-substituters = [ \"http://127.0.0.1:1\" ]; require-sigs = false; \
                    post-build-hook = \"/bin/sh\"; allow-import-from-derivation = true; accept-flake-config = true;";
    let package = derivation("package", "", "echo made > $out");
    let flake = Flake::of(&format!(
        "{{ nixConfig = {{ {settings} }}; outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
    ));
    let outcome = Outcome::of(&flake);
    assert_eq!(outcome.bundle().artifacts()["package"], b"made\n");
    assert!(
        outcome
            .log
            .contains("ignoring untrusted flake configuration setting"),
        "{}",
        outcome.log
    );
    let inner = derivation("inner", "", "echo '\"made\"' > $out");
    let importing = derivation(
        "package",
        &format!("value = import {inner};"),
        "echo $value > $out",
    );
    let flake = Flake::of(&format!(
        "{{ nixConfig = {{ {settings} }}; outputs = {{ self }}: {{ packages.x86_64-linux.default = {importing}; }}; }}"
    ));
    // That is allowed, whatever a flake says.
    assert_eq!(
        Outcome::of(&flake).bundle().artifacts()["package"],
        b"made\n"
    );
}

#[test]
#[ignore = "needs nix"]
fn a_builder_that_never_ends_is_ended() {
    let endless = Flake::script("while :; do read -r -t 60 < /dev/zero || :; done");
    let outcome = Outcome::with(&endless, &["--build-seconds", "3"]);
    outcome.assert_failed("BuildTimeout", "took longer than 3 s");
}
