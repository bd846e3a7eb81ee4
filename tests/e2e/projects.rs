//! Small projects, each built twice by separate services.

use std::path::Path;

use crate::harness::{Bundle, Request, Server, crate_file, tar_of};

/// Builds twice, and asserts that the artifacts are the same, and described by the statement.
fn build_twice(archive: &[u8], name: &str) -> Bundle {
    let [first, second] = [(); 2].map(|()| {
        let answer = Server::start().run(&Request::form(archive, name));
        assert_eq!(
            answer.status,
            200,
            "{name}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        Bundle::read(&answer.body, 0)
    });
    first.assert_described();
    second.assert_described();
    assert!(
        first.artifacts() == second.artifacts(),
        "{name}: the artifacts differ"
    );
    first
}

fn project(name: &str) -> Vec<u8> {
    tar_of(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/projects")
            .join(name),
    )
}

fn names(bundle: &Bundle) -> Vec<&str> {
    bundle.artifacts().into_keys().collect()
}

#[test]
fn a_workspace_gives_its_programs_and_c_libraries() {
    let bundle = build_twice(&project("workspace"), "workspace.tar");
    assert_eq!(bundle.top, "workspace");
    assert_eq!(
        names(&bundle),
        ["first-tool", "libcapi.a", "libcapi.so", "second-tool"]
    );
}

#[test]
fn a_library_gives_its_package_and_rlib() {
    let bundle = build_twice(&project("library"), "library.tar");
    assert_eq!(
        names(&bundle),
        ["libsome_library.rlib", "some-library-1.2.3.crate"]
    );
}

/// A small program, with a lockfile in its package and a few dependencies.
#[test]
fn a_small_published_program_is_reproduced() {
    let bundle = build_twice(&crate_file("hexyl", "0.16.0"), "hexyl-0.16.0.crate");
    assert_eq!(names(&bundle), ["hexyl"]);
}

/// A program whose build script compiles C and assembly.
#[test]
fn a_published_program_with_c_in_it_is_reproduced() {
    let bundle = build_twice(&crate_file("b3sum", "1.5.5"), "b3sum-1.5.5.crate");
    assert_eq!(names(&bundle), ["b3sum"]);
}
