//! Small projects that are made as real ones are: what each gives is what plain cargo gives, or a
//! refusal that says why. The names' beginnings are kinds: build scripts (`b`), configuration
//! (`cfg`), lockfiles (`l`), reproducibility (`rep`), sources (`s`), toolchains (`tc`), targets
//! and workspaces (`w`).

use crate::build_with_log;
use crate::harness::package;

/// What a project gives.
enum Outcome {
    /// These artifacts, and texts of the log.
    Makes(&'static [&'static str], &'static [&'static str]),
    /// A failure of this type, and texts of its error.
    Fails(&'static str, &'static [&'static str]),
}

use Outcome::{Fails, Makes};

struct Row {
    name: &'static str,
    /// What it has beside a manifest and a lockfile, or instead of them.
    files: &'static [(&'static str, &'static str)],
    outcome: Outcome,
}

const ROWS: &[Row] = &[
    Row {
        name: "b-bash",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { let s = std::process::Command::new(\"bash\").args([\"-c\", \"echo hi\"]).status().expect(\"bash\"); assert!(s.success()); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-git-describe",
        files: &[
            (
                "build.rs",
                "fn main() { let o = std::process::Command::new(\"git\").args([\"describe\", \"--always\", \"--tags\"]).output().unwrap(); let v = String::from_utf8(o.stdout).unwrap(); println!(\"cargo::rustc-env=GIT_V={}\", v.trim()); assert!(o.status.success(), \"git describe failed: {}\", String::from_utf8_lossy(&o.stderr)); }\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"{}\", env!(\"GIT_V\")); }\n",
            ),
        ],
        outcome: Fails(
            "BuildFailed",
            &["git describe failed: fatal: not a git repository"],
        ),
    },
    Row {
        name: "b-home",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { let h = std::env::var(\"HOME\").unwrap(); std::fs::create_dir_all(format!(\"{h}/.cache/x\")).unwrap(); std::fs::write(format!(\"{h}/.cache/x/y\"), \"z\").unwrap(); std::fs::write(std::env::temp_dir().join(\"q\"), \"z\").unwrap(); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-hostname",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { for p in [\"hostname\", \"whoami\", \"date\", \"uname\", \"id\"] { let r = std::process::Command::new(p).output(); println!(\"cargo::warning={p}: {:?}\", r.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())); } for k in [\"USER\", \"LOGNAME\", \"TERM\", \"PWD\", \"HOME\", \"CARGO\", \"NUM_JOBS\", \"RUSTUP_TOOLCHAIN\"] { println!(\"cargo::warning={k}={:?}\", std::env::var(k)); } }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-nested-cargo",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { let c = std::env::var(\"CARGO\").unwrap(); let o = std::process::Command::new(c).args([\"metadata\", \"--format-version=1\", \"--no-deps\"]).output().unwrap(); assert!(o.status.success(), \"{}\", String::from_utf8_lossy(&o.stderr)); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-nested-wasm",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { let c = std::env::var(\"CARGO\").unwrap(); let o = std::process::Command::new(c).args([\"build\", \"--release\", \"--target=wasm32-unknown-unknown\", \"--manifest-path=w/Cargo.toml\", \"--target-dir\"]).arg(std::env::var(\"OUT_DIR\").unwrap()).output().unwrap(); assert!(o.status.success(), \"{}\", String::from_utf8_lossy(&o.stderr)); }\n",
            ),
            (
                "w/Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"w\"\nversion = \"0.1.0\"\n",
            ),
            (
                "w/Cargo.toml",
                "[package]\nname = \"w\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ncrate-type=[\"cdylib\"]\n[workspace]\n",
            ),
            (
                "w/src/lib.rs",
                "#[no_mangle] pub extern \"C\" fn f() -> u8 { 1 }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-net",
        files: &[
            MAIN,
            (
                "build.rs",
                "use std::net::ToSocketAddrs;\nfn main() { \"example.org:443\".to_socket_addrs().expect(\"download the model\"); }\n",
            ),
        ],
        outcome: Fails("BuildFailed", &["download the model"]),
    },
    Row {
        name: "b-rustfmt",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { let p = std::env::var(\"OUT_DIR\").unwrap() + \"/g.rs\"; std::fs::write(&p, \"pub fn f(){}\").unwrap(); let s = std::process::Command::new(\"rustfmt\").arg(&p).status().expect(\"rustfmt\"); assert!(s.success()); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-sleep",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { std::thread::sleep(std::time::Duration::from_secs(8)); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-target-dir",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() { let o = std::path::PathBuf::from(std::env::var(\"OUT_DIR\").unwrap()); let t = o.ancestors().nth(3).unwrap(); std::fs::write(t.join(\"extra.txt\"), \"x\").unwrap(); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "b-write-src",
        files: &[
            MAIN,
            (
                "build.rs",
                "fn main() -> Result<(), std::io::Error> { std::fs::create_dir_all(\"completions\")?; std::fs::write(\"completions/a.bash\", \"x\")?; Ok(()) }\n",
            ),
        ],
        outcome: Makes(&["package"], &["completions/a.bash"]),
    },
    Row {
        name: "b-write-src-gen",
        files: &[
            (
                "build.rs",
                "fn main() { std::fs::write(\"src/generated.rs\", \"pub const V: u8 = 1;\").unwrap(); }\n",
            ),
            (
                "src/main.rs",
                "mod generated;\nfn main() { println!(\"{}\", generated::V); }\n",
            ),
        ],
        outcome: Makes(&["package"], &["src/generated.rs"]),
    },
    Row {
        name: "cfg-buildstd",
        files: &[
            MAIN,
            (
                ".cargo/config.toml",
                "[unstable]\nbuild-std = [\"std\"]\n[build]\njobs = 2\nincremental = true\ntarget-dir = \"out\"\n[profile.release]\nlto = \"thin\"\n[alias]\nxtask = \"run --package xtask --\"\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "cfg-crtstatic",
        files: &[
            MAIN,
            (
                ".cargo/config.toml",
                "[target.x86_64-unknown-linux-gnu]\nrustflags = [\"-C\", \"target-feature=+crt-static\"]\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "cfg-linker-mold",
        files: &[
            MAIN,
            (
                ".cargo/config.toml",
                "[target.x86_64-unknown-linux-gnu]\nlinker = \"clang\"\nrustflags = [\"-C\", \"link-arg=-fuse-ld=mold\"]\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "cfg-mirror",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.19\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n",
            ),
            (
                ".cargo/config.toml",
                "[source.crates-io]\nreplace-with = \"mirror\"\n\n[source.mirror]\nregistry = \"sparse+https://mirror.example/index/\"\n\n[net]\ngit-fetch-with-cli = true\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "cfg-native",
        files: &[
            (
                ".cargo/config.toml",
                "[build]\nrustflags = [\"-C\", \"target-cpu=native\", \"--cfg\", \"tokio_unstable\"]\n",
            ),
            (
                "src/main.rs",
                "fn main() { if cfg!(tokio_unstable) { println!(\"hi\"); } }\n",
            ),
        ],
        outcome: Makes(&["package"], &["target-cpu=native"]),
    },
    Row {
        name: "cfg-target-musl",
        files: &[
            MAIN,
            (
                ".cargo/config.toml",
                "[build]\ntarget = \"x86_64-unknown-linux-musl\"\n",
            ),
        ],
        outcome: Fails(
            "UnsupportedToolchain",
            &[
                "x86_64-unknown-linux-musl",
                "there are: wasm32-unknown-unknown",
            ],
        ),
    },
    Row {
        name: "cfg-targetdir-env",
        files: &[
            MAIN,
            (
                ".cargo/config.toml",
                "[build]\nrustc-wrapper = \"sccache\"\n[env]\nRUST_LOG = \"info\"\nSQLX_OFFLINE = \"true\"\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "cfg-workspace-dir",
        files: &[
            (
                ".cargo/config.toml",
                "[env]\nCARGO_WORKSPACE_DIR = { value = \"\", relative = true }\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"{}\", env!(\"CARGO_WORKSPACE_DIR\")); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "l-bom",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "\u{feff}version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "\u{feff}[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "l-conflict",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n<<<<<<< HEAD\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n=======\n[[package]]\nname = \"package\"\nversion = \"0.1.1\"\n>>>>>>> b\n",
            ),
        ],
        outcome: Fails(
            "LockfileMismatch",
            &["the lockfile is not what cargo writes"],
        ),
    },
    Row {
        name: "l-crlf",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\r\n\r\n[[package]]\r\nname = \"package\"\r\nversion = \"0.1.0\"\r\n",
            ),
            (
                "Cargo.toml",
                "[package]\r\nname = \"package\"\r\nversion = \"0.1.0\"\r\nedition = \"2021\"\r\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "l-empty",
        files: &[MAIN, ("Cargo.lock", "")],
        outcome: Fails("LockfileMismatch", &["cargo would have to change it"]),
    },
    Row {
        name: "l-flake-too",
        files: &[
            MAIN,
            (
                "flake.lock",
                "{\"nodes\":{\"root\":{}},\"root\":\"root\",\"version\":7}\n",
            ),
            ("flake.nix", "{ outputs = _: {}; }\n"),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "l-lock-symlink",
        files: &[
            MAIN,
            ("Cargo.lock", "-> x/Cargo.lock"),
            (
                "x/Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n",
            ),
        ],
        outcome: Fails(
            "LockfileMissing",
            &["Cargo.lock is a symbolic link", "path can be \"x\""],
        ),
    },
    Row {
        name: "l-outdated",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n",
            ),
        ],
        outcome: Fails("LockfileMismatch", &["cargo would have to change it"]),
    },
    Row {
        name: "l-patch-path",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.99\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n[patch.crates-io]\nitoa = { path = \"itoa\" }\n",
            ),
            (
                "itoa/Cargo.toml",
                "[package]\nname = \"itoa\"\nversion = \"1.0.99\"\nedition = \"2021\"\n",
            ),
            ("itoa/src/lib.rs", ""),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "l-unusedpatch",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.19\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4\"\n\n[[patch.unused]]\nname = \"ryu\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n[patch.crates-io]\nryu = { path = \"ryu\" }\n",
            ),
            (
                "ryu/Cargo.toml",
                "[package]\nname = \"ryu\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("ryu/src/lib.rs", ""),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "l-v5",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 5\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n",
            ),
        ],
        outcome: Fails("LockfileMismatch", &["version 5"]),
    },
    Row {
        name: "l-version-bump",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.2.0\"\nedition = \"2021\"\n",
            ),
        ],
        outcome: Fails("LockfileMismatch", &["cargo would have to change it"]),
    },
    Row {
        name: "l-wrongsum",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.15\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.15\"\n",
            ),
        ],
        outcome: Fails("LockfileMismatch", &["a dependency's checksum"]),
    },
    Row {
        name: "l-yanked-missing",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.9999\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"3bd1574e617a9a6c1f8f8181bd7e841e1f20e4277607ef28945765188d6284d4\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.9999\"\n",
            ),
        ],
        outcome: Fails("LockfileMismatch", &["cargo would have to change it"]),
    },
    Row {
        name: "rep-buildid",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[profile.release]\ndebug = true\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "rep-cpuinfo",
        files: &[
            (
                "build.rs",
                "fn main() { let c = std::fs::read_to_string(\"/proc/cpuinfo\").map(|c| c.lines().find(|l| l.starts_with(\"model name\")).unwrap_or(\"\").to_owned()).unwrap_or_default(); let v = std::fs::read_to_string(\"/proc/version\").unwrap_or_default(); let h = std::fs::read_to_string(\"/proc/sys/kernel/hostname\").unwrap_or_default(); println!(\"cargo::rustc-env=C={} {} {}\", c.trim(), v.trim(), h.trim()); }\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"{}\", env!(\"C\")); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "rep-date",
        files: &[
            (
                "build.rs",
                "fn main() { let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(); println!(\"cargo::rustc-env=T={t}\"); }\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"built {}\", env!(\"T\")); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "rep-numjobs",
        files: &[
            (
                "build.rs",
                "fn main() { println!(\"cargo::rustc-env=NJ={}\", std::env::var(\"NUM_JOBS\").unwrap()); }\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"jobs {}\", env!(\"NJ\")); }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "s-outside-path-dep",
        files: &[
            MAIN,
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"other\",\n]\n\n[[package]]\nname = \"other\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nother = { path = \"../other\" }\n",
            ),
        ],
        outcome: Fails("BuildFailed", &["/kettle/other/Cargo.toml"]),
    },
    Row {
        name: "s-symlink-src",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"2\"\nmembers = [\"a\", \"b\"]\n",
            ),
            (
                "a/Cargo.toml",
                "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("a/src/c.rs", "-> ../../shared/c.rs"),
            ("a/src/main.rs", "mod c;\nfn main() { c::c() }\n"),
            (
                "b/Cargo.toml",
                "[package]\nname = \"b\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("b/src/c.rs", "-> ../../shared/c.rs"),
            ("b/src/main.rs", "mod c;\nfn main() { c::c() }\n"),
            ("shared/c.rs", "pub fn c() {}\n"),
        ],
        outcome: Makes(&["a", "b"], &[]),
    },
    Row {
        name: "tc-msrv-new",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\nrust-version = \"1.99\"\n",
            ),
        ],
        outcome: Fails("BuildFailed", &["requires rustc 1.99"]),
    },
    Row {
        name: "tc-nightly",
        files: &[
            (
                "rust-toolchain.toml",
                "[toolchain]\nchannel = \"nightly-2026-01-01\"\n",
            ),
            (
                "src/main.rs",
                "#![feature(never_type)]\nfn main() { let _x: Option<!> = None; }\n",
            ),
        ],
        outcome: Fails("BuildFailed", &["E0554"]),
    },
    Row {
        name: "tc-pinned-old",
        files: &[MAIN, ("rust-toolchain", "1.75.0\n")],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "tc-targets-wasm",
        files: &[
            MAIN,
            (
                "rust-toolchain.toml",
                "[toolchain]\nchannel = \"stable\"\ntargets = [\"wasm32-unknown-unknown\"]\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "w-cargo-features",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "cargo-features = [\"codegen-backend\"]\n[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "w-cdylib-bin",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"my-lib\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"my-lib\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ncrate-type = [\"cdylib\", \"rlib\", \"staticlib\"]\n[[bin]]\nname = \"my-bin\"\npath = \"src/bin.rs\"\n",
            ),
            ("src/bin.rs", "fn main() { println!(\"hi\"); }\n"),
            ("src/lib.rs", "#[no_mangle] pub extern \"C\" fn f() {}\n"),
        ],
        outcome: Makes(&["libmy_lib.a", "libmy_lib.so", "my-bin"], &[]),
    },
    Row {
        name: "w-dist-profile",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[profile.dist]\ninherits = \"release\"\nlto = true\nstrip = true\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "w-dotbin",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[[bin]]\nname = \"my.tool\"\npath = \"src/main.rs\"\n",
            ),
        ],
        outcome: Fails("BuildFailed", &["invalid character '.' in crate name"]),
    },
    Row {
        name: "w-dylib",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"dy\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"dy\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ncrate-type = [\"dylib\"]\n",
            ),
            ("src/lib.rs", "pub fn f() {}\n"),
        ],
        outcome: Makes(&["libdy.so"], &[]),
    },
    Row {
        name: "w-ed2024",
        files: &[
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2024\"\nresolver = \"3\"\n",
            ),
            (
                "src/main.rs",
                "fn main() { let x = Some(1); if let Some(y) = x && y > 0 { println!(\"hi\"); } }\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "w-examples-only",
        files: &[
            ("examples/e.rs", "fn main() { println!(\"hi\"); }\n"),
            ("src/lib.rs", "pub fn f() {}\n"),
        ],
        outcome: Makes(&["libpackage.rlib", "package-0.1.0.crate"], &[]),
    },
    Row {
        name: "w-lib-members",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"aa\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"bb\"\nversion = \"0.1.0\"\ndependencies = [\n \"aa\",\n]\n",
            ),
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"2\"\nmembers = [\"a\", \"b\"]\n",
            ),
            (
                "a/Cargo.toml",
                "[package]\nname = \"aa\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("a/src/lib.rs", "pub fn f() {}\n"),
            (
                "b/Cargo.toml",
                "[package]\nname = \"bb\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\naa = { path = \"../a\" }\n",
            ),
            ("b/src/lib.rs", "pub fn g() { aa::f() }\n"),
        ],
        outcome: Makes(
            &["libaa.rlib", "libbb.rlib"],
            &["delivered without a .crate file"],
        ),
    },
    Row {
        name: "w-lib-version",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"kettle-aa-x\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"kettle-bb-x\"\nversion = \"0.1.0\"\ndependencies = [\n \"kettle-aa-x\",\n]\n",
            ),
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"2\"\nmembers = [\"a\", \"b\"]\n",
            ),
            (
                "a/Cargo.toml",
                "[package]\nname = \"kettle-aa-x\"\nversion = \"0.1.0\"\nedition = \"2021\"\nlicense = \"MIT\"\ndescription = \"d\"\n",
            ),
            ("a/src/lib.rs", "pub fn f() {}\n"),
            (
                "b/Cargo.toml",
                "[package]\nname = \"kettle-bb-x\"\nversion = \"0.1.0\"\nedition = \"2021\"\nlicense = \"MIT\"\ndescription = \"d\"\n[dependencies]\nkettle-aa-x = { path = \"../a\", version = \"0.1\" }\n",
            ),
            ("b/src/lib.rs", "pub fn g() { kettle_aa_x::f() }\n"),
        ],
        outcome: Makes(
            &["libkettle_aa_x.rlib", "libkettle_bb_x.rlib"],
            &["delivered without a .crate file"],
        ),
    },
    Row {
        name: "w-procmacro",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"pm\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"pm\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
            ),
            (
                "src/lib.rs",
                "#[proc_macro] pub fn x(i: proc_macro::TokenStream) -> proc_macro::TokenStream { i }\n",
            ),
        ],
        outcome: Makes(&["libpm.so", "pm-0.1.0.crate"], &[]),
    },
    Row {
        name: "w-readme-up",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"ll\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"2\"\nmembers = [\"l\"]\n",
            ),
            ("LICENSE", "x"),
            ("README.md", "x"),
            (
                "l/Cargo.toml",
                "[package]\nname = \"ll\"\nversion = \"0.1.0\"\nedition = \"2021\"\nreadme = \"../README.md\"\nlicense-file = \"../LICENSE\"\n",
            ),
            ("l/LICENSE", "../LICENSE"),
            ("l/src/lib.rs", "pub fn f() {}\n"),
        ],
        outcome: Makes(&["libll.rlib", "ll-0.1.0.crate"], &[]),
    },
    Row {
        name: "w-reqfeat-lib",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[features]\ncli = []\n[[bin]]\nname = \"tool\"\npath = \"src/main.rs\"\nrequired-features = [\"cli\"]\n[lib]\npath=\"src/lib.rs\"\n",
            ),
            ("src/lib.rs", "pub fn f() {}\n"),
        ],
        outcome: Makes(
            &["libpackage.rlib", "package-0.1.0.crate"],
            &["tool needs cli"],
        ),
    },
    Row {
        name: "w-required-features",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[features]\ncli = []\n[[bin]]\nname = \"tool\"\npath = \"src/main.rs\"\nrequired-features = [\"cli\"]\n",
            ),
        ],
        outcome: Fails("NoArtifacts", &["tool needs cli"]),
    },
    Row {
        name: "w-root-lib-bin-member",
        files: &[
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"cli\"\nversion = \"0.1.0\"\ndependencies = [\n \"root\",\n]\n\n[[package]]\nname = \"root\"\nversion = \"0.1.0\"\n",
            ),
            (
                "Cargo.toml",
                "[package]\nname = \"root\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n[workspace]\nmembers = [\"cli\"]\n",
            ),
            (
                "cli/Cargo.toml",
                "[package]\nname = \"cli\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nroot = { path = \"..\" }\n",
            ),
            ("cli/src/main.rs", "fn main() { root::f() }\n"),
            ("src/lib.rs", "pub fn f() {}\n"),
        ],
        outcome: Makes(
            &["libroot.rlib", "root-0.1.0.crate"],
            &["program cli of package cli (choose with package)"],
        ),
    },
    Row {
        name: "w-split-debug",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[profile.release]\ndebug = true\nsplit-debuginfo = \"packed\"\n",
            ),
        ],
        outcome: Makes(&["package"], &[]),
    },
    Row {
        name: "w-unicode-bin",
        files: &[
            MAIN,
            (
                "Cargo.toml",
                "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[[bin]]\nname = \"größe\"\npath = \"src/main.rs\"\n",
            ),
        ],
        outcome: Fails("BuildFailed", &["not printable ASCII"]),
    },
];

/// A program, for the projects that differ elsewhere.
const MAIN: (&str, &str) = ("src/main.rs", "fn main() { println!(\"hi\"); }\n");

impl Row {
    fn kind(&self) -> &str {
        self.name.split('-').next().unwrap()
    }

    /// Returns how the outcome differs, if it does.
    fn difference(&self) -> Option<String> {
        let (result, bundle, log) = build_with_log(&package(self.files));
        let artifacts = bundle
            .as_ref()
            .map(|bundle| bundle.artifacts().into_keys().collect::<Vec<_>>());
        let text = |member: &str| result[member].as_str().unwrap_or_default().to_owned();
        let (said, is_so, wanted) = match &self.outcome {
            Makes(names, said) => (log.clone(), artifacts.as_deref() == Some(names), said),
            Fails(kind, said) => (text("error"), text("error_type") == *kind, said),
        };
        let is_said = wanted.iter().all(|text| said.contains(text));
        (!is_so || !is_said).then(|| format!("{}: {artifacts:?} {result:#}\n{log}", self.name))
    }
}

fn check(kind: &str) {
    let all = std::env::var_os("KETTLE_ALL").is_some();
    let rows = ROWS.iter().filter(|row| row.kind() == kind);
    let rows: Vec<_> = rows.take(if all { usize::MAX } else { 1 }).collect();
    assert!(!rows.is_empty());
    let different: Vec<_> = rows.iter().filter_map(|row| row.difference()).collect();
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

macro_rules! kinds {
    ($($name:ident: $kind:literal),+ $(,)?) => {$(
        #[test]
        #[ignore = "needs root, and the root of a built image"]
        fn $name() {
            check($kind);
        }
    )+};
}

kinds! {
    build_scripts_do_what_they_do_under_cargo: "b",
    configuration_is_taken_or_left_with_a_word: "cfg",
    lockfiles_are_read_as_cargo_reads_them: "l",
    what_a_machine_brings_into_a_program_is_said: "rep",
    sources_are_whole: "s",
    toolchains_are_ours_or_refused: "tc",
    targets_are_found_and_handed_out: "w",
}
