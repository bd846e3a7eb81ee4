//! What may a derivation request, and what may its outputs be?

use std::collections::BTreeMap;

use crate::appliance::Outcome;
use crate::flake::{Flake, derivation};

/// Returns a flake whose default package is this expression.
fn package(expression: &str) -> Flake {
    Flake::of(&format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {expression}; }}; }}"
    ))
}

/// Returns a builder in C whose output is at `out`.
fn building(statements: &str) -> Flake {
    Flake::built_by(&format!(
        "#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/stat.h>\n\
         #include <unistd.h>\nint main(void) {{ const char *out = getenv(\"out\"); {statements} return 0; }}"
    ))
}

/// Each would let the builder out of the sandbox, give it the daemon, or make its result something
/// that is not locked.
#[test]
#[ignore = "needs nix"]
fn forbidden_attributes_of_a_derivation_are_refused() {
    for (attributes, says) in [
        ("__impure = true;", "'impure-derivations' is disabled"),
        ("__contentAddressed = true;", "'ca-derivations' is disabled"),
        (
            "requiredSystemFeatures = [ \"recursive-nix\" ];",
            "recursive-nix",
        ),
        (
            "requiredSystemFeatures = [ \"kvm\" ];",
            "missing system features",
        ),
        ("requiredSystemFeatures = [ \"uid-range\" ];", "'uid-range'"),
        (
            "exportReferencesGraph = [ \"../../../tmp/graph\" self ];",
            "invalid file name",
        ),
        (
            "exportReferencesGraph = [ \"graph\" \"/nix/var/nix/db\" ];",
            "is not in the Nix store",
        ),
        (
            "allowedReferences = [ ]; source = self;",
            "is not allowed to refer to",
        ),
        (
            "outputs = [ \"out\" \"out\" ];",
            "duplicate derivation output",
        ),
        (
            "outputs = [ \"out\" \"../x\" ];",
            "contains illegal character",
        ),
    ] {
        Outcome::of(&Flake::derivation(attributes, "echo \"$source\" > $out"))
            .assert_failed("BuildFailed", says);
    }
    for name in [&"x".repeat(212), "../x", ".."] {
        let flake = package(&derivation(name, "", "echo > $out"));
        Outcome::of(&flake).assert_failed("BuildFailed", "invalid derivation name");
    }
}

/// Nix's own builders, and programs that are not in the store.
#[test]
#[ignore = "needs nix"]
fn only_builders_of_the_store_and_known_ones_run() {
    for (builder, says) in [
        ("builtin:exec", "unsupported builtin builder"),
        ("/usr/bin/env", "No such file or directory"),
        ("/kettle/source/flake.nix", "No such file or directory"),
        ("/proc/self/exe", "No such file or directory"),
    ] {
        let expression = format!(
            "derivation {{ name = \"package\"; system = \"x86_64-linux\"; builder = \"{builder}\"; }}"
        );
        Outcome::of(&package(&expression)).assert_failed("BuildFailed", says);
    }
}

/// Evaluations that would read, fetch or crash.
#[test]
#[ignore = "needs nix"]
fn an_evaluation_gets_at_nothing_by_the_rarer_ways_either() {
    for (expression, says) in [
        (
            "builtins.readFile \"/proc/self/environ\"",
            "is forbidden in pure evaluation mode",
        ),
        (
            "builtins.path { path = /kettle; name = \"x\"; }",
            "is forbidden in pure evaluation mode",
        ),
        (
            "builtins.readFile ./../../var/nix/db/db.sqlite",
            "is forbidden in pure evaluation mode",
        ),
        (
            "builtins.fetchGit \"file:///kettle/source\"",
            "in pure evaluation mode",
        ),
        (
            "(builtins.fetchTree { type = \"path\"; path = \"/etc\"; }).outPath",
            "in pure evaluation mode",
        ),
        (
            "builtins.fetchClosure { fromStore = \"http://127.0.0.1:1\"; fromPath = \"/nix/store/x\"; }",
            "fetchClosure",
        ),
        ("builtins.importNative ./x \"y\"", "importNative"),
        ("builtins.outputOf \"/nix/store/x.drv\" \"out\"", "outputOf"),
        (
            "builtins.appendContext \"x\" { \"/nix/var/nix/db\" = { path = true; }; }",
            "is not a store path",
        ),
        ("toString (let f = x: f x + 1; in f 0)", "stack overflow"),
    ] {
        let telling = derivation(
            "package",
            &format!("value = {expression};"),
            "echo \"$value\" > $out",
        );
        Outcome::of(&package(&telling)).assert_failed("BuildFailed", says);
    }
}

/// The expression takes more steps than any limit allows.
#[test]
#[ignore = "needs nix"]
fn an_evaluation_that_never_ends_is_ended() {
    let text = "builtins.concatStringsSep \"\" (builtins.genList (_: \"a\") 100)";
    let value = format!("value = toString (builtins.match \"(a*)*b\" ({text}));");
    let endless = package(&derivation("package", &value, "echo \"$value\" > $out"));
    Outcome::with(&endless, &["--build-seconds", "5"])
        .assert_failed("BuildTimeout", "took longer than 5 s");
}

/// Knowing the name of a path gives no access to it: a path without a dependency on it is not
/// there.
#[test]
#[ignore = "needs nix"]
fn a_builder_sees_no_path_that_it_does_not_depend_on() {
    let hidden = "hidden = builtins.unsafeDiscardStringContext \"${self}\";";
    let outcome = Outcome::of(&Flake::derivation(
        hidden,
        "read -r line < $hidden/flake.nix; echo \"$line\" > $out",
    ));
    outcome.assert_failed("BuildFailed", "No such file or directory");
}

#[test]
#[ignore = "needs nix"]
fn outputs_that_are_no_files_are_refused_and_links_stay_links() {
    for (statements, says) in [
        ("mkfifo(out, 0666);", "unsupported type"),
        (
            "mkdir(out, 0777); chdir(out); close(creat(\"a\\033[2J\\nb\", 0666));",
            "not printable ASCII",
        ),
        (
            "mkdir(out, 0777); chdir(out); close(creat(\"\\377\", 0666));",
            "its name is not UTF-8",
        ),
        ("", "failed to produce output path"),
    ] {
        Outcome::of(&building(statements)).assert_failed("BuildFailed", says);
    }
    Outcome::of(&building("mkdir(out, 0777);"))
        .assert_failed("NoArtifacts", "made no program or library");
    let outcome = Outcome::of(&building("symlink(\"/etc/passwd\", out);"));
    let bundle = outcome.bundle();
    let mut archive = tar::Archive::new(bundle.artifacts()["package.tar"]);
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().header().clone())
        .collect();
    assert!(
        entries
            .iter()
            .all(|it| it.entry_type().is_symlink() && it.size().unwrap() == 0),
        "{entries:?}"
    );
}

/// A new file could have from the beginning what `chmod` is refused.
#[test]
#[ignore = "needs nix"]
fn an_output_has_no_rights_and_no_time_of_its_own() {
    let outcome = Outcome::of(&building(
        "mkdir(out, 07777); chdir(out); umask(0); close(open(\"program\", O_CREAT | O_WRONLY, 06755)); symlink(\"x\", \"y\");",
    ));
    let bundle = outcome.bundle();
    let mut archive = tar::Archive::new(bundle.artifacts()["package.tar"]);
    let modes: BTreeMap<_, _> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.path().unwrap().display().to_string(),
                entry.header().mode().unwrap(),
            )
        })
        .collect();
    assert_eq!(modes["package/program"], 0o755, "{modes:?}");
    assert!(modes.values().all(|mode| mode & 0o7000 == 0), "{modes:?}");
}
