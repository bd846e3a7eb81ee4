//! Which archives become a source tree, which are refused, and why? Every hostile archive is made
//! here, byte by byte.

#![cfg(feature = "appliance")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "archives/builder.rs"]
mod builder;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::{Tar, ZipEntry, crc, deflated, gzip, pax, stored, zip, zip_with};
use kettle::source::archive::{
    ArchiveError, Damage, MAX_EXTENDED_HEADER_BYTES, NameError, Refusal, unpack,
};
use kettle::source::{LinkError, Origin, SourceTree, tree};

fn try_unpack(bytes: &[u8]) -> (tempfile::TempDir, Result<SourceTree, ArchiveError>) {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::write(&archive, bytes).unwrap();
    let result = unpack(
        &archive,
        Some("upload.tar.gz"),
        &directory.path().join("tree"),
    );
    (directory, result)
}

fn good(bytes: &[u8]) -> (tempfile::TempDir, SourceTree) {
    let (directory, result) = try_unpack(bytes);
    (
        directory,
        result.unwrap_or_else(|error| panic!("refused: {error}")),
    )
}

// --- what is refused ---

type Expect = fn(&ArchiveError) -> bool;

macro_rules! because {
    ($pattern:pat $(if $guard:expr)?) => {
        |error: &ArchiveError| matches!(error, ArchiveError::Entry { reason: $pattern, .. } $(if $guard)?)
    };
}

macro_rules! damaged {
    ($pattern:pat) => {
        |error: &ArchiveError| matches!(error, ArchiveError::Damaged($pattern))
    };
}

fn hostile_tars() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let tar = |make: &dyn Fn(&mut Tar)| {
        let mut tar = Tar::new();
        tar.file("a/Cargo.lock", b"lock");
        make(&mut tar);
        tar.end()
    };
    let named = |name: &'static [u8]| tar(&|tar: &mut Tar| tar.raw_file(name, 0o644, b"x").done());
    let kind =
        |kind: u8| tar(&|tar: &mut Tar| tar.header(b"a/x", kind, 0o644, 0, b"a/Cargo.lock").done());
    let linked = |target: &'static str| tar(&|tar: &mut Tar| tar.link("a/x", target).done());
    let patched = |patches: &[(usize, &[u8])]| {
        tar(&|tar: &mut Tar| {
            tar.header(b"a/x", b'0', 0o644, 0, b"");
            patches
                .iter()
                .for_each(|(at, bytes)| tar.patch(*at, bytes).done());
        })
    };
    // A reader that does not know the extended name finds the name in the header itself.
    let two_sources = |extension: u8, own: &'static [u8], kind: u8| {
        let name: &[u8] = b"a/src/main.rs";
        let name = if extension == b'x' {
            pax("path", name)
        } else {
            name.to_vec()
        };
        tar(&|tar: &mut Tar| {
            tar.extended(extension, &name)
                .header(own, kind, 0o644, 0, b"")
                .done()
        })
    };
    let long = vec![b'x'; 1025];
    let mut unsigned = tar(&|_| {});
    unsigned[0] ^= 1;
    let mut second = tar(&|tar: &mut Tar| tar.file("a/b", b"x").done());
    second[1024] ^= 1;
    let whole = tar(&|_| {});
    vec![
        (
            "absolute name",
            named(b"/etc/passwd"),
            because!(Refusal::Name(NameError::Absolute)),
        ),
        (
            "parent",
            named(b"a/../../x"),
            because!(Refusal::Name(NameError::Parent)),
        ),
        (
            "parent at the end",
            named(b"a/.."),
            because!(Refusal::Name(NameError::Parent)),
        ),
        (
            "only parent",
            named(b".."),
            because!(Refusal::Name(NameError::Parent)),
        ),
        (
            "backslash",
            named(b"a\\..\\x"),
            because!(Refusal::Name(NameError::Backslash)),
        ),
        (
            "line break",
            named(b"a/x\ny"),
            because!(Refusal::Name(NameError::Control)),
        ),
        (
            "escape sequence",
            named(b"a/\x1b[2J"),
            because!(Refusal::Name(NameError::Control)),
        ),
        (
            "C1 control",
            named("a/\u{9b}x".as_bytes()),
            because!(Refusal::Name(NameError::Control)),
        ),
        (
            "not UTF-8",
            named(b"a/\xff"),
            because!(Refusal::Name(NameError::NotUtf8)),
        ),
        (
            "drive",
            named(b"C:x"),
            because!(Refusal::Name(NameError::Drive)),
        ),
        (
            "empty component",
            named(b"a//x"),
            because!(Refusal::Name(NameError::EmptyComponent)),
        ),
        (
            "dot component",
            named(b"a/./x"),
            because!(Refusal::Name(NameError::EmptyComponent)),
        ),
        (
            "two dots at the start",
            named(b"././x"),
            because!(Refusal::Name(NameError::EmptyComponent)),
        ),
        (
            "empty name",
            named(b""),
            because!(Refusal::Name(NameError::Empty)),
        ),
        (
            "file named as the root",
            named(b"."),
            because!(Refusal::NameAndType),
        ),
        (
            "file with a slash",
            named(b"a/x/"),
            because!(Refusal::NameAndType),
        ),
        (
            "NUL in a PAX name",
            tar(&|tar| {
                tar.extended(b'x', &pax("path", b"a/x\0y"))
                    .file("y", b"")
                    .done()
            }),
            because!(Refusal::Name(NameError::Control)),
        ),
        (
            "PAX parent",
            tar(&|tar| {
                tar.extended(b'x', &pax("path", b"../x"))
                    .file("y", b"")
                    .done()
            }),
            because!(Refusal::Name(NameError::Parent)),
        ),
        (
            "long GNU name",
            tar(&|tar| tar.extended(b'L', &long).file("y", b"").done()),
            because!(Refusal::Name(NameError::TooLong { size: 1025, .. })),
        ),
        (
            "long component",
            tar(&|tar| tar.extended(b'L', &long[..256]).file("y", b"").done()),
            because!(Refusal::Name(NameError::ComponentTooLong { size: 256, .. })),
        ),
        (
            "deep",
            tar(&|tar| tar.extended(b'L', &b"x/".repeat(65)).directory("y").done()),
            because!(Refusal::Name(NameError::TooDeep { depth: 65, .. })),
        ),
        ("hard link", kind(b'1'), because!(Refusal::HardLink)),
        ("character device", kind(b'3'), because!(Refusal::Device)),
        ("block device", kind(b'4'), because!(Refusal::Device)),
        ("FIFO", kind(b'6'), because!(Refusal::Fifo)),
        (
            "contiguous file",
            kind(b'7'),
            because!(Refusal::Type { code: 0x37 }),
        ),
        ("GNU sparse file", kind(b'S'), because!(Refusal::Sparse)),
        ("volume header", kind(b'V'), because!(Refusal::Type { .. })),
        (
            "PAX sparse file",
            tar(&|tar| {
                tar.extended(b'x', &pax("GNU.sparse.major", b"1"))
                    .file("y", b"")
                    .done()
            }),
            because!(Refusal::Sparse),
        ),
        (
            "absolute link",
            linked("/etc/passwd"),
            because!(Refusal::Link(LinkError::Absolute)),
        ),
        (
            "leaving link",
            linked("../../etc/passwd"),
            because!(Refusal::Link(LinkError::Leaves)),
        ),
        (
            "link out of the top directory",
            linked("../a/Cargo.lock"),
            because!(Refusal::Link(LinkError::Leaves)),
        ),
        (
            "dangling link",
            linked("nothing"),
            because!(Refusal::Link(LinkError::Dangles)),
        ),
        (
            "link through a file",
            linked("Cargo.lock/x"),
            because!(Refusal::Link(LinkError::Dangles)),
        ),
        (
            "link to itself",
            linked("x"),
            because!(Refusal::Link(LinkError::Loops { .. })),
        ),
        (
            "link to nothing",
            linked(""),
            because!(Refusal::Link(LinkError::TargetLength { size: 0, .. })),
        ),
        (
            "two links in a circle",
            tar(&|tar| tar.link("a/x", "y").link("a/y", "x").done()),
            because!(Refusal::Link(LinkError::Loops { .. })),
        ),
        (
            "leaving through another link",
            tar(&|tar| {
                tar.directory("a/b/c")
                    .link("a/in", "b/c")
                    .link("a/out", "in/../../../../x")
                    .done()
            }),
            because!(Refusal::Link(LinkError::Leaves)),
        ),
        (
            "link into .git",
            tar(&|tar| {
                tar.file("a/.git/config", b"x")
                    .link("a/x", ".git/config")
                    .done()
            }),
            because!(Refusal::Link(LinkError::Dangles)),
        ),
        (
            "leaving link in .git",
            tar(&|tar| tar.link("a/.git/x", "/etc").done()),
            because!(Refusal::Link(LinkError::Absolute)),
        ),
        (
            "entry below a link",
            tar(&|tar| {
                tar.directory("a/b")
                    .link("a/x", "b")
                    .file("a/x/y", b"")
                    .done()
            }),
            because!(Refusal::BelowLink),
        ),
        (
            "duplicate file",
            tar(&|tar| tar.file("a/Cargo.lock", b"").done()),
            because!(Refusal::Duplicate),
        ),
        (
            "duplicate by ./",
            tar(&|tar| tar.file("./a/Cargo.lock", b"").done()),
            because!(Refusal::Duplicate),
        ),
        (
            "duplicate directory",
            tar(&|tar| tar.directory("a/").directory("a").done()),
            because!(Refusal::Duplicate),
        ),
        (
            "duplicate in .git",
            tar(&|tar| tar.file("a/.git/x", b"").file("a/.git/x", b"").done()),
            because!(Refusal::Duplicate),
        ),
        (
            "link over a file",
            tar(&|tar| tar.link("a/Cargo.lock", "b").done()),
            because!(Refusal::Duplicate),
        ),
        (
            "file over a directory",
            tar(&|tar| tar.file("a", b"").done()),
            because!(Refusal::DirectoryConflict),
        ),
        (
            "directory over a file",
            tar(&|tar| tar.directory("a/Cargo.lock").done()),
            because!(Refusal::DirectoryConflict),
        ),
        (
            "entry below a file",
            tar(&|tar| tar.file("a/Cargo.lock/x", b"").done()),
            because!(Refusal::DirectoryConflict),
        ),
        (
            "directory with content",
            tar(&|tar| tar.header(b"a/b", b'5', 0o755, 3, b"").data(b"abc").done()),
            because!(Refusal::Content { size: 3 }),
        ),
        (
            "front of a path, under another magic",
            patched(&[(257, b"ustar\0\0\0"), (345, b"a/old")]),
            because!(Refusal::Ambiguous),
        ),
        (
            "times of GNU's",
            patched(&[(257, b"ustar  \0"), (345, b"00000000001\0")]),
            because!(Refusal::Ambiguous),
        ),
        (
            "size in base 64",
            patched(&[(124, b"+")]),
            because!(Refusal::Ambiguous),
        ),
        (
            "time that is no number",
            patched(&[(136, b"8")]),
            because!(Refusal::Ambiguous),
        ),
        (
            "extended header of a size in base 64",
            tar(&|tar| {
                tar.header(b"x", b'g', 0o644, 0, b"")
                    .patch(124, b"+")
                    .done()
            }),
            damaged!(Damage::ExtendedHeader),
        ),
        (
            "huge file",
            tar(&|tar| {
                tar.header(b"a/b", b'0', 0o644, 0o77_777_777_777, b"")
                    .done()
            }),
            because!(Refusal::FileTooLarge { .. }),
        ),
        (
            "PAX size beside another size",
            tar(&|tar| tar.extended(b'x', &pax("size", b"5")).file("y", b"").done()),
            because!(Refusal::Disagreement { field: "size" }),
        ),
        (
            "extended header of a gigabyte",
            tar(&|tar| tar.header(b"x", b'x', 0o644, 1 << 30, b"").done()),
            |error| {
                let limit = MAX_EXTENDED_HEADER_BYTES;
                matches!(error, ArchiveError::Damaged(damage) if *damage == Damage::ExtendedHeaderSize { size: 1 << 30, limit })
            },
        ),
        (
            "long name of a gigabyte",
            tar(&|tar| tar.header(b"x", b'L', 0o644, 1 << 30, b"").done()),
            damaged!(Damage::ExtendedHeaderSize { .. }),
        ),
        (
            "malformed PAX",
            tar(&|tar| tar.extended(b'x', b"99 path=x\n").file("y", b"").done()),
            damaged!(Damage::ExtendedHeader),
        ),
        (
            "PAX record without line end",
            tar(&|tar| tar.extended(b'x', b"9 path=xy").file("y", b"").done()),
            damaged!(Damage::ExtendedHeader),
        ),
        (
            "name given twice",
            tar(&|tar| {
                tar.extended(b'L', b"n\0")
                    .extended(b'x', &pax("path", b"m"))
                    .file("y", b"")
                    .done()
            }),
            damaged!(Damage::ExtendedHeader),
        ),
        (
            "extension of nothing",
            tar(&|tar| tar.extended(b'L', b"n\0").done()),
            damaged!(Damage::ExtendedHeader),
        ),
        (
            "global name",
            tar(&|tar| tar.extended(b'g', &pax("path", b"x")).file("y", b"").done()),
            damaged!(Damage::GlobalHeader),
        ),
        (
            "PAX name of a file that its own header calls a directory",
            two_sources(b'x', b"a/src/", 0),
            because!(Refusal::Ambiguous),
        ),
        (
            "the same as a regular file",
            two_sources(b'x', b"a/src/", b'0'),
            because!(Refusal::Ambiguous),
        ),
        (
            "GNU name of a file that its own header calls a directory",
            two_sources(b'L', b"a/src/", 0),
            because!(Refusal::Ambiguous),
        ),
        (
            "PAX name of a file of an old type",
            two_sources(b'x', b"a/src/m.rs", 0),
            because!(Refusal::Ambiguous),
        ),
        (
            "PAX name of a contiguous file",
            two_sources(b'x', b"pax", b'7'),
            because!(Refusal::Type { .. }),
        ),
        (
            "PAX name of a link that its own header calls a directory",
            two_sources(b'x', b"a/src/", b'2'),
            because!(Refusal::Ambiguous),
        ),
        (
            "holes as Solaris describes them",
            tar(&|tar| {
                tar.extended(b'x', &pax("SUN.holesdata", b"1"))
                    .file("y", b"")
                    .done()
            }),
            because!(Refusal::Sparse),
        ),
        (
            "holes as star describes them",
            tar(&|tar| {
                tar.extended(b'x', &pax("SCHILY.realsize", b"1"))
                    .file("y", b"")
                    .done()
            }),
            because!(Refusal::Sparse),
        ),
        (
            "a file of the old type that is called a directory",
            tar(&|tar| tar.header(b"a/src/", 0, 0o644, 0, b"").done()),
            |error| matches!(error, ArchiveError::Entry { .. }),
        ),
        ("wrong checksum at the start", unsigned, |error| {
            matches!(error, ArchiveError::UnknownFormat)
        }),
        (
            "wrong checksum later",
            second,
            damaged!(Damage::HeaderChecksum),
        ),
        (
            "no end",
            whole[..whole.len() - 1024].to_vec(),
            damaged!(Damage::Truncated),
        ),
        (
            "half an end",
            whole[..whole.len() - 512].to_vec(),
            damaged!(Damage::Truncated),
        ),
        (
            "cut in data",
            tar(&|tar| tar.file("a/b", &[1; 2000]).done())[..2000].to_vec(),
            because!(Refusal::Size { expected: 2000 }),
        ),
        (
            "bytes after the end",
            [whole.clone(), vec![0; 512], vec![1]].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "another archive after the end",
            [whole.clone(), whole.clone()].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "a file after one block of zeros",
            [&whole[..whole.len() - 1024], &[0; 512], &whole].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "a file after two blocks of zeros",
            [&whole[..whole.len() - 1024], &[0; 1024], &whole].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "gzip: another archive after the member",
            [gzip(&whole), gzip(&whole)].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "gzip: bytes after the member",
            [gzip(&whole), b"x".to_vec()].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "gzip: zeros after the member",
            [gzip(&whole), vec![0; 512]].concat(),
            damaged!(Damage::TrailingBytes),
        ),
        (
            "gzip: two members",
            [gzip(&whole[..512]), gzip(&whole[512..])].concat(),
            because!(Refusal::Size { .. }),
        ),
        ("gzip: cut", gzip(&whole)[..40].to_vec(), |error| {
            matches!(
                error,
                ArchiveError::Damaged(Damage::Truncated)
                    | ArchiveError::Entry {
                        reason: Refusal::Size { .. },
                        ..
                    }
            )
        }),
        (
            "gzip: cut checksum",
            gzip(&whole)[..gzip(&whole).len() - 4].to_vec(),
            damaged!(Damage::Truncated),
        ),
        (
            "gzip: wrong checksum",
            {
                let mut bytes = gzip(&whole);
                let at = bytes.len() - 8;
                bytes[at] ^= 1;
                bytes
            },
            damaged!(Damage::Compression),
        ),
        (
            "gzip: no tar inside",
            gzip(b"hello"),
            damaged!(Damage::Truncated),
        ),
        (
            "gzip: gzip inside",
            gzip(&gzip(&whole)),
            damaged!(Damage::Truncated | Damage::HeaderChecksum),
        ),
        (
            "bomb by ratio",
            gzip(&[whole.clone(), vec![0; 66 << 20]].concat()),
            |error| matches!(error, ArchiveError::Expansion { limit: 200, .. }),
        ),
        (
            "bomb by count of implied directories",
            tar(&|tar| {
                for at in 0..3400 {
                    let name = format!(".git/{at}/{}", "x/".repeat(61));
                    tar.extended(b'L', name.as_bytes()).directory("y");
                }
            }),
            |error| matches!(error, ArchiveError::TooManyEntries { .. }),
        ),
        (
            "only .git",
            {
                let mut tar = Tar::new();
                tar.file(".git/HEAD", b"x").end()
            },
            |error| matches!(error, ArchiveError::NoFiles),
        ),
        (
            "only directories",
            {
                let mut tar = Tar::new();
                tar.directory("a").end()
            },
            |error| matches!(error, ArchiveError::NoFiles),
        ),
        ("nothing", Vec::new(), |error| {
            matches!(error, ArchiveError::UnknownFormat)
        }),
        ("zeros", vec![0; 10240], |error| {
            matches!(error, ArchiveError::UnknownFormat)
        }),
        ("text", b"#!/bin/sh\n".repeat(100), |error| {
            matches!(error, ArchiveError::UnknownFormat)
        }),
        ("xz", b"\xfd7zXZ\0aaaaaaaaaaa".to_vec(), |error| {
            matches!(error, ArchiveError::UnknownFormat)
        }),
    ]
}

fn hostile_zips() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let lock = || stored("a/Cargo.lock", b"lock");
    let with = |entry: ZipEntry| zip(&[lock(), entry]);
    let mode = |mode: u32| {
        with(ZipEntry {
            mode,
            ..stored("a/x", b"")
        })
    };
    let content = b"some content, twice: some content";
    let whole = zip(&[lock()]);
    let mut spanned = whole.clone();
    let disk = spanned.len() - 18;
    spanned[disk] = 1;
    let mut counted = whole.clone();
    let count = counted.len() - 14;
    counted[count] = 2;
    counted[count + 2 - 4] = 2;
    vec![
        (
            "zip: absolute name",
            with(stored("/x", b"")),
            because!(Refusal::Name(NameError::Absolute)),
        ),
        (
            "zip: parent",
            with(stored("../x", b"")),
            because!(Refusal::Name(NameError::Parent)),
        ),
        (
            "zip: backslash",
            with(stored("..\\x", b"")),
            because!(Refusal::Name(NameError::Backslash)),
        ),
        (
            "zip: NUL",
            with(stored("a/x\0.rs", b"")),
            because!(Refusal::Name(NameError::Control)),
        ),
        (
            "zip: drive",
            with(stored("c:/x", b"")),
            because!(Refusal::Name(NameError::Drive)),
        ),
        (
            "zip: duplicate",
            with(stored("a/Cargo.lock", b"other")),
            because!(Refusal::Duplicate),
        ),
        (
            "zip: encrypted",
            with(ZipEntry {
                flags: 1,
                local_flags: 1,
                ..stored("a/x", b"")
            }),
            because!(Refusal::Encrypted),
        ),
        (
            "zip: masked headers",
            with(ZipEntry {
                flags: 1 << 13,
                ..stored("a/x", b"")
            }),
            because!(Refusal::Encrypted),
        ),
        (
            "zip: bzip2",
            with(ZipEntry {
                method: 12,
                ..stored("a/x", b"")
            }),
            because!(Refusal::Method { method: 12 }),
        ),
        ("zip: device", mode(0o020_666), because!(Refusal::Device)),
        ("zip: FIFO", mode(0o010_666), because!(Refusal::Fifo)),
        ("zip: socket", mode(0o140_666), because!(Refusal::Socket)),
        (
            "zip: directory without slash",
            mode(0o040_755),
            because!(Refusal::NameAndType),
        ),
        (
            "zip: file with slash",
            with(stored("a/x/", b"")),
            because!(Refusal::NameAndType),
        ),
        (
            "zip: directory with content",
            with(ZipEntry {
                mode: 0o040_755,
                ..stored("a/x/", b"abc")
            }),
            because!(Refusal::Content { size: 3 }),
        ),
        (
            "zip: absolute link",
            with(ZipEntry {
                mode: 0o120_777,
                ..stored("a/x", b"/etc/passwd")
            }),
            because!(Refusal::Link(LinkError::Absolute)),
        ),
        (
            "zip: leaving link",
            with(ZipEntry {
                mode: 0o120_777,
                ..stored("a/x", b"../../x")
            }),
            because!(Refusal::Link(LinkError::Leaves)),
        ),
        (
            "zip: link with NUL",
            with(ZipEntry {
                mode: 0o120_777,
                ..stored("a/x", b"Cargo.lock\0")
            }),
            because!(Refusal::Link(LinkError::TargetControl)),
        ),
        (
            "zip: endless link",
            with(ZipEntry {
                mode: 0o120_777,
                ..stored("a/x", &[b'a'; 5000])
            }),
            because!(Refusal::Link(LinkError::TargetLength { size: 5000, .. })),
        ),
        (
            "zip: names disagree",
            with(ZipEntry {
                local_name: b"a/y".to_vec(),
                ..stored("a/x", b"")
            }),
            because!(Refusal::Disagreement { field: "name" }),
        ),
        (
            "zip: sizes disagree",
            with(ZipEntry {
                local_size: 7,
                ..stored("a/x", b"abc")
            }),
            because!(Refusal::Disagreement { field: "size" }),
        ),
        (
            "zip: flags disagree",
            with(ZipEntry {
                local_flags: 2,
                ..stored("a/x", b"abc")
            }),
            because!(Refusal::Disagreement { field: "flags" }),
        ),
        (
            "zip: wrong checksum",
            with(ZipEntry {
                crc: 7,
                ..stored("a/x", b"abc")
            }),
            because!(Refusal::Checksum { expected: 7, .. }),
        ),
        (
            "zip: stored size too small",
            with(ZipEntry {
                size: 2,
                local_size: 2,
                ..stored("a/x", b"abc")
            }),
            because!(Refusal::Size { expected: 2 }),
        ),
        (
            "zip: stored size too large",
            with(ZipEntry {
                size: 4,
                local_size: 4,
                ..stored("a/x", b"abc")
            }),
            because!(Refusal::Size { expected: 4 }),
        ),
        (
            "zip: deflated size too small",
            with(ZipEntry {
                size: 3,
                local_size: 3,
                ..deflated("a/x", content)
            }),
            because!(Refusal::Size { expected: 3 }),
        ),
        (
            "zip: bytes after the deflated data",
            {
                let mut entry = deflated("a/x", content);
                entry.data.push(0);
                with(entry)
            },
            because!(Refusal::Size { .. }),
        ),
        (
            "zip: broken deflate",
            with(ZipEntry {
                data: vec![0xff; 20],
                ..deflated("a/x", content)
            }),
            damaged!(Damage::Compression | Damage::Truncated),
        ),
        (
            "zip: wrong descriptor",
            with(ZipEntry {
                flags: 8,
                local_flags: 8,
                descriptor: Some(vec![9; 16]),
                ..stored("a/x", b"abc")
            }),
            because!(Refusal::Disagreement {
                field: "data descriptor"
            }),
        ),
        (
            "zip: overlap",
            with(ZipEntry {
                offset: Some(0),
                ..lock()
            }),
            damaged!(Damage::Layout { actual: 0, .. }),
        ),
        (
            "zip: bytes in front",
            zip_with(&[lock()], b"PK\x03\x04", b"", b""),
            damaged!(Damage::Layout {
                expected: 0,
                actual: 4
            }),
        ),
        (
            "zip: bytes in between",
            zip_with(&[lock()], b"", b"xx", b""),
            damaged!(Damage::Layout { .. }),
        ),
        (
            "zip: bytes after the end",
            [whole.clone(), b"x".to_vec()].concat(),
            damaged!(Damage::EndRecord),
        ),
        (
            "zip: two end records",
            zip_with(&[lock()], b"", b"", &whole),
            damaged!(Damage::EndRecord),
        ),
        (
            "zip: cut",
            whole[..whole.len() - 1].to_vec(),
            damaged!(Damage::EndRecord),
        ),
        ("zip: several parts", spanned, damaged!(Damage::EndRecord)),
        (
            "zip: wrong count",
            counted,
            damaged!(Damage::CentralDirectory | Damage::EndRecord),
        ),
        ("zip: empty", zip(&[]), |error| {
            matches!(error, ArchiveError::NoFiles)
        }),
        (
            "zip: bomb by ratio",
            with(deflated("a/zeros", &vec![0; 66 << 20])),
            |error| matches!(error, ArchiveError::Expansion { limit: 200, .. }),
        ),
    ]
}

#[test]
fn refuses_every_hostile_archive_for_its_reason_and_leaves_nothing() {
    let cases = [hostile_tars(), hostile_zips()].concat();
    assert!(cases.len() > 100, "{}", cases.len());
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases {
        let (directory, result) = try_unpack(&bytes);
        match result {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(error) => {
                let message = error.to_string();
                let shown = !message.contains(&*directory.path().to_string_lossy())
                    && !message.chars().any(char::is_control);
                if !expected(&error) || !shown || error.is_fault() {
                    wrong.push(format!("{name}: {error:?}"));
                }
            }
        }
        let left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        if left != ["archive"] {
            wrong.push(format!("{name}: left {left:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_directory_that_exists_is_neither_used_nor_removed() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::write(&archive, Tar::new().file("x", b"").end()).unwrap();
    let into = directory.path().join("tree");
    fs::create_dir(&into).unwrap();
    assert!(unpack(&archive, None, &into).unwrap_err().is_fault());
    assert!(into.exists());
}

// --- what is accepted ---

#[test]
fn fixes_modes_and_times_and_drops_git() {
    let mut tar = Tar::new();
    tar.directory("./")
        .directory("./a/")
        .raw_file(b"./a/run", 0o4711, b"#!")
        .raw_file(b"./a/data", 0o000, b"data");
    tar.link("./a/alias", "sub/../run")
        .directory("./a/sub")
        .file("./a/sub/x", b"")
        .directory("a/empty/er")
        .file("./a/.GIT", b"gitdir: /etc")
        .file("./.git/HEAD", b"x");
    let (directory, tree) = good(&tar.end());
    let root = tree.root();
    assert_eq!(root, directory.path().join("tree/a"));
    assert_eq!(tree.project().as_str(), "a");
    assert_eq!(tree.epoch(), 0);
    let names: Vec<_> = ["run", "data", "sub"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let stat = |path: &Path| fs::symlink_metadata(path).unwrap();
    let modes: Vec<_> = names
        .iter()
        .map(|path| stat(path).permissions().mode() & 0o7777)
        .collect();
    assert_eq!(modes, [0o755, 0o644, 0o755]);
    assert_eq!(
        fs::read_link(root.join("alias")).unwrap(),
        Path::new("sub/../run")
    );
    for path in names
        .iter()
        .cloned()
        .chain([root.join("alias"), root.to_owned()])
    {
        assert_eq!(stat(&path).mtime(), 1_153_704_088, "{path:?}");
    }
    assert!(
        !root.join("empty").exists()
            && !root.join(".GIT").exists()
            && !directory.path().join("tree/.git").exists()
    );
    assert_eq!(tree.tree(), tree::hash(root).unwrap());
}

#[test]
fn files_are_executable_by_the_bit_that_git_looks_at() {
    let modes = [0o655, 0o755, 0o744, 0o611, 0o100, 0o000];
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut tar = Tar::new();
    let mut entries = Vec::new();
    for (name, mode) in names.into_iter().zip(modes) {
        tar.raw_file(name.as_bytes(), mode, b"#!");
        entries.push(ZipEntry {
            mode: 0o100_000 | mode,
            ..stored(name, b"#!")
        });
    }
    for bytes in [tar.end(), zip(&entries)] {
        let (_directory, tree) = good(&bytes);
        let mode = |name| {
            fs::metadata(tree.root().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!(names.map(mode), [0o644, 0o755, 0o755, 0o644, 0o755, 0o644]);
    }
}

#[test]
fn the_origin_is_the_digest_of_all_bytes() {
    let tar = Tar::new().file("Cargo.lock", b"").end();
    for bytes in [tar.clone(), gzip(&tar), zip(&[stored("Cargo.lock", b"")])] {
        let (_directory, tree) = good(&bytes);
        let Origin::Archive { name, sha256 } = tree.origin() else {
            panic!("{:?}", tree.origin())
        };
        assert_eq!(name.as_deref(), Some("upload.tar.gz"));
        assert_eq!(*sha256, kettle::digest::Sha256Digest::of(&bytes));
        assert_eq!(tree.project().as_str(), "upload");
    }
}

#[test]
fn small_archives_of_zeros_are_no_bombs() {
    let (_directory, tree) = good(&gzip(&Tar::new().file("zeros", &vec![0; 8 << 20]).end()));
    assert_eq!(
        fs::metadata(tree.root().join("zeros")).unwrap().len(),
        8 << 20
    );
}

#[test]
fn reads_data_descriptors_and_comments() {
    let sizes = |content: &[u8], packed: usize| {
        [
            crc(content).to_le_bytes(),
            (packed as u32).to_le_bytes(),
            (content.len() as u32).to_le_bytes(),
        ]
        .concat()
    };
    let plain = ZipEntry {
        flags: 8,
        local_flags: 8,
        descriptor: Some(sizes(b"abc", 3)),
        ..stored("a", b"abc")
    };
    let mut signed = deflated("b", b"abcabcabc");
    let descriptor = [
        b"PK\x07\x08".to_vec(),
        sizes(b"abcabcabc", signed.data.len()),
    ]
    .concat();
    (signed.flags, signed.local_flags, signed.descriptor) = (8, 8, Some(descriptor));
    let (_directory, tree) = good(&zip_with(&[plain, signed], b"", b"", b"a comment"));
    assert_eq!(fs::read(tree.root().join("b")).unwrap(), b"abcabcabc");
}

// --- against the tools that people use ---

fn run(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn git_tree(directory: &Path) -> String {
    run(directory, "git", &["init", "-q"]);
    run(
        directory,
        "git",
        &["-c", "core.autocrlf=false", "add", "--force", "--all"],
    );
    let tree = run(directory, "git", &["write-tree"]);
    fs::remove_dir_all(directory.join(".git")).unwrap();
    tree
}

/// Xorshift: the seed is printed by the assertion that fails.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Names that sort differently as files and as directories, that need PAX or GNU extensions, or
/// that git ignores.
fn random_tree(root: &Path, random: &mut Random, depth: u64) {
    let long = "long-".repeat(30);
    let names = [
        "a",
        "a.b",
        "a-b",
        "a0",
        "ab",
        "A",
        "ü 空",
        "x y",
        ".gitignore",
        "target",
        "-rf",
        long.as_str(),
    ];
    let mut files = vec!["always".to_owned()];
    fs::write(root.join("always"), random.below(1000).to_string()).unwrap();
    for name in names {
        let path = root.join(name);
        match random.below(6) {
            0 | 1 if depth > 0 => {
                fs::create_dir(&path).unwrap();
                random_tree(&path, random, depth - 1);
            }
            2 => {
                fs::write(&path, vec![b'*'; random.below(100_000) as usize]).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                files.push(name.to_owned());
            }
            3 => symlink(&files[random.below(files.len() as u64) as usize], &path).unwrap(),
            4 => fs::write(&path, b"").unwrap(),
            _ => {}
        }
    }
}

#[test]
fn random_trees_have_the_id_that_git_gives_them() {
    for seed in 1..=4 {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        fs::create_dir(&top).unwrap();
        random_tree(&top, &mut Random(seed * 7919), 3);
        let expected = git_tree(&top);
        assert_eq!(
            tree::hash(&top).unwrap().to_string(),
            expected,
            "seed {seed}"
        );
        for (kind, archive) in archives(directory.path()) {
            let into = directory.path().join(format!("unpacked-{kind}"));
            let unpacked = unpack(&archive, None, &into)
                .unwrap_or_else(|error| panic!("seed {seed}, {kind}: {error}"));
            assert_eq!(unpacked.tree().to_string(), expected, "seed {seed}, {kind}");
            assert_eq!(
                tree::hash(unpacked.root()).unwrap().to_string(),
                expected,
                "seed {seed}, {kind}"
            );
        }
    }
}

/// Returns `top` in every format that a system tool writes.
fn archives(directory: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut made = Vec::new();
    for (kind, options) in [("gnu", "-cf"), ("pax", "-cf"), ("gnu-gzip", "-czf")] {
        let format = format!("--format={}", kind.split('-').next().unwrap());
        run(directory, "tar", &[&format, options, kind, "top"]);
        made.push((kind, directory.join(kind)));
    }
    run(directory, "zip", &["-qry", "zip.zip", "top"]);
    made.push(("zip", directory.join("zip.zip")));
    // Streamed: data descriptors. Forced: zip64.
    run(
        directory,
        "sh",
        &[
            "-c",
            "zip -qry - top > streamed.zip && zip -qry -fz zip64.zip top",
        ],
    );
    made.push(("streamed zip", directory.join("streamed.zip")));
    made.push(("zip64", directory.join("zip64.zip")));
    made
}

/// Writes files with and without extended headers, in Python's three formats.
const PYTHON: &str = "import sys, tarfile
for name in ('USTAR', 'GNU', 'PAX'):
    with tarfile.open('python-' + name, 'w', format=getattr(tarfile, name + '_FORMAT')) as archive:
        archive.add(sys.argv[1])
";
const PERL: &str = "use Archive::Tar; use File::Find;
my @files; find({ wanted => sub { push @files, $_ if -f $_ }, no_chdir => 1 }, $ARGV[0]);
Archive::Tar->create_archive('perl', 0, @files) or die;
";

/// Paths of 80 to 140 bytes, whose directory ends at each of them: one of them ends where a maker
/// cuts the name for the header. Each format that is tried can store them.
fn tree_of_long_names(top: &Path) {
    for length in 80..140 {
        let (upper, lower) = ("u".repeat(40), "l".repeat(length - 41 - "top/".len()));
        let directory = top.join(upper).join(lower);
        fs::create_dir_all(&directory).unwrap();
        for name in ["a".to_owned(), "b".repeat(50)] {
            fs::write(directory.join(&name), format!("{length} {name}")).unwrap();
        }
    }
}

/// Returns archives by program and format; each contains the directory `top`.
fn archives_of_every_maker(directory: &Path) -> Vec<PathBuf> {
    for format in ["gnu", "oldgnu", "pax", "ustar"] {
        run(
            directory,
            "tar",
            &[
                &format!("--format={format}"),
                "-cf",
                &format!("gnu-{format}"),
                "top",
            ],
        );
    }
    for format in ["gnutar", "pax", "ustar"] {
        run(
            directory,
            "bsdtar",
            &["--format", format, "-cf", &format!("bsd-{format}"), "top"],
        );
    }
    run(directory, "busybox", &["tar", "-cf", "busybox-tar", "top"]);
    run(
        directory,
        "sh",
        &["-c", "find top | cpio --quiet -o -H ustar > cpio-ustar"],
    );
    run(directory, "python3", &["-c", PYTHON, "top"]);
    run(directory, "perl", &["-e", PERL, "top"]);
    let made = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut made: Vec<_> = made.filter(|path| path.is_file()).collect();
    made.sort();
    made
}

#[test]
fn archives_of_ordinary_makers_are_read_wherever_they_cut_names() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    fs::create_dir(&top).unwrap();
    tree_of_long_names(&top);
    let expected = git_tree(&top);
    let archives = archives_of_every_maker(directory.path());
    assert_eq!(archives.len(), 4 + 3 + 1 + 1 + 3 + 1);
    for archive in archives {
        let into = archive.with_extension("unpacked");
        let tree =
            unpack(&archive, None, &into).unwrap_or_else(|error| panic!("{archive:?}: {error}"));
        assert_eq!(tree.tree().to_string(), expected, "{archive:?}");
    }
    // Old archives have names of up to 99 bytes, and no types but links.
    let short = directory.path().join("short");
    fs::create_dir_all(short.join("sub")).unwrap();
    fs::write(short.join("sub/file"), "old").unwrap();
    run(
        directory.path(),
        "tar",
        &["--format=v7", "-cf", "v7", "short/sub/file"],
    );
    let expected = git_tree(&short);
    let tree = unpack(
        &directory.path().join("v7"),
        None,
        &directory.path().join("old"),
    )
    .unwrap();
    assert_eq!(tree.tree().to_string(), expected);
}

#[test]
fn reads_what_git_archive_writes() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    fs::create_dir(&repository).unwrap();
    random_tree(&repository, &mut Random(4711), 2);
    run(&repository, "git", &["init", "-q"]);
    run(&repository, "git", &["add", "--force", "--all"]);
    let who = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit",
        "-qm",
        "x",
    ];
    run(&repository, "git", &who);
    let expected = run(&repository, "git", &["rev-parse", "HEAD^{tree}"]);
    for format in ["tar", "tar.gz", "zip"] {
        let archive = directory.path().join(format!("it.{format}"));
        let output = format!("--output={}", archive.display());
        run(
            &repository,
            "git",
            &[
                "archive",
                &format!("--format={format}"),
                "--prefix=it/",
                &output,
                "HEAD",
            ],
        );
        let tree = unpack(
            &archive,
            None,
            &directory.path().join(format!("tree-{format}")),
        )
        .unwrap();
        assert_eq!(tree.tree().to_string(), expected, "{format}");
    }
}

#[test]
fn hashing_a_hostile_directory_neither_blocks_nor_follows() {
    let directory = tempfile::tempdir().unwrap();
    symlink("/etc", directory.path().join("link")).unwrap();
    assert_eq!(
        tree::hash(directory.path()).unwrap().to_string(),
        git_tree(directory.path())
    );
    run(directory.path(), "mkfifo", &["fifo"]);
    assert!(matches!(
        tree::hash(directory.path()),
        Err(tree::TreeError::SpecialFile { .. })
    ));
    let link = directory.path().join("elsewhere");
    symlink(directory.path(), &link).unwrap();
    assert!(matches!(
        tree::hash(&link),
        Err(tree::TreeError::Read { .. })
    ));
}

// --- archives of people's own tools ---

/// Returns the path of a file that a person's tool packed (`tests/archives/clients`).
fn of_client(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archives/clients");
    fs::read(directory.join(name)).unwrap()
}

fn hello(separator: &str) -> Vec<ZipEntry> {
    let path = |parts: &[&str]| parts.join(separator);
    vec![
        stored(&path(&["hello", "Cargo.toml"]), b"[package]"),
        stored(&path(&["hello", "src", "main.rs"]), b"fn main() {}"),
    ]
}

#[test]
fn what_macos_puts_beside_the_directory_is_left_out_and_named() {
    let (_alone, alone) = good(&zip(&hello("/")));
    let finder = [
        hello("/"),
        vec![
            stored("__MACOSX/hello/._Cargo.toml", b"attr"),
            stored("__MACOSX/._hello", b"a"),
        ],
    ];
    let (_directory, finder) = good(&zip(&finder.concat()));
    assert_eq!(finder.tree(), alone.tree());
    assert_eq!(finder.project().as_str(), "hello");
    let note = "left out what macOS put beside the directory in the archive";
    assert_eq!(finder.notes(), [format!("{note}: __MACOSX")]);
    let Origin::Archive { sha256, .. } = finder.origin() else {
        panic!("{:?}", finder.origin())
    };
    assert!(matches!(alone.origin(), Origin::Archive { sha256: other, .. } if other != sha256));

    let mut tar = Tar::new();
    tar.file("._hello", "attributes".as_bytes())
        .file("hello/Cargo.toml", b"[package]")
        .file("hello/src/main.rs", b"fn main() {}");
    let (_directory, bsdtar) = good(&gzip(&tar.end()));
    assert_eq!(bsdtar.tree(), alone.tree());
    assert_eq!(bsdtar.notes(), [format!("{note}: ._hello")]);
}

#[test]
fn only_what_macos_itself_puts_there_is_left_out() {
    let with = |entry| zip(&[hello("/"), vec![entry]].concat());
    for other in ["__MACOSX", ".hello", "__macosx/x", "readme"] {
        let (_directory, tree) = good(&with(stored(other, b"")));
        assert!(!tree.root().ends_with("hello"), "{other}");
        assert!(tree.notes().is_empty(), "{other}");
    }
    let link = ZipEntry {
        mode: 0o120_777,
        ..stored("hello/x", b"../__MACOSX/y")
    };
    let mut entries = hello("/");
    entries.extend([link, stored("__MACOSX/y", b"")]);
    let (_directory, result) = try_unpack(&zip(&entries));
    assert!(
        matches!(result, Err(ArchiveError::Entry { .. })),
        "{result:?}"
    );
    let (_directory, only) = good(&zip(&[stored("__MACOSX/Cargo.lock", b"")]));
    assert!(only.notes().is_empty() && !only.root().ends_with("__MACOSX"));
}

#[test]
fn a_zip_of_powershell_has_the_tree_that_its_backslashes_mean() {
    let (_alone, alone) = good(&zip(&hello("/")));
    let of_dos = |entry: ZipEntry| ZipEntry {
        mode: 0,
        host: 0,
        ..entry
    };
    let mut entries: Vec<_> = hello("\\").into_iter().map(of_dos).collect();
    // .NET writes an empty directory with its separator and without attributes.
    entries.push(of_dos(stored("hello\\empty\\", b"")));
    let (_directory, windows) = good(&zip(&entries));
    assert_eq!(windows.tree(), alone.tree());
    let note = "the names in the archive have backslashes, which were read as `/`";
    assert_eq!(windows.notes(), [note]);

    for hostile in ["..\\x", "hello\\..\\..\\x", "C:\\x", "\\x", "hello\\\\x"] {
        let mut entries = hello("\\");
        entries.push(stored(hostile, b""));
        let (_directory, result) = try_unpack(&zip(&entries));
        assert!(
            matches!(result, Err(ArchiveError::Entry { .. })),
            "{hostile}"
        );
    }
    let mixed = [hello("\\"), hello("/")].concat();
    let (_directory, result) = try_unpack(&zip(&mixed));
    let Err(ArchiveError::Entry { reason, .. }) = result else {
        panic!("{result:?}")
    };
    assert!(matches!(reason, Refusal::Name(NameError::Backslash)));
    let twice = [hello("\\"), vec![stored("hello\\Cargo.toml", b"")]].concat();
    assert!(try_unpack(&zip(&twice)).1.is_err());
}

#[test]
fn archives_as_they_came_from_a_persons_tool_are_one_project() {
    let (_plain, plain) = good(&of_client("plain.zip"));
    for (name, notes) in [("plain.zip", 0), ("macos.zip", 1), ("winback.zip", 1)] {
        let (_directory, tree) = good(&of_client(name));
        assert_eq!(tree.project().as_str(), "hello", "{name}");
        assert!(tree.root().join("Cargo.lock").is_file(), "{name}");
        assert_eq!(tree.notes().len(), notes, "{name}");
        // The Finder also packs its own file in every directory.
        let has_store = tree.root().join(".DS_Store").exists();
        assert_eq!(tree.tree() == plain.tree(), !has_store, "{name}");
    }
}
