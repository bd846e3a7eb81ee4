//! Which room of the crate may import which? These rules are checked in its source text. The
//! compiler checks some of them when each binary is built with only its own feature; this test
//! states all of them, and fails for code that it cannot read.

#![allow(clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod tokens;

use tokens::tokens;

/// The items of this crate that a room may import beside itself: rooms, or single items of them.
enum Rule {
    Only(&'static [&'static str]),
    Never(&'static [&'static str]),
}

use Rule::{Never, Only};

/// The items that the client may import: of the room that takes sources in, only the hash of a
/// tree.
const CLIENT: [&str; 9] = [
    "bundle",
    "digest",
    "provenance",
    "source::tree::MAX_TREE_DEPTH",
    "source::tree::MAX_TREE_ENTRIES",
    "source::tree::Node",
    "source::tree::Tree",
    "source::tree::is_git",
    "tar_header",
];

/// One rule for each room; a room without a rule is a failure, so that somebody decides about a new
/// one.
const RULES: [(&str, Rule); 37] = [
    ("blocking", Only(&[])),
    ("causes", Only(&[])),
    ("clock", Only(&[])),
    ("crypto", Only(&[])),
    ("digest", Only(&[])),
    ("dsse", Only(&["crypto", "digest"])),
    ("error_type", Only(&[])),
    ("json", Only(&[])),
    ("memory", Only(&[])),
    ("name", Only(&[])),
    ("netlink", Only(&[])),
    ("presence", Only(&[])),
    ("sbom", Only(&["provenance"])),
    ("provenance", Only(&["digest"])),
    ("snp", Only(&[])),
    ("tar_header", Only(&[])),
    ("text", Only(&[])),
    // A program of its own.
    ("stub", Only(&[])),
    ("uki", Only(&["digest"])),
    (
        "web",
        Only(&[
            "bundle",
            "causes",
            "digest",
            "provenance",
            "snp",
            "verifier",
        ]),
    ),
    (
        "verifier",
        Only(&[
            "bundle",
            "causes",
            "crypto",
            "digest",
            "dsse",
            "json",
            "name",
            "provenance",
            "snp",
            "text",
        ]),
    ),
    (
        "bundle",
        Never(&["api", "attester", "boot", "job", "sandbox", "verifier"]),
    ),
    ("client", Only(&CLIENT)),
    ("kds", Only(&["client", "snp"])),
    // It shows the results of the verifier's parsers, and never those of its checks.
    (
        "inspect",
        Only(&["bundle", "digest", "provenance", "snp", "text", "verifier"]),
    ),
    (
        "sandbox",
        Only(&[
            "causes",
            "clock",
            "digest",
            "netlink",
            "presence",
            "provenance",
        ]),
    ),
    (
        "source",
        Only(&[
            "blocking",
            "digest",
            "name",
            "presence",
            "provenance",
            "sandbox",
            "tar_header",
            "text",
        ]),
    ),
    (
        "toolchain",
        Only(&[
            "blocking",
            "digest",
            "error_type",
            "json",
            "name",
            "presence",
            "provenance",
            "sandbox",
            "source",
            "tar_header",
        ]),
    ),
    ("attester", Only(&["digest", "provenance", "snp"])),
    ("job", Never(&["api", "boot", "verifier"])),
    ("api", Never(&["boot", "sandbox", "verifier"])),
    ("service", Never(&["boot", "verifier"])),
    (
        "boot",
        Never(&["api", "bundle", "job", "source", "toolchain", "verifier"]),
    ),
    (
        "simulator",
        Never(&[
            "api",
            "boot",
            "job",
            "sandbox",
            "source",
            "toolchain",
            "verifier",
        ]),
    ),
    ("bin/kettle-docs", Only(&[])),
    // The verifier's command knows nothing of the appliance.
    (
        SIMULATOR,
        Only(&["attester", "bundle", "causes", "simulator", "snp"]),
    ),
    (
        "bin/kettle",
        Only(&[
            "bundle",
            "causes",
            "client",
            "digest",
            "dsse",
            "inspect",
            "kds",
            "provenance",
            "snp",
            "uki",
            "verifier",
        ]),
    ),
];

/// The simulator's own command, which is built only with its feature.
const SIMULATOR: &str = "bin/kettle-simulator";

/// Binaries that see every room: they put the appliance together, in the image and on a host.
const ROOTS_OF_THE_APPLIANCE: [&str; 2] = ["bin/kettle-init", "bin/kettle-host"];

/// Files outside `sandbox` that may start a process, each with its reason.
const STARTERS: [(&str, &str); 7] = [
    (
        "src/bin/kettle/build/machine/libvirt.rs",
        "has virsh start a machine for a build, and keeps it until the machine is to end",
    ),
    (
        "src/bin/kettle/build/machine/program.rs",
        "has the user's own program start a machine for a build",
    ),
    (
        "src/bin/kettle/build/machine/qemu.rs",
        "starts QEMU, which is the machine of a build",
    ),
    (
        "src/bin/kettle/verify/summary.rs",
        "has the user's own program sign a summary, for keys that cannot be read",
    ),
    (
        "src/client/listing.rs",
        "asks the user's git which files of a directory `kettle build` sends",
    ),
    (
        "src/toolchain/search.rs",
        "asks the machine's rustc for its sysroot, once, before there is any source",
    ),
    (
        "src/bin/kettle-simulator/guest.rs",
        "starts the simulated device in a test machine, then the image's own PID 1",
    ),
];

/// Rooms that may know HTTP.
const SPEAKERS_OF_HTTP: [&str; 5] = ["api", "attester", "client", "kds", "bin/kettle"];

/// Names that show that code knows HTTP.
const HTTP: [&str; 6] = [
    "StatusCode",
    "http_body_util",
    "http_status",
    "httparse",
    "hyper",
    "hyper_util",
];

/// Constructors of receipts that are not in the file of the stage that makes the receipt, with the
/// files that call each. The other receipts have constructors that only their own room sees.
const MAKERS: [(&str, &[&str]); 3] = [
    ("Request::new", &["src/api/submission/mod.rs"]),
    ("Statement::new", &["src/job/record.rs"]),
    (
        "Evidence::about",
        &["src/attester/device.rs", "src/simulator/processor.rs"],
    ),
];

/// Constructors of receipts for tests, which no program calls.
const TEST_ONLY: [&str; 4] = [
    "Request::test_only_new",
    "SourceTree::test_only_from_directory",
    "SourceTree::test_only_of",
    "Evidence::test_only_unchecked",
];

/// The room whose modules take each other's receipts in the order of time, not of layers: the
/// settings of a machine are made before its root is mounted, and others after it. Their types
/// ensure that order.
const ROOM_OF_PHASES: &str = "boot";

/// Functions that start a process without `Command`.
const RAW_STARTERS: [&str; 6] = [
    "fork",
    "vfork",
    "clone3",
    "execve",
    "execveat",
    "posix_spawn",
];

#[test]
fn every_room_imports_only_what_its_rule_allows() {
    let files = sources();
    let rooms: BTreeSet<_> = files.iter().map(|file| file.room.clone()).collect();
    let found: Vec<_> = files
        .iter()
        .flat_map(|file| import_violations(file, &rooms))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_services_and_their_clients_know_http() {
    let found: Vec<_> = sources().iter().flat_map(http_violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn modules_of_a_room_do_not_import_in_a_circle() {
    let found = circles(&sources());
    assert!(
        found.is_empty(),
        "in circles, or between them: {}",
        found.join(", ")
    );
}

#[test]
fn names_of_bundles_and_paths_of_sandboxes_are_written_once() {
    let found: Vec<_> = sources().iter().flat_map(repeated_names).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_the_sandbox_starts_processes() {
    let found: Vec<_> = sources().iter().flat_map(process_violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_the_stage_makes_its_receipt() {
    let files = sources();
    for (constructor, makers) in MAKERS {
        let callers: Vec<_> = files
            .iter()
            .filter(|file| calls(file, constructor))
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(callers, makers, "{constructor}");
    }
    for constructor in TEST_ONLY {
        let caller = files.iter().find(|file| calls(file, constructor));
        let caller = caller.map(|file| &file.path);
        assert_eq!(caller, None, "{constructor} is for tests");
    }
}

/// Returns whether a file has a path that ends in `TYPE::FUNCTION`.
fn calls(file: &Source, function: &str) -> bool {
    let ends_in_it = |path: &PathUse| {
        path.segments
            .last_chunk::<2>()
            .is_some_and(|last| last.join("::") == function)
    };
    paths(&file.tokens).iter().any(ends_in_it)
}

#[test]
fn every_exception_is_still_needed() {
    for (path, reason) in STARTERS {
        let file = sources().into_iter().find(|file| file.path == path);
        let starts = file.is_some_and(|file| !starts_processes(&file).is_empty());
        assert!(
            starts,
            "{path} starts no process any more, its exception can go: {reason}"
        );
    }
}

/// One file of `src/`, as tokens, without its unit tests.
struct Source {
    path: String,
    room: String,
    /// The module's path within the crate: `["source", "archive"]`.
    module: Vec<String>,
    tokens: Vec<String>,
}

/// A path such as `crate::source::tree`, with the index of the first token of its statement.
struct PathUse {
    segments: Vec<String>,
    statement: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 10, "src/ was not found");
    files.sort();
    let read = |path: &PathBuf| {
        let relative = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        Source::new(&relative, &fs::read_to_string(path).unwrap())
    };
    files
        .iter()
        .map(read)
        .filter(|file| file.module.last().is_none_or(|name| name != "tests"))
        .collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if module
            .last()
            .is_some_and(|name| ["mod", "main"].contains(&name.as_str()))
        {
            module.pop();
        }
        let room = if module[0] == "bin" {
            module[..2].join("/")
        } else {
            module[0].clone()
        };
        Self {
            path: path.to_owned(),
            room,
            module,
            tokens: without_tests(tokens(text)),
        }
    }

    /// Returns the item that a path leads to, room first: `Err` when it uses the crate in a way
    /// that cannot be followed.
    fn target<'a>(&self, path: &'a PathUse) -> Result<Option<&'a [String]>, String> {
        let supers = path
            .segments
            .iter()
            .take_while(|segment| *segment == "super")
            .count();
        let (skip, absolute) = match path.segments[0].as_str() {
            "crate" => (1, true),
            "kettle" if self.room.starts_with("bin/") => (1, true),
            "super" if supers >= self.module.len() => (supers, false),
            _ => return Ok(None),
        };
        match path.segments.get(skip).map(String::as_str) {
            None | Some("*" | "self") if absolute => Err(format!(
                "{}: takes the crate as a whole: {}",
                self.path,
                path.segments.join("::")
            )),
            None => Ok(None),
            Some(_) => Ok(Some(&path.segments[skip..])),
        }
    }
}

fn import_violations(file: &Source, rooms: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    if file.room == "lib" {
        found.extend(ungated_simulator(file, "mod"));
        return found;
    }
    let rule = RULES.iter().find(|(room, _)| *room == file.room);
    if rule.is_none() && !ROOTS_OF_THE_APPLIANCE.contains(&file.room.as_str()) {
        found.push(format!(
            "{}: the room `{}` has no rule",
            file.path, file.room
        ));
    }
    for path in paths(&file.tokens) {
        let (item, target) = match file.target(&path) {
            Ok(None) => continue,
            Ok(Some(item)) => (item.join("::"), item[0].as_str()),
            Err(message) => {
                found.push(message);
                continue;
            }
        };
        let allowed = match rule {
            _ if target == file.room => true,
            Some((_, Only(list))) => list.contains(&target) || list.contains(&item.as_str()),
            Some((_, Never(list))) => !list.contains(&target) && rooms.contains(target),
            None => rooms.contains(target),
        };
        if !allowed && (rooms.contains(target) || path.segments[0] != "super") {
            found.push(format!(
                "{}: `{}` may not see `{item}`",
                file.path, file.room
            ));
        }
        if target == "simulator"
            && !["simulator", SIMULATOR].contains(&file.room.as_str())
            && !is_gated(&file.tokens, path.statement)
        {
            found.push(format!(
                "{}: sees `simulator` without its feature",
                file.path
            ));
        }
    }
    found
}

fn ungated_simulator(file: &Source, keyword: &str) -> Vec<String> {
    let declared =
        |index: &usize| file.tokens[*index] == keyword && file.tokens[index + 1] == "simulator";
    let found = (0..file.tokens.len().saturating_sub(1))
        .filter(declared)
        .find(|index| !is_gated(&file.tokens, *index));
    found
        .map(|_| format!("{}: declares `simulator` without its feature", file.path))
        .into_iter()
        .collect()
}

/// Returns whether the statement with the token at `index` is under `#[cfg(feature =
/// "simulator")]`.
fn is_gated(tokens: &[String], index: usize) -> bool {
    const GATE: [&str; 9] = [
        "#",
        "[",
        "cfg",
        "(",
        "feature",
        "=",
        "\"simulator\"",
        ")",
        "]",
    ];
    let start = tokens[..index]
        .iter()
        .rposition(|token| [";", "{", "}"].contains(&token.as_str()))
        .map_or(0, |i| i + 1);
    tokens[start..index]
        .windows(GATE.len())
        .any(|window| window == GATE)
}

fn process_violations(file: &Source) -> Vec<String> {
    if file.room == "sandbox" || STARTERS.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    starts_processes(file)
        .iter()
        .map(|path| format!("{}: may start a process: {path}", file.path))
        .collect()
}

/// Names that one file defines for all: the file, and the beginnings of its literals.
const NAMES: [(&str, &[&str]); 2] = [
    (
        "src/bundle/names.rs",
        &[
            "\"provenance.json\"",
            "\"provenance.sigstore.json\"",
            "\"sbom.cdx.json\"",
            "\"evidence.json\"",
            "\"build.log\"",
            "\"artifacts/",
            "\"build-config/",
        ],
    ),
    ("src/sandbox/paths.rs", &["\"/kettle/"]),
];

fn repeated_names(file: &Source) -> Vec<String> {
    let others = NAMES.iter().filter(|(owner, _)| *owner != file.path);
    let names: Vec<_> = others.flat_map(|(_, names)| names.iter()).collect();
    let is_repeated = |token: &&String| names.iter().any(|name| token.starts_with(**name));
    let found = file.tokens.iter().filter(is_repeated);
    found
        .map(|token| format!("{}: has a name of its own: {token}", file.path))
        .collect()
}

/// Modules by their paths, as far as imports between them need them.
struct Modules<'a> {
    files: BTreeMap<&'a [String], &'a Source>,
    uses: BTreeMap<&'a [String], Vec<PathUse>>,
}

impl<'a> Modules<'a> {
    fn new(files: &'a [Source]) -> Self {
        let by_path = files.iter().map(|file| (&file.module[..], file));
        let uses = files
            .iter()
            .map(|file| (&file.module[..], paths(&file.tokens)));
        Self {
            files: by_path.collect(),
            uses: uses.collect(),
        }
    }

    /// Returns a path of a module's text as it would be from the root of the crate, if it is one of
    /// ours.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let (base, rest) = match path.first()?.as_str() {
            "crate" | "kettle" => (&module[..0], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (
                &module[..module.len().checked_sub(supers)?],
                &path[supers..],
            ),
            child => {
                let child = [module, &[child.to_owned()]].concat();
                self.files.get(&child[..])?;
                (module, path)
            }
        };
        Some([base, rest].concat())
    }

    /// Returns the module with the item that an absolute path leads to, through re-exports.
    fn owner(&self, path: &[String], depth: usize) -> Option<&'a [String]> {
        let prefixes = (1..=path.len()).rev();
        let length = prefixes
            .into_iter()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, file) = self.files.get_key_value(&path[..length])?;
        let Some(name) = path.get(length).filter(|_| depth < 8) else {
            return Some(module);
        };
        let leads_on = |found: &&PathUse| {
            file.tokens[found.statement] == "use" && found.segments.last() == Some(name)
        };
        let further = self.uses[module].iter().find(leads_on).and_then(|found| {
            let target = self.absolute(module, &found.segments)?;
            if target == path[..=length] {
                return None;
            }
            self.owner(&[&target, &path[length + 1..]].concat(), depth + 1)
        });
        Some(further.unwrap_or(module))
    }

    /// Returns the modules of the same room that a module imports, without its parents and
    /// children.
    fn imports(&self, file: &'a Source) -> BTreeSet<&'a [String]> {
        let module = &file.module[..];
        let targets = self.uses[module].iter().filter_map(|found| {
            let target = self.absolute(module, &found.segments)?;
            self.owner(&target, 0)
        });
        targets
            .filter(|target| self.files[target].room == file.room)
            .filter(|target| !target.starts_with(module) && !module.starts_with(target))
            .collect()
    }
}

/// Returns the modules that import each other in a circle, directly or through others, and those
/// between two circles.
fn circles(files: &[Source]) -> Vec<String> {
    let modules = Modules::new(files);
    let mut left: BTreeMap<_, _> = files
        .iter()
        .filter(|file| file.room != ROOM_OF_PHASES)
        .map(|file| (&file.module[..], modules.imports(file)))
        .collect();
    loop {
        let before = left.len();
        let imported: BTreeSet<_> = left.values().flatten().copied().collect();
        left.retain(|module, _| imported.contains(module));
        let importing: BTreeSet<_> = left.keys().copied().collect();
        left.retain(|_, imports| !imports.is_disjoint(&importing));
        if left.len() == before {
            return left.keys().map(|module| module.join("/")).collect();
        }
    }
}

/// Returns the names of HTTP that a file uses and its room may not: packages and statuses, and in
/// the job also URL paths, and the macro by which documents become JSON.
fn http_violations(file: &Source) -> Vec<String> {
    if SPEAKERS_OF_HTTP.contains(&file.room.as_str()) {
        return Vec::new();
    }
    let is_job = file.room == "job";
    let of_http = |token: &&String| {
        HTTP.contains(&token.as_str())
            || (is_job && (token.as_str() == "Serialize" || token.starts_with("\"/")))
    };
    let found = file.tokens.iter().filter(of_http);
    found
        .map(|token| format!("{}: knows HTTP: {token}", file.path))
        .collect()
}

/// Returns the paths that can start a process. Importing a whole module of them counts.
fn starts_processes(file: &Source) -> Vec<String> {
    let starts = |path: &&PathUse| {
        let names: Vec<_> = path.segments.iter().map(String::as_str).collect();
        let last = names[names.len() - 1];
        match names.iter().position(|name| *name == "process") {
            Some(0) if names.len() == 1 => false,
            Some(_) if names[0] == "rustix" => false,
            Some(at) => {
                names[0] == "tokio"
                    || ["process", "self", "*"].contains(&last)
                    || names[at..].contains(&"Command")
            }
            None => names.len() > 1 && RAW_STARTERS.contains(&last),
        }
    };
    paths(&file.tokens)
        .iter()
        .filter(starts)
        .map(|path| path.segments.join("::"))
        .collect()
}

/// Returns every path: each leaf of a `use` tree, and each path with two segments or more
/// elsewhere.
fn paths(tokens: &[String]) -> Vec<PathUse> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let statement = index;
        if tokens[index] == "use" {
            let mut leaves = Vec::new();
            index = use_tree(tokens, index + 1, &[], &mut leaves);
            found.extend(leaves.into_iter().map(|segments| PathUse {
                segments,
                statement,
            }));
        } else if is_name(&tokens[index]) {
            let mut segments = vec![tokens[index].clone()];
            while tokens.get(index + 1).is_some_and(|token| token == "::")
                && tokens.get(index + 2).is_some_and(|token| is_name(token))
            {
                segments.push(tokens[index + 2].clone());
                index += 2;
            }
            if segments.len() > 1 {
                found.push(PathUse {
                    segments,
                    statement,
                });
            }
            index += 1;
        } else {
            index += 1;
        }
    }
    found
}

/// Reads one tree of a `use` declaration; returns the index after it. Renames are dropped.
fn use_tree(
    tokens: &[String],
    mut index: usize,
    prefix: &[String],
    leaves: &mut Vec<Vec<String>>,
) -> usize {
    let mut segments = prefix.to_vec();
    while index < tokens.len() {
        match tokens[index].as_str() {
            "{" => {
                index += 1;
                while index < tokens.len() && tokens[index] != "}" {
                    index = use_tree(tokens, index, &segments, leaves);
                    index += usize::from(tokens.get(index).is_some_and(|token| token == ","));
                }
                return index + 1;
            }
            "as" => index += 2,
            "," | "}" | ";" => break,
            "::" => index += 1,
            name => {
                segments.push(name.to_owned());
                index += 1;
            }
        }
    }
    leaves.push(segments);
    index
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Drops each `#[cfg(test)] mod … { … }`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const START: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let is_tests = tokens.len() > index + 9
            && tokens[index..index + 8] == START
            && tokens[index + 9] == "{";
        if is_tests {
            index = after_block(&tokens, index + 9);
        } else {
            kept.push(tokens[index].clone());
            index += 1;
        }
    }
    kept
}

/// Returns the index after the block that opens at `index`.
fn after_block(tokens: &[String], index: usize) -> usize {
    let mut depth = 0;
    for (offset, token) in tokens[index..].iter().enumerate() {
        depth += i32::from(token == "{") - i32::from(token == "}");
        if depth == 0 {
            return index + offset + 1;
        }
    }
    tokens.len()
}

mod scanner {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let rooms = RULES.iter().map(|(room, _)| (*room).to_owned()).collect();
        let file = Source::new(path, text);
        import_violations(&file, &rooms)
            .into_iter()
            .chain(process_violations(&file))
            .chain(http_violations(&file))
            .collect()
    }

    #[test]
    fn finds_every_way_to_break_a_rule() {
        for (path, text) in [
            ("src/verifier/tcb.rs", "use crate::job::Request;"),
            (
                "src/verifier/tcb.rs",
                "use crate::{bundle, api::{self, Route}};",
            ),
            (
                "src/verifier/tcb.rs",
                "pub(crate) use crate::toolchain as bundle;",
            ),
            (
                "src/verifier/tcb.rs",
                "fn f() { crate::source::tree::walk(\"\") }",
            ),
            ("src/verifier/tcb.rs", "use super::super::api::Route;"),
            ("src/verifier/mod.rs", "use super::api::Route;"),
            ("src/digest.rs", "use super::provenance::Nonce;"),
            ("src/verifier/tcb.rs", "use crate::*;"),
            ("src/verifier/tcb.rs", "use crate as everything;"),
            (
                "src/verifier/tcb.rs",
                "type T = crate /* here */ :: api\n::Route;",
            ),
            ("src/snp/report/mod.rs", "use crate::digest::Sha256Digest;"),
            ("src/boot/mod.rs", "use crate::toolchain::Kind;"),
            (
                "src/bin/kettle/main.rs",
                "use kettle::{api::serve, verifier};",
            ),
            (
                "src/attester/mod.rs",
                "const A: char = '\"'; use crate::api;",
            ),
            (
                "src/attester/mod.rs",
                "const A: &str = r#\"\"#; use crate::api;",
            ),
            (
                "src/attester/mod.rs",
                "fn f<'a>(x: &'a str) { crate::api::x('\\'') }",
            ),
            (
                "src/toolchain/error.rs",
                "use crate::job::{ErrorType, Request};",
            ),
            ("src/toolchain/error.rs", "use crate::job;"),
            ("src/new_room/mod.rs", ""),
            (
                "src/attester/mod.rs",
                "#[cfg(feature = \"appliance\")] use crate::simulator::Processor;",
            ),
            (
                "src/bin/kettle-init.rs",
                "#[cfg(feature = \"simulator\")] use std::fs; use kettle::simulator;",
            ),
            ("src/lib.rs", "pub mod simulator;"),
            (
                "src/toolchain/cargo.rs",
                "fn f() { std::process::Command::new(\"cargo\"); }",
            ),
            (
                "src/toolchain/cargo.rs",
                "use std::{io, process::{Command as C}};",
            ),
            ("src/toolchain/cargo.rs", "use std::process;"),
            ("src/toolchain/cargo.rs", "use std::process::*;"),
            ("src/source/git.rs", "use tokio::process as p;"),
            ("src/source/git.rs", "use tokio::{fs, process::Child};"),
            ("src/job/run.rs", "unsafe { libc::fork() }"),
            ("src/job/run.rs", "use hyper::header;"),
            ("src/job/outcome.rs", "use serde::Serialize;"),
            (
                "src/job/outcome.rs",
                "fn url(id: JobId) -> String { format!(\"/build/{id}\") }",
            ),
            (
                "src/error_type.rs",
                "impl ErrorType { fn http_status(self) -> u16 { 500 } }",
            ),
        ] {
            assert!(
                !violations(path, text).is_empty(),
                "not found in {path}: {text}"
            );
        }
    }

    #[test]
    fn finds_nothing_where_no_rule_is_broken() {
        for (path, text) in [
            (
                "src/verifier/tcb.rs",
                "use crate::{bundle::Bundle, snp::{self, Report}}; use super::Outcome;",
            ),
            (
                "src/verifier/tcb.rs",
                "// use crate::api;\n/* crate::job::x /* nested */ */ const A: &str = \"crate::api::x\";",
            ),
            (
                "src/verifier/tcb.rs",
                "#[cfg(test)]\nmod tests { use crate::api::Route; fn f() {} }",
            ),
            (
                "src/verifier/tcb.rs",
                "fn f() -> std::process::ExitCode { std::process::exit(1) }",
            ),
            (
                "src/toolchain/error.rs",
                "use crate::{error_type::ErrorType, source};",
            ),
            ("src/sandbox/runner.rs", "use std::process::Command;"),
            (
                "src/job/run.rs",
                "#[cfg(feature = \"simulator\")]\nuse crate::simulator::Processor;",
            ),
            (
                "src/lib.rs",
                "#[cfg(feature = \"simulator\")]\npub mod simulator;",
            ),
            (
                "src/job/record.rs",
                "fn f() { serde_json::to_value(sandbox) } // \"/build\"",
            ),
            (
                "src/api/mod.rs",
                "use rustix::process::Pid; fn f(process: u8) { g(process) }",
            ),
        ] {
            assert_eq!(
                violations(path, text),
                Vec::<String>::new(),
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn finds_circles_of_any_length_and_through_re_exports() {
        let circle = |files: &[(&str, &str)]| {
            let files: Vec<_> = files
                .iter()
                .map(|(path, text)| Source::new(path, text))
                .collect();
            circles(&files).join(" ")
        };
        let root = ("src/job/mod.rs", "mod a; mod b; mod c; pub use c::X;");
        let (a, b) = (
            ("src/job/a.rs", "use super::b::B;"),
            ("src/job/b.rs", "use crate::job::{log, X};"),
        );
        let c = ("src/job/c.rs", "fn f() -> super::a::A {}");
        assert_eq!(circle(&[root, a, b, c]), "job/a job/b job/c");
        let fine = ("src/job/c.rs", "use super::*; use crate::api::a::A;");
        assert_eq!(circle(&[root, a, b, fine]), "");
        let other = ("src/api/a.rs", "use crate::job::c::X;");
        assert_eq!(circle(&[root, a, b, fine, other]), "");
    }

    #[test]
    fn goes_on_after_a_test_module() {
        let text = "#[cfg(test)] mod tests { fn f() { if true {} } } use crate::api;";
        assert_eq!(violations("src/digest.rs", text).len(), 1);
    }
}
