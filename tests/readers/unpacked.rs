//! The same bundles as directories: a bundle that is unpacked and packed again still has these
//! files, these modes, and nothing more.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use kettle::bundle::read::open;
use kettle::verifier::{Expectations, verify};
use rustix::fs::XattrFlags;

use super::archive::File;
use super::scene::{Scene, list_with_another_user};
use super::signed::{Signed, all, base};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes the files of a bundle with their modes under an umask.
fn unpack(bundle: &Signed, umask: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for File {
        path,
        executable,
        content,
    } in &bundle.files
    {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let mode = if *executable { 0o755 } else { 0o644 };
        set_mode(&path, mode & !umask);
    }
    directory
}

/// Returns the code of the first rejection; nothing for an accepted directory.
fn code(directory: &Path, expectations: &Expectations) -> &'static str {
    let result = verify(open(directory), expectations);
    let found = result
        .outcomes()
        .find_map(|(_, outcome)| outcome.rejection());
    assert_eq!(found.is_none(), result.is_accepted());
    found.map_or("", |rejection| rejection.code())
}

/// A change of the top directory, and the code that it is rejected with; none where it still
/// passes.
type Change<'a> = (&'static str, &'a dyn Fn(&Path), &'static str);

#[test]
fn bundles_accepted_as_archives_are_accepted_as_directories() {
    let expectations = Scene::good().expectations();
    for bundle in all() {
        for umask in [0o022, 0o077, 0] {
            let directory = unpack(&bundle, umask);
            assert_eq!(
                code(directory.path(), &expectations),
                "",
                "{}, umask {umask:03o}",
                bundle.what
            );
        }
    }
}

/// Sets an extended attribute.
fn give(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Rights of a program as the kernel takes them (`struct vfs_cap_data`, revision 2): raw sockets,
/// effective at once. The namespace of users in which a test without root gives them adds its root.
const RAW_SOCKETS: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Attributes that give a file more rights than its mode.
fn of_attributes() -> Vec<Change<'static>> {
    vec![
        (
            "a program that another user may read too",
            &|directory| {
                give(
                    &directory.join("artifacts/a-program"),
                    "system.posix_acl_access",
                    &list_with_another_user(),
                )
            },
            "bundle-attribute",
        ),
        (
            "a directory whose later files another user may read",
            &|directory| {
                give(
                    &directory.join("artifacts"),
                    "system.posix_acl_default",
                    &list_with_another_user(),
                )
            },
            "bundle-attribute",
        ),
        (
            "the top directory likewise",
            &|directory| {
                give(
                    directory,
                    "system.posix_acl_default",
                    &list_with_another_user(),
                )
            },
            "bundle-attribute",
        ),
        (
            "a note with an attribute without a meaning",
            &|directory| {
                give(
                    &directory.join("artifacts/note"),
                    "user.xdg.origin.url",
                    b"https://example.org/",
                )
            },
            "",
        ),
        (
            "a note that speaks to overlays",
            &|directory| {
                give(
                    &directory.join("artifacts/note"),
                    "user.overlay.metacopy",
                    b"",
                )
            },
            "bundle-attribute",
        ),
    ]
}

#[test]
fn a_program_with_rights_of_its_own_is_rejected() {
    let expectations = Scene::good().expectations();
    let bundle = base();
    let directory = unpack(&bundle, 0o022);
    let program = directory
        .path()
        .join(&bundle.top)
        .join("artifacts/a-program");
    assert_eq!(code(directory.path(), &expectations), "");
    give_rights(&program);
    assert_eq!(code(directory.path(), &expectations), "bundle-attribute");
    rustix::fs::removexattr(&program, "security.capability").unwrap();
    assert_eq!(code(directory.path(), &expectations), "");
}

/// Sets the rights; without root it does so as the root of a namespace, in which the kernel accepts
/// such rights too.
fn give_rights(program: &Path) {
    if rustix::process::geteuid().is_root() {
        return give(program, "security.capability", &RAW_SOCKETS);
    }
    let value = RAW_SOCKETS.map(|byte| format!("\\x{byte:02x}")).concat();
    let line = "import os, sys; os.setxattr(sys.argv[1], 'security.capability', eval(\"b'\" + sys.argv[2] + \"'\"))";
    let output = Command::new("unshare")
        .args(["-r", "python3", "-c", line])
        .arg(program)
        .arg(value)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_changed_directory_is_rejected() {
    let expectations = Scene::good().expectations();
    let bundle = base();
    let mode = |name: &'static str, mode: u32| {
        move |directory: &Path| set_mode(&directory.join(name), mode)
    };
    let (program, note) = ("artifacts/a-program", "artifacts/note");
    let changes: [Change<'_>; 21] = [
        ("nothing", &|_| {}, ""),
        (
            "a program without its bits",
            &mode(program, 0o644),
            "subject-mode",
        ),
        ("a note with them", &mode(note, 0o755), "subject-mode"),
        (
            "a note that others may execute",
            &mode(note, 0o645),
            "subject-mode",
        ),
        (
            "a program that its owner alone may execute",
            &mode(program, 0o700),
            "",
        ),
        (
            "a program with set-user-id",
            &mode(program, 0o4755),
            "bundle-file-mode",
        ),
        (
            "a program with set-group-id",
            &mode(program, 0o2755),
            "bundle-file-mode",
        ),
        (
            "a program with the sticky bit",
            &mode(program, 0o1755),
            "bundle-file-mode",
        ),
        (
            "a note with set-user-id",
            &mode(note, 0o4644),
            "bundle-file-mode",
        ),
        (
            "an executable log",
            &mode("build.log", 0o755),
            "bundle-file-mode",
        ),
        (
            "an executable lockfile",
            &mode("build-config/Cargo.lock", 0o755),
            "bundle-file-mode",
        ),
        (
            "an executable statement",
            &mode("provenance.json", 0o755),
            "bundle-file-mode",
        ),
        (
            "a directory with the sticky bit",
            &mode("artifacts", 0o1777),
            "",
        ),
        (
            "a link to a file",
            &|directory| {
                fs::rename(directory.join(note), directory.join("../note")).unwrap();
                symlink("../../note", directory.join(note)).unwrap();
            },
            "bundle-entry-kind",
        ),
        (
            "a link beside the files",
            &|directory| symlink("note", directory.join("artifacts/more")).unwrap(),
            "bundle-entry-kind",
        ),
        (
            "a file with a second name outside",
            &|directory| {
                fs::hard_link(
                    directory.join(note),
                    directory.parent().unwrap().with_extension("second"),
                )
                .unwrap();
            },
            "bundle-entry-kind",
        ),
        (
            "one more artifact",
            &|directory| fs::write(directory.join("artifacts/more"), "x").unwrap(),
            "artifact-unlisted",
        ),
        (
            "one more file",
            &|directory| fs::write(directory.join("more"), "x").unwrap(),
            "bundle-unexpected-file",
        ),
        (
            "an empty directory",
            &|directory| fs::create_dir(directory.join("artifacts/empty")).unwrap(),
            "bundle-unexpected-file",
        ),
        (
            "empty directories",
            &|directory| fs::create_dir_all(directory.join("a/b/c")).unwrap(),
            "bundle-unexpected-file",
        ),
        (
            "a missing note",
            &|directory| fs::remove_file(directory.join(note)).unwrap(),
            "subject-missing",
        ),
    ];
    for (what, change, expected) in changes.into_iter().chain(of_attributes()) {
        let directory = unpack(&bundle, 0o022);
        change(&directory.path().join(&bundle.top));
        // The top directory by itself: a change may have put something beside it.
        assert_eq!(
            code(&directory.path().join(&bundle.top), &expectations),
            expected,
            "{what}"
        );
        let _ = fs::remove_file(directory.path().with_extension("second"));
    }
}
