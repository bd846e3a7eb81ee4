//! Does kettle-init contain only what PID 1 runs? Compiled as one crate, in which every item of the
//! library is private, it has no dead code; and `src/DEPENDENCIES.md` says how much there is of it,
//! by ring.

#![allow(clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program, and the one function of it that the root of the one crate calls.
const PROGRAM: &str = "src/bin/kettle-init.rs";
const ENTRY: &str = "\nfn main() -> ExitCode {";

/// The lints of the root of the one crate. A re-export adds no code, and a library has some that
/// its own program does not need.
const LINTS: &str = "#![deny(unused)]\n#![allow(unused_imports)]\n";

/// How many code lines a ring's number may be above the count.
const SLACK: usize = 200;

/// The layout that lines are counted in: rustfmt's own.
const DEFAULT_FORMAT: &str = "max_width=100,use_small_heuristics=Default";

#[test]
fn the_program_of_the_image_has_no_dead_code() {
    for features in ["appliance", "modules"] {
        let checked = OneCrate::new(features).check(features);
        assert!(
            checked.status.success(),
            "with the feature {features}:\n{}",
            errors(&checked)
        );
    }
}

#[test]
fn an_unused_public_item_of_the_library_is_found() {
    for (name, file, item) in [
        ("function", "digest.rs", "pub fn nobody_calls_this() {}"),
        (
            "method",
            "sandbox/runner.rs",
            "impl Runner { pub fn nobody_calls_this(&self) {} }",
        ),
        (
            "variant",
            "api/problem.rs",
            "pub enum Kind { NobodyMakesThis }",
        ),
    ] {
        let crate_with_it = OneCrate::new(name);
        crate_with_it.append(file, item);
        let checked = crate_with_it.check("appliance");
        let said = errors(&checked);
        assert!(
            !checked.status.success(),
            "an unused {name} in {file} is not found"
        );
        let named = said.contains("nobody_calls_this") || said.contains("`Kind` is never used");
        assert!(named && said.contains("never used"), "{file}: {said}");
    }
}

/// Phases of the boot, each with the receipt of another phase than the one before it, which has the
/// wrong type.
const PHASES_OUT_OF_ORDER: [&str; 5] = [
    "fn a_module_after_the_settings(kernel: &settings::HardenedKernel) { let _ = module::load_all(kernel); }",
    "fn a_disk_before_the_settings(files: &mounts::KernelFileSystems, parameters: &Parameters) {
        let _ = verity::find_disk(files, parameters);
    }",
    "fn a_root_that_nobody_verifies(disk: verity::Disk) { let _ = mounts::root(disk); }",
    "fn a_build_directory_in_the_initrd(mounted: mounts::MountedRoot) { let _ = mounts::writable_directories(mounted); }",
    "fn a_network_before_all_else(clock: settings::PlausibleClock) { let _ = PendingNetwork::start(clock); }",
];

#[test]
fn a_boot_phase_without_the_receipt_of_the_one_before_does_not_compile() {
    let crate_with_them = OneCrate::new("order");
    for phase in PHASES_OUT_OF_ORDER {
        crate_with_them.append("boot/mod.rs", phase);
    }
    let said = errors(&crate_with_them.check("modules"));
    let count = |wanted: &str| said.matches(wanted).count();
    let mismatches = count("src/boot/mod.rs") + count("error[E0308]");
    assert_eq!(mismatches, 2 * PHASES_OUT_OF_ORDER.len(), "{said}");
    assert_eq!(count("error["), PHASES_OUT_OF_ORDER.len(), "{said}");
}

#[test]
fn nothing_of_the_program_is_allowed_to_be_dead() {
    for path in compiled_files() {
        let text = fs::read_to_string(root().join("src").join(&path)).unwrap();
        let text: String = text.split_whitespace().collect();
        for lint in ["dead_code", "unused"] {
            let allowed = ["allow(", "expect("].map(|word| format!("{word}{lint}"));
            assert!(
                !allowed.iter().any(|word| text.contains(word)),
                "{path} allows {lint}"
            );
        }
    }
}

#[test]
fn the_table_by_ring_holds() {
    let rings = rings();
    let mut counted: BTreeMap<&str, usize> = rings.iter().map(|ring| (&*ring.number, 0)).collect();
    for path in compiled_files() {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let within = |place: &&(usize, &Ring)| place.0 > 0;
        let places = rings.iter().map(|ring| (ring.depth_of(module), ring));
        let (_, ring) = places
            .max_by_key(|place| place.0)
            .filter(|place| within(&place))
            .unwrap_or_else(|| panic!("src/{path} is in no ring of src/DEPENDENCIES.md"));
        *counted.get_mut(&*ring.number).unwrap() += code_lines(&path);
    }
    let wrong = |ring: &&Ring| {
        !(counted[&*ring.number]..=counted[&*ring.number] + SLACK).contains(&ring.lines)
    };
    let wrong: Vec<_> = rings
        .iter()
        .filter(wrong)
        .map(|ring| &ring.number)
        .collect();
    assert!(
        wrong.is_empty(),
        "rings {wrong:?} of src/DEPENDENCIES.md have other numbers of code lines: {counted:?}"
    );
}

/// The library and the program as the source of one crate, in its own directory.
struct OneCrate(PathBuf);

impl OneCrate {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("one-crate")
            .join(name);
        let _ = fs::remove_dir_all(&directory);
        copy(&root().join("src"), &directory.join("src"));
        fs::remove_dir_all(directory.join("src/bin")).unwrap();
        fs::remove_file(directory.join("src/lib.rs")).unwrap();
        fs::create_dir(directory.join(".cargo")).unwrap();
        fs::copy(
            root().join(".cargo/config.toml"),
            directory.join(".cargo/config.toml"),
        )
        .unwrap();
        // Cargo knows packages of several workspaces by their names alone: the same name, in one
        // target directory, is the same package, and one that was just checked is not checked
        // again.
        let renamed = |text: &str| {
            let line = "\nname = \"kettle\"\n";
            assert_eq!(text.matches(line).count(), 1, "{text}");
            text.replace(line, &format!("\nname = \"kettle-{name}\"\n"))
        };
        let lockfile = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        fs::write(directory.join("Cargo.lock"), renamed(&lockfile)).unwrap();
        fs::write(directory.join("Cargo.toml"), renamed(&manifest())).unwrap();
        fs::write(directory.join("src/main.rs"), main_file()).unwrap();
        fs::write(directory.join("src/program.rs"), program()).unwrap();
        Self(directory)
    }

    fn append(&self, file: &str, item: &str) {
        let path = self.0.join("src").join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}\n{item}\n")).unwrap();
    }

    /// Compiles it; uses the compiled dependencies of other checks of this repository.
    fn check(&self, features: &str) -> Output {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        Command::new(env!("CARGO"))
            .args([
                "check",
                "--quiet",
                "--locked",
                "--offline",
                "--message-format",
                "short",
            ])
            .args(["--no-default-features", "--features", features])
            .env("CARGO_TARGET_DIR", target)
            .current_dir(&self.0)
            .output()
            .unwrap()
    }
}

/// Returns the manifest with one program and without a library.
fn manifest() -> String {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let sections = text
        .split("\n[")
        .filter(|section| !section.starts_with("[bin]]"));
    let kept = sections.collect::<Vec<_>>().join("\n[");
    format!("{kept}\n[[bin]]\nname = \"kettle-init\"\npath = \"src/main.rs\"\n\n[workspace]\n")
}

/// Returns the library's root, with private modules and the program as one of them.
fn main_file() -> String {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let code: Vec<_> = library
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .collect();
    let code = code.join("\n");
    let private = code.replace("pub mod ", "mod ");
    assert!(
        !private.contains("pub "),
        "the library's root has more than modules: {private}"
    );
    format!(
        "//! kettle-init as one crate.\n{LINTS}{private}\nextern crate self as kettle;\nmod program;\n\
        fn main() -> std::process::ExitCode {{ program::main() }}\n"
    )
}

fn program() -> String {
    let text = fs::read_to_string(root().join(PROGRAM)).unwrap();
    assert_eq!(text.matches(ENTRY).count(), 1, "{PROGRAM} has no {ENTRY}");
    text.replace(ENTRY, &ENTRY.replace("fn main", "pub fn main"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One row of the table by ring.
struct Ring {
    number: String,
    lines: usize,
    modules: Vec<String>,
}

impl Ring {
    /// Returns how many parts of a module's path one of the ring's modules shares with it; zero if
    /// none contains it.
    fn depth_of(&self, module: &str) -> usize {
        let contains = |outer: &&String| Path::new(module).starts_with(outer.as_str());
        let depths = self
            .modules
            .iter()
            .filter(contains)
            .map(|outer| outer.split('/').count());
        depths.max().unwrap_or(0)
    }
}

fn rings() -> Vec<Ring> {
    let text = fs::read_to_string(root().join("src/DEPENDENCIES.md")).unwrap();
    let (_, rest) = text.split_once("\n## Ours, by ring\n").unwrap();
    let rows = rest
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| "));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let rows = rows.filter(|row| row[0].chars().all(|character| character.is_ascii_digit()));
    let ring = |row: Vec<&str>| Ring {
        number: row[0].to_owned(),
        lines: row[2].replace(',', "").parse().unwrap(),
        modules: row[4]
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect(),
    };
    let rings: Vec<_> = rows.map(ring).collect();
    assert_eq!(rings.len(), 3);
    rings
}

/// Returns the files below `src/` that are compiled into kettle-init: those that `lib.rs` leads to
/// with only its feature.
fn compiled_files() -> Vec<String> {
    let mut found = vec!["bin/kettle-init.rs".to_owned()];
    let mut open = vec!["lib.rs".to_owned()];
    while let Some(path) = open.pop() {
        let text = fs::read_to_string(root().join("src").join(&path)).unwrap();
        let directory = match path.as_str() {
            "lib.rs" => String::new(),
            other => {
                other
                    .trim_end_matches("mod.rs")
                    .trim_end_matches(".rs")
                    .trim_end_matches('/')
                    .to_owned()
                    + "/"
            }
        };
        let code = code_of(&text);
        for name in code
            .lines()
            .filter_map(|line| line.strip_suffix(';')?.split_once("mod "))
            .map(|(_, name)| name)
        {
            let places = [
                format!("{directory}{name}.rs"),
                format!("{directory}{name}/mod.rs"),
            ];
            let file = places
                .into_iter()
                .find(|place| root().join("src").join(place).exists());
            open.push(
                file.unwrap_or_else(|| panic!("{path} has a module {name} that is not found")),
            );
        }
        found.push(path);
    }
    assert!(found.len() > 100, "only {found:?}");
    found
}

/// Counts the code lines of a file in rustfmt's default layout, without comments, blank lines, and
/// items of tests and other features.
fn code_lines(path: &str) -> usize {
    let file = fs::File::open(root().join("src").join(path)).unwrap();
    let formatted = Command::new("rustfmt")
        .args([
            "--edition",
            "2024",
            "--quiet",
            "--emit",
            "stdout",
            "--config",
            DEFAULT_FORMAT,
        ])
        .stdin(file)
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("rustfmt, which scripts/setup --tests installs: {error}"));
    assert!(
        formatted.status.success(),
        "rustfmt does not read src/{path}"
    );
    code_of(&String::from_utf8(formatted.stdout).unwrap())
        .lines()
        .count()
}

/// Drops comments, blank lines, and every item under `#[cfg(test)]` or a feature that kettle-init
/// does not have.
fn code_of(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with("//") {
            continue;
        }
        if !is_foreign(trimmed) {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let ends = [
            format!("{indent}}}"),
            format!("{indent}}},"),
            format!("{indent}}};"),
            format!("{indent})"),
        ];
        let is_attribute = |line: &str| line.trim_start().starts_with(['#', '/']);
        let mut item = lines.find(|line| !is_attribute(line)).unwrap_or_default();
        // An item ends on its own line, or where a brace closes at its own depth.
        let is_last = |item: &str| {
            let at_this_depth = item
                .strip_prefix(indent)
                .is_some_and(|rest| !rest.starts_with(' '));
            ends.iter().any(|end| item == end) || item.ends_with([';', ',', '}']) && at_this_depth
        };
        while !is_last(item) {
            let Some(next) = lines.next() else { break };
            item = next;
        }
    }
    kept
}

/// Returns whether an attribute excludes the next item from kettle-init.
fn is_foreign(line: &str) -> bool {
    let Some(condition) = line.strip_prefix("#[cfg(") else {
        return false;
    };
    let condition = condition.trim_end_matches(")]");
    match condition {
        "feature = \"appliance\"" => false,
        other => !other.starts_with("not("),
    }
}

#[test]
fn code_of_tests_and_other_features_does_not_count() {
    let text = "#[cfg(feature = \"host\")]\nmod a;\n#[cfg(feature = \"appliance\")]\npub mod b;\n// c\n\nmod d;\n\
        #[cfg(test)]\nmod tests {\n    fn f() {\n    }\n}\nimpl E {\n    /// F.\n    #[cfg(feature = \"cli\")]\n    pub fn f() {\n\
        \x20       1\n    }\n    fn g() {}\n}\nenum H {\n    #[cfg(feature = \"host\")]\n    I {\n        j: u8,\n    },\n    K,\n}\n";
    let kept = "#[cfg(feature = \"appliance\")]\npub mod b;\nmod d;\nimpl E {\n    fn g() {}\n}\nenum H {\n    K,\n}\n";
    assert_eq!(code_of(text), kept);
    let mut child = Command::new("rustfmt")
        .arg("--check")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"mod d;\n").unwrap();
    assert!(child.wait().unwrap().success());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
