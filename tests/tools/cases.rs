//! The table of cases without dependencies: what the build script of each does with its tool.

use crate::harness::package;

/// What each tool is asked for, in other words; every program has it.
pub const ANSWER: &str = "the answer is 42";

/// A package whose build script uses one tool.
pub struct Case {
    pub name: &'static str,
    /// The body of `build.rs`, after [`SHARED`]. Its value becomes a part of the program.
    script: &'static str,
    files: &'static [(&'static str, &'static str)],
}

impl Case {
    /// Returns the package as an archive.
    pub fn package(&self) -> Vec<u8> {
        let script = format!("{SHARED}fn answer() -> String {{\n{}\n}}\n", self.script);
        let files = [("build.rs", &*script), ("src/main.rs", MAIN)];
        let own = |name: &str| self.files.iter().any(|(it, _)| *it == name);
        let shared = files.into_iter().filter(|(name, _)| !own(name));
        package(&shared.chain(self.files.iter().copied()).collect::<Vec<_>>())
    }
}

/// The end of a build script, and functions for its body.
const SHARED: &str = r#"
use std::process::Command;

#[allow(dead_code)]
fn run(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect(words[0]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[allow(dead_code)]
fn out() -> String { std::env::var("OUT_DIR").unwrap() }

#[allow(dead_code)]
fn compile(source: &str) {
    let out = out();
    run(&format!("cc -c -O1 -fPIC -o {out}/answer.o {source}"));
    link();
}

#[allow(dead_code)]
fn link() {
    let out = out();
    run(&format!("ar crs {out}/libanswer.a {out}/answer.o"));
    println!("cargo:rustc-link-search=native={out}\ncargo:rustc-link-lib=static=answer");
}

fn main() { println!("cargo:rustc-env=ANSWER=the answer is {}", answer()); }
"#;

const MAIN: &str = "fn main() { println!(env!(\"ANSWER\")); }\n";

/// A program that calls C.
const CALLS: &str = "extern \"C\" { fn answer() -> i32; }
fn main() { println!(\"{} {}\", env!(\"ANSWER\"), unsafe { answer() }); }\n";

pub const CASES: [Case; 15] = [
    Case {
        name: "bash",
        script: "run(\"bash generate\")",
        files: &[("generate", "all=(4 2)\nprintf %s \"${all[@]}\"\n")],
    },
    Case {
        name: "bison",
        script: "let out = out(); run(&format!(\"bison -o {out}/a.c a.y\")); compile(&format!(\"{out}/a.c\")); \"42\".into()",
        files: &[
            ("src/main.rs", CALLS),
            (
                "a.y",
                "%{\nint yylex(void) { return 0; }\nvoid yyerror(const char *s) { (void)s; }\n%}\n%%\nall: ;\n%%\nint answer(void) { return 42 + yyparse(); }\n",
            ),
        ],
    },
    Case {
        name: "cmake",
        script: "let out = out(); run(&format!(\"cmake -S . -B {out}/b -DCMAKE_BUILD_TYPE=Release\"));
            run(&format!(\"cmake --build {out}/b\"));
            println!(\"cargo:rustc-link-search=native={out}/b\\ncargo:rustc-link-lib=static=answer\"); \"42\".into()",
        files: &[
            ("src/main.rs", CALLS),
            (
                "CMakeLists.txt",
                "cmake_minimum_required(VERSION 3.10)\nproject(a C)\nadd_library(answer STATIC a.c)\n",
            ),
            ("a.c", "int answer(void) { return 42; }\n"),
        ],
    },
    Case {
        name: "file",
        script: "assert_eq!(run(\"file --brief --mime-type Cargo.toml\"), \"text/plain\"); \"42\".into()",
        files: &[],
    },
    Case {
        name: "flex",
        script: "let out = out(); run(&format!(\"flex -o {out}/a.c a.l\")); compile(&format!(\"{out}/a.c\")); \"42\".into()",
        files: &[
            ("src/main.rs", CALLS),
            (
                "a.l",
                "%option noyywrap nounput noinput\n%%\n[0-9]+ return 42;\n%%\nint answer(void) { yy_scan_string(\"7\"); return yylex(); }\n",
            ),
        ],
    },
    Case {
        name: "libraries",
        script: LINK_LIBRARIES,
        files: &[("src/main.rs", CALLS), ("all.c", ALL_HEADERS)],
    },
    Case {
        name: "m4",
        script: "run(\"m4 -DSIX=6 a.m4\")",
        files: &[("a.m4", "eval(SIX * 7)\n")],
    },
    Case {
        name: "nasm",
        script: "let out = out(); run(&format!(\"nasm -f elf64 -o {out}/answer.o a.asm\")); link(); \"42\".into()",
        files: &[
            ("src/main.rs", CALLS),
            (
                "a.asm",
                "global answer\nsection .text\nanswer: mov eax, 42\nret\nsection .note.GNU-stack noalloc noexec nowrite progbits\n",
            ),
        ],
    },
    Case {
        name: "patch",
        script: "let out = out(); run(&format!(\"patch --output={out}/a a.txt a.diff\")); run(&format!(\"cat {out}/a\"))",
        files: &[
            ("a.txt", "41\n"),
            ("a.diff", "--- a.txt\n+++ a.txt\n@@ -1 +1 @@\n-41\n+42\n"),
        ],
    },
    Case {
        name: "protoc",
        script: "let out = out(); run(&format!(\"protoc --include_imports --descriptor_set_out={out}/a a.proto\"));
            let set = std::fs::read(format!(\"{out}/a\")).unwrap();
            assert!(set.windows(9).any(|part| part == b\"Timestamp\")); \"42\".into()",
        files: &[(
            "a.proto",
            "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; message A { google.protobuf.Timestamp t = 1; }\n",
        )],
    },
    Case {
        name: "python",
        script: "run(\"python3 generate.py\")",
        files: &[(
            "generate.py",
            "import ctypes, hashlib, json, platform, re, sqlite3, subprocess, sysconfig, zipfile\nprint(json.loads('[6]')[0] * 7)\n",
        )],
    },
    Case {
        name: "rustdoc",
        script: "let out = out(); let rustdoc = std::env::var(\"RUSTDOC\").unwrap();
            run(&format!(\"{rustdoc} --crate-type lib -o {out}/doc src/main.rs\"));
            assert!(std::path::Path::new(&format!(\"{out}/doc/main/index.html\")).exists()); \"42\".into()",
        files: &[("src/main.rs", "//! A page.\nfn main() { println!(\"{}\", option_env!(\"ANSWER\").unwrap_or_default()); }\n")],
    },
    Case {
        name: "rustfmt",
        script: "let path = format!(\"{}/a.rs\", out()); std::fs::write(&path, \"fn  a( ){}\").unwrap();
            run(&format!(\"rustfmt {path}\"));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), \"fn a() {}\\n\"); \"42\".into()",
        files: &[],
    },
    Case {
        name: "unzip",
        script: "let out = out(); run(&format!(\"python3 -m zipfile -c {out}/a.zip a.txt\"));
            run(&format!(\"unzip -p {out}/a.zip a.txt\"))",
        files: &[("a.txt", "42\n")],
    },
    Case {
        name: "wasm",
        script: "let (out, cargo) = (out(), std::env::var(\"CARGO\").unwrap());
            run(&format!(\"{cargo} build --release --offline --target wasm32-unknown-unknown --manifest-path nested/Cargo.toml --target-dir {out}/t\"));
            let made = std::fs::read(format!(\"{out}/t/wasm32-unknown-unknown/release/nested.wasm\")).unwrap();
            assert!(made.starts_with(b\"\\0asm\")); \"42\".into()",
        files: &[
            (
                "nested/Cargo.toml",
                "[package]\nname = \"nested\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n",
            ),
            (
                "nested/Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"nested\"\nversion = \"0.1.0\"\n",
            ),
            (
                "nested/src/lib.rs",
                "#[no_mangle] pub extern \"C\" fn answer() -> String { format!(\"{}\", 42) }\n",
            ),
        ],
    },
];

/// The names of the libraries that the case `libraries` links to, as they are loaded, sorted.
pub const LIBRARIES: [&str; 15] = [
    "libasound.so.2",
    "libcrypto.so.3",
    "libdbus-1.so.3",
    "libfontconfig.so.1",
    "libfreetype.so.6",
    "libmariadb.so.3",
    "libpq.so.5",
    "libsqlite3.so.0",
    "libssl.so.3",
    "libudev.so.1",
    "libxcb-render.so.0",
    "libxcb-shape.so.0",
    "libxcb-xfixes.so.0",
    "libxcb.so.1",
    "libz.so.1",
];

/// Compiles [`ALL_HEADERS`] with what pkg-config says, and links its libraries.
const LINK_LIBRARIES: &str = r#"
    let out = out();
    let packages = "alsa dbus-1 fontconfig freetype2 libpq libudev mysqlclient openssl sqlite3 xcb xcb-render xcb-shape xcb-xfixes zlib";
    let flags = run(&format!("pkg-config --cflags {packages}"));
    run(&format!("cc -c -O1 -fPIC {flags} -o {out}/answer.o all.c"));
    link();
    for library in run(&format!("pkg-config --libs-only-l {packages}")).split(' ') {
        println!("cargo:rustc-link-lib={}", library.trim_start_matches("-l"));
    }
    "42".into()
"#;

const ALL_HEADERS: &str = "\
#include <alsa/asoundlib.h>
#include <dbus/dbus.h>
#include <fontconfig/fontconfig.h>
#include <ft2build.h>
#include FT_FREETYPE_H
#include <libpq-fe.h>
#include <libudev.h>
#include <mysql.h>
#include <openssl/ssl.h>
#include <sqlite3.h>
#include <xcb/render.h>
#include <xcb/shape.h>
#include <xcb/xcb.h>
#include <xcb/xfixes.h>
#include <zlib.h>

static void *volatile functions[] = {
    snd_asoundlib_version, dbus_get_version, FcGetVersion, FT_Init_FreeType, PQlibVersion,
    udev_new, mysql_get_client_version, OpenSSL_version_num, TLS_method, sqlite3_libversion,
    &xcb_render_id, &xcb_shape_id, xcb_connect, &xcb_xfixes_id, zlibVersion, 0,
};

int answer(void) {
    int count = 0;
    while (functions[count]) count++;
    return count == 15 ? 42 : 0;
}
";
