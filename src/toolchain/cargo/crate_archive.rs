//! Unpacks one `.crate` with the source's reader of archives.
//!
//! * In: its bytes, from a directory that a sandbox could write.
//! * Out: the files, below one fresh directory, with the digest of the very bytes that they were
//!   unpacked from.
//! * Never: a link, a device, a name outside the archive's one top directory, more than the limits,
//!   or an archive that other programs read to another end.
//!
//! The end is the one that cargo has always written, and that uploads have: two blocks of zeros,
//! nothing but zeros after them, then the end of the one gzip member and of the file. The archives
//! of 2014 in the public registry have that end too.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::digest::Sha256Digest;
use crate::source::archive::{ArchiveError, Builder, Label, Refusal, Rules, unpack_gzip};
use crate::source::tree::Node;

/// The size of the largest archive, in bytes. The public registry's ordinary limit is 10 MiB, its
/// exceptions are below this.
pub const MAX_CRATE_BYTES: u64 = 256 << 20;

/// The most bytes that one archive may unpack to, with its headers. Cargo's own limit is 512 MiB or
/// twenty times the archive.
pub const MAX_CRATE_UNPACKED_BYTES: u64 = 1 << 30;

/// The most files in one archive, directories included.
pub const MAX_CRATE_FILES: usize = 100_000;

/// The file that marks a directory as a package of a directory source.
pub(super) const CHECKSUM_FILE: &str = ".cargo-checksum.json";

/// Returns the rules for the package `top` (`NAME-VERSION`), whose files have the time `epoch`
/// (seconds).
fn rules(top: &str, epoch: u64) -> Rules {
    Rules {
        top: Some(top.to_owned()),
        links: false,
        untracked: true,
        entries: MAX_CRATE_FILES,
        file_bytes: MAX_CRATE_UNPACKED_BYTES,
        unpacked_bytes: MAX_CRATE_UNPACKED_BYTES,
        expansion_floor_bytes: MAX_CRATE_UNPACKED_BYTES,
        time: epoch,
    }
}

/// Unpacks the archive of the package `top` (`NAME-VERSION`) into the new directory `parent`/`top`.
///
/// Returns the digest of the whole archive; the caller compares it before anything reads the
/// directory.
///
/// # Errors
/// The archive is refused, or its files cannot be written; the files that were unpacked until then
/// remain.
pub fn unpack(
    archive: File,
    top: &str,
    parent: &Path,
    epoch: u64,
) -> Result<Sha256Digest, ArchiveError> {
    let directory = parent.join(top);
    let size = archive.metadata().map_err(ArchiveError::read)?.len();
    let builder = Builder::with_rules(rules(top, epoch), &directory, size)?;
    if size > MAX_CRATE_BYTES {
        return Err(ArchiveError::PackedTooLarge {
            limit: MAX_CRATE_BYTES,
        });
    }
    // Bytes that are added to the file meanwhile are not read.
    let (sha256, tree) = unpack_gzip(archive.take(size), builder)?;
    // The checksum file that the archive has is not trusted: `mark` writes another one.
    match tree.entries.get(CHECKSUM_FILE.as_bytes()) {
        None => {}
        Some(Node::File { .. }) => {
            fs::remove_file(directory.join(CHECKSUM_FILE)).map_err(ArchiveError::write)?;
        }
        Some(_) => {
            return Err(ArchiveError::Entry {
                entry: Label::of(CHECKSUM_FILE.as_bytes()),
                reason: Refusal::DirectoryConflict,
            });
        }
    }
    Ok(sha256)
}

/// Marks the unpacked directory as a package of a directory source, with the computed digest.
pub(super) fn mark(directory: &Path, digest: Sha256Digest) -> io::Result<()> {
    fs::write(
        directory.join(CHECKSUM_FILE),
        format!("{{\"files\":{{}},\"package\":\"{digest}\"}}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::time::{Duration, SystemTime};

    use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
    use tar::{Builder, EntryType, Header};

    use super::*;
    use crate::source::archive::{self, Damage};
    use crate::tar_header::BLOCK_BYTES;

    /// Returns why the archive as a whole is refused.
    fn damage(result: Result<Sha256Digest, ArchiveError>) -> Damage {
        match result.unwrap_err() {
            ArchiveError::Damaged(damage) => damage,
            other => panic!("{other}"),
        }
    }

    /// Returns whether the archive cannot be read to its end.
    fn is_cut(result: Result<Sha256Digest, ArchiveError>) -> bool {
        matches!(
            result.unwrap_err(),
            ArchiveError::Damaged(Damage::Truncated | Damage::Compression)
                | ArchiveError::Entry {
                    reason: Refusal::Size { .. },
                    ..
                }
        )
    }

    /// Returns why an entry is refused.
    fn refusal(result: Result<Sha256Digest, ArchiveError>) -> Refusal {
        match result.unwrap_err() {
            ArchiveError::Entry { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    fn archive(fill: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn entry(
        builder: &mut Builder<GzEncoder<Vec<u8>>>,
        name: &str,
        kind: EntryType,
        content: &[u8],
    ) {
        entry_of(builder, name.as_bytes(), kind, content);
    }

    fn entry_of(
        builder: &mut Builder<GzEncoder<Vec<u8>>>,
        name: &[u8],
        kind: EntryType,
        content: &[u8],
    ) {
        let mut header = Header::new_gnu();
        // Written by hand, since the builder itself refuses names like `../x`.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    fn unpack_bytes(bytes: &[u8]) -> (tempfile::TempDir, Result<Sha256Digest, ArchiveError>) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let result = unpack(file, "a-1.0.0", folder.path(), 7);
        (folder, result)
    }

    #[test]
    fn unpacks_and_hashes_the_same_bytes() {
        let bytes =
            archive(|builder| entry(builder, "a-1.0.0/src/lib.rs", EntryType::Regular, b"x"));
        let (folder, digest) = unpack_bytes(&bytes);
        assert_eq!(digest.unwrap(), Sha256Digest::of(&bytes));
        let file = folder.path().join("a-1.0.0/src/lib.rs");
        assert_eq!(fs::read(&file).unwrap(), b"x");
        assert_eq!(
            fs::metadata(&file).unwrap().modified().unwrap(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(7)
        );
    }

    /// Returns the tar stream of an archive with two files, and the offset of its end blocks.
    fn two_files() -> (Vec<u8>, usize) {
        let packed = archive(|builder| {
            entry(
                builder,
                "a-1.0.0/Cargo.toml",
                EntryType::Regular,
                b"[package]",
            );
            entry(builder, "a-1.0.0/src/lib.rs", EntryType::Regular, b"x");
        });
        let mut tar = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
        let end = tar.len() - 2 * BLOCK_BYTES;
        assert_eq!(end, 4 * BLOCK_BYTES);
        (tar, end)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn an_archive_ends_with_two_blocks_of_zeros_and_nothing_but_zeros_after_them() {
        let (tar, end) = two_files();
        let zeros = |count: usize| vec![0; count];
        for more in [0, 1, 511, 512, 8 * 512, 18 * 512, 100_000] {
            let padded = [&tar[..], &zeros(more)].concat();
            unpack_bytes(&gzip(&padded)).1.unwrap();
        }
        // The second file after end blocks, which some programs read and others do not.
        let (first, second) = tar[..end].split_at(end / 2);
        for blocks in 1..5 {
            let hidden = [
                first,
                &zeros(blocks * BLOCK_BYTES),
                second,
                &zeros(2 * BLOCK_BYTES),
            ]
            .concat();
            let damage = damage(unpack_bytes(&gzip(&hidden)).1);
            assert_eq!(damage, Damage::TrailingBytes, "{blocks}");
        }
        for after in [
            &b"x"[..],
            &[&zeros(511)[..], b"x"].concat(),
            &[&zeros(9000)[..], b"#!/bin/sh"].concat(),
        ] {
            let damage = damage(unpack_bytes(&gzip(&[&tar[..], after].concat())).1);
            assert_eq!(damage, Damage::TrailingBytes);
        }
        let half = [
            &tar[..end],
            &zeros(BLOCK_BYTES),
            b"x",
            &zeros(BLOCK_BYTES - 1),
        ]
        .concat();
        assert_eq!(damage(unpack_bytes(&gzip(&half)).1), Damage::TrailingBytes);
        for missing in [1, 512, 513, 1023, 1024] {
            let cut = gzip(&tar[..tar.len() - missing]);
            assert_eq!(damage(unpack_bytes(&cut).1), Damage::Truncated, "{missing}");
        }
    }

    #[test]
    fn an_archive_is_one_gzip_member_and_the_end_of_the_file() {
        let (tar, end) = two_files();
        let good = gzip(&tar);
        unpack_bytes(&good).1.unwrap();
        for after in [
            &b"\0"[..],
            &[0; 512],
            b"text",
            &good,
            &gzip(b""),
            &gzip(&tar[..end]),
            &good[..5],
        ] {
            let damage = damage(unpack_bytes(&[&good[..], after].concat()).1);
            assert_eq!(damage, Damage::TrailingBytes);
        }
        // Members of which only all together are an archive.
        let split = |cut: usize| unpack_bytes(&[gzip(&tar[..cut]), gzip(&tar[cut..])].concat()).1;
        for cut in [end - 1, end, end + 512, tar.len() - 1] {
            assert_eq!(damage(split(cut)), Damage::Truncated, "{cut}");
        }
        // Within the content of a file.
        assert!(matches!(refusal(split(512)), Refusal::Size { .. }));
        assert_eq!(
            damage(unpack_bytes(&[gzip(b""), good.clone()].concat()).1),
            Damage::Truncated
        );
        // The checksum of the member, and its length, are compared.
        for at in 1..=8 {
            let mut changed = good.clone();
            let length = changed.len();
            changed[length - at] ^= 1;
            assert!(is_cut(unpack_bytes(&changed).1), "{at}");
            assert!(is_cut(unpack_bytes(&good[..length - at]).1), "{at}");
        }
    }

    #[test]
    fn every_header_matches_its_checksum() {
        let (tar, end) = two_files();
        for at in (0..512).chain(end / 2..end / 2 + 512) {
            let mut changed = tar.clone();
            changed[at] ^= 1;
            let damage = damage(unpack_bytes(&gzip(&changed)).1);
            assert_eq!(damage, Damage::HeaderChecksum, "{at}");
        }
    }

    #[test]
    fn refuses_names_outside_the_folder() {
        for name in ["b-1.0.0/x", "a-1.0.0x/y", "./a-1.0.0/x", "x", "A-1.0.0/x"] {
            let (_folder, result) = unpack_bytes(&archive(|builder| {
                entry(builder, name, EntryType::Regular, b"x")
            }));
            assert_eq!(refusal(result), Refusal::OutsideTop, "{name}");
        }
        let (_folder, result) = unpack_bytes(&archive(|builder| {
            entry(builder, "a-1.0.0", EntryType::Regular, b"x")
        }));
        assert_eq!(refusal(result), Refusal::NameAndType);
    }

    #[test]
    fn names_of_files_and_folders_are_those_that_uploads_may_have() {
        let long = format!("a-1.0.0/{}", "n".repeat(80));
        for name in [
            "a-1.0.0/x",
            "a-1.0.0/\u{e9}/x y",
            "a-1.0.0/-x",
            "a-1.0.0/...",
            "a-1.0.0/.cargo/x",
            &long,
        ] {
            for (kind, end) in [
                (EntryType::Regular, ""),
                (EntryType::Directory, ""),
                (EntryType::Directory, "/"),
            ] {
                let name = format!("{name}{end}");
                let (folder, result) =
                    unpack_bytes(&archive(|builder| entry(builder, &name, kind, b"")));
                result.unwrap();
                assert_eq!(folder.path().join(&name).is_dir(), kind.is_dir(), "{name}");
            }
        }
        for name in [
            &b"/etc/x"[..],
            b"../x",
            b"a-1.0.0/../x",
            b"a-1.0.0/..",
            b"a-1.0.0/x/../y",
            b"a-1.0.0/./x",
            b"a-1.0.0//x",
            b"a-1.0.0/x\\y",
            b"a-1.0.0/\xff",
            b"a-1.0.0/\xc3",
            b"a-1.0.0/\n",
            b"a-1.0.0/\x1b[2J",
            b"a-1.0.0/\xc2\x85",
            b"C:/x",
        ] {
            for kind in [EntryType::Regular, EntryType::Directory] {
                let (folder, result) =
                    unpack_bytes(&archive(|builder| entry_of(builder, name, kind, b"")));
                assert!(
                    matches!(refusal(result), Refusal::Name(_)),
                    "{} {kind:?}",
                    name.escape_ascii()
                );
                assert_eq!(
                    fs::read_dir(folder.path().join("a-1.0.0")).unwrap().count(),
                    0
                );
            }
        }
    }

    #[test]
    fn folders_are_below_the_top_folder_and_no_files() {
        let refused = |entries: &[(&str, EntryType)]| {
            let bytes = archive(|builder| {
                entries
                    .iter()
                    .for_each(|(name, kind)| entry(builder, name, *kind, b""))
            });
            refusal(unpack_bytes(&bytes).1)
        };
        let (file, folder) = (EntryType::Regular, EntryType::Directory);
        for outside in ["b-1.0.0/", "x", "a-1.0.0x/", "./a-1.0.0/"] {
            assert_eq!(
                refused(&[(outside, folder)]),
                Refusal::OutsideTop,
                "{outside}"
            );
        }
        for entries in [
            [("a-1.0.0/x", file), ("a-1.0.0/x", folder)],
            [("a-1.0.0/x", folder), ("a-1.0.0/x", file)],
            [("a-1.0.0/x", file), ("a-1.0.0/x/y", file)],
            [("a-1.0.0/x", file), ("a-1.0.0/x/y/z", folder)],
            [("a-1.0.0/x/y", file), ("a-1.0.0/x", file)],
            [
                ("a-1.0.0/y", file),
                ("a-1.0.0/.cargo-checksum.json", folder),
            ],
            [
                ("a-1.0.0/y", file),
                ("a-1.0.0/.cargo-checksum.json/x", file),
            ],
        ] {
            assert_eq!(refused(&entries), Refusal::DirectoryConflict, "{entries:?}");
        }
        // The top directory itself, and a directory that a file created before.
        let plain = archive(|builder| {
            entry(builder, "a-1.0.0/", folder, b"");
            entry(builder, "a-1.0.0/src/lib.rs", file, b"x");
            entry(builder, "a-1.0.0/src", folder, b"");
        });
        unpack_bytes(&plain).1.unwrap();
    }

    #[test]
    fn refuses_links_devices_and_fifos() {
        for (kind, expected) in [
            (EntryType::Symlink, Refusal::SymbolicLink),
            (EntryType::Link, Refusal::HardLink),
            (EntryType::Char, Refusal::Device),
            (EntryType::Block, Refusal::Device),
            (EntryType::Fifo, Refusal::Fifo),
        ] {
            let (_folder, result) =
                unpack_bytes(&archive(|builder| entry(builder, "a-1.0.0/x", kind, b"")));
            assert_eq!(refusal(result), expected, "{kind:?}");
        }
    }

    #[test]
    fn refuses_a_header_that_programs_read_in_two_ways() {
        let hidden =
            archive(|builder| entry(builder, "a-1.0.0/b", EntryType::Directory, &[0; 512]));
        assert_eq!(
            refusal(unpack_bytes(&hidden).1),
            Refusal::Content { size: 512 }
        );
    }

    #[test]
    fn a_file_says_in_its_own_header_that_it_is_one() {
        // The archive that two programs read as two sources: its extended name is a file's, its own
        // a directory's.
        let with = |own: &[u8], kind: u8, extended: EntryType, name: &[u8]| {
            archive(|builder| {
                let content = match extended {
                    EntryType::XHeader => {
                        let length = name.len() + " path=\n".len() + 2;
                        [format!("{length} path=").as_bytes(), name, b"\n"].concat()
                    }
                    _ => [name, b"\0"].concat(),
                };
                entry(builder, "extension", extended, &content);
                let mut header = Header::new_ustar();
                header.as_old_mut().name[..own.len()].copy_from_slice(own);
                header.set_mode(0o644);
                header.set_size(1);
                header.as_mut_bytes()[156] = kind;
                header.set_cksum();
                builder.append(&header, &b"x"[..]).unwrap();
            })
        };
        let name = b"a-1.0.0/src/lib.rs";
        for extended in [EntryType::XHeader, EntryType::GNULongName] {
            for (own, kind) in [
                (&b"a-1.0.0/src/"[..], 0),
                (b"a-1.0.0/src/", b'0'),
                (b"a-1.0.0/src/lib.rs", 0),
            ] {
                let result = unpack_bytes(&with(own, kind, extended, name)).1;
                assert_eq!(refusal(result), Refusal::Ambiguous);
            }
            let (folder, result) = unpack_bytes(&with(b"pax-path", b'0', extended, name));
            result.unwrap();
            assert_eq!(
                fs::read(folder.path().join("a-1.0.0/src/lib.rs")).unwrap(),
                b"x"
            );
        }
    }

    #[test]
    fn refuses_what_extended_headers_say_twice_or_about_everything() {
        let pax = b"27 path=a-1.0.0/src/lib.rs\n";
        let unpacked = |extensions: &[(EntryType, &[u8])], kind: EntryType| {
            let bytes = archive(|builder| {
                for (extended, content) in extensions {
                    entry(builder, "extension", *extended, content);
                }
                entry(builder, "a-1.0.0/x", kind, b"x");
            });
            unpack_bytes(&bytes).1
        };
        let (x, g, l) = (
            EntryType::XHeader,
            EntryType::XGlobalHeader,
            EntryType::GNULongName,
        );
        let name = &b"a-1.0.0/y\0"[..];
        for (extensions, expected) in [
            (&[(x, &pax[..]), (x, pax)][..], Damage::ExtendedHeader),
            (&[(l, name), (l, name)], Damage::ExtendedHeader),
            (&[(g, pax)], Damage::GlobalHeader),
            (&[(x, b"no record")], Damage::ExtendedHeader),
        ] {
            let damage = damage(unpacked(extensions, EntryType::Regular));
            assert_eq!(damage, expected, "{extensions:?}");
        }
        let twice = [(x, &pax[..]), (l, name)];
        assert!(unpacked(&twice, EntryType::Regular).is_err());
        for (record, expected) in [
            (&b"10 size=2\n"[..], Refusal::Disagreement { field: "size" }),
            (b"18 SUN.holesdata=\n", Refusal::Sparse),
        ] {
            let refused = refusal(unpacked(&[(x, record)], EntryType::Regular));
            assert_eq!(refused, expected);
        }
        assert_eq!(
            refusal(unpacked(&[], EntryType::Continuous)),
            Refusal::Type { code: 0x37 }
        );
        let dangling = archive(|builder| entry(builder, "extension", x, pax));
        assert_eq!(damage(unpack_bytes(&dangling).1), Damage::ExtendedHeader);
        let folder = archive(|builder| entry(builder, "a-1.0.0/x/", EntryType::Regular, b"x"));
        assert_eq!(refusal(unpack_bytes(&folder).1), Refusal::NameAndType);
    }

    #[test]
    fn long_names_are_unpacked_wherever_they_are_cut() {
        for length in 80..130 {
            let name = format!("a-1.0.0/{}/{}", "d".repeat(length), "é".repeat(60));
            let bytes = archive(|builder| {
                let mut header = Header::new_gnu();
                header.set_mode(0o644);
                header.set_size(1);
                header.set_entry_type(EntryType::Regular);
                builder.append_data(&mut header, &name, &b"x"[..]).unwrap();
            });
            let (folder, result) = unpack_bytes(&bytes);
            result.unwrap();
            assert_eq!(
                fs::read(folder.path().join(&name)).unwrap(),
                b"x",
                "{length}"
            );
        }
    }

    #[test]
    fn refuses_a_name_twice() {
        let (_folder, result) = unpack_bytes(&archive(|builder| {
            entry(builder, "a-1.0.0/x", EntryType::Regular, b"1");
            entry(builder, "a-1.0.0/x", EntryType::Regular, b"2");
        }));
        assert_eq!(refusal(result), Refusal::Duplicate);
    }

    #[test]
    fn refuses_bombs_and_half_archives() {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"a-1.0.0/x");
        header.set_size(MAX_CRATE_UNPACKED_BYTES + 1);
        header.set_mode(0o644);
        header.set_cksum();
        let bomb = archive(|builder| builder.get_mut().write_all(header.as_bytes()).unwrap());
        assert!(matches!(
            refusal(unpack_bytes(&bomb).1),
            Refusal::FileTooLarge { .. }
        ));
        let whole = archive(|builder| entry(builder, "a-1.0.0/x", EntryType::Regular, &[7; 4000]));
        assert!(is_cut(unpack_bytes(&whole[..whole.len() / 2]).1));
    }

    #[test]
    fn everything_counts_up_to_the_end_of_the_member() {
        let (tar, _) = two_files();
        let zeros = gzip(&[&tar[..], &vec![0; 10 * BLOCK_BYTES]].concat());
        let unpacked = |limits: Rules| {
            let folder = tempfile::tempdir().unwrap();
            let builder = archive::Builder::with_rules(limits, &folder.path().join("x"), 0);
            unpack_gzip(&zeros[..], builder.unwrap()).map(|_| ())
        };
        let bytes = (tar.len() + 10 * BLOCK_BYTES) as u64;
        let with_bytes = |unpacked_bytes| Rules {
            unpacked_bytes,
            ..rules("a-1.0.0", 0)
        };
        unpacked(with_bytes(bytes)).unwrap();
        let refused = unpacked(with_bytes(bytes - 1));
        assert!(matches!(refused, Err(ArchiveError::TooLarge { .. })));
        let with_entries = |entries| Rules {
            entries,
            ..rules("a-1.0.0", 0)
        };
        // Two files, and one directory that only the path of the second one names.
        unpacked(with_entries(3)).unwrap();
        let refused = unpacked(with_entries(2));
        assert!(matches!(refused, Err(ArchiveError::TooManyEntries { .. })));
    }

    /// Programs other than cargo write such archives.
    #[test]
    fn a_directory_may_be_there_twice_and_without_size_and_mode() {
        let (_folder, result) = unpack_bytes(&archive(|builder| {
            for _ in 0..2 {
                let mut header = Header::new_gnu();
                header.set_path("a-1.0.0/src/").unwrap();
                header.set_entry_type(EntryType::Directory);
                header.set_cksum();
                builder.append(&header, &b""[..]).unwrap();
            }
            entry(builder, "a-1.0.0/src/lib.rs", EntryType::Regular, b"x");
        }));
        result.unwrap();
    }

    #[test]
    fn what_git_does_not_track_is_part_of_a_package() {
        let (folder, result) = unpack_bytes(&archive(|builder| {
            entry(builder, "a-1.0.0/.git/config", EntryType::Regular, b"x");
            entry(builder, "a-1.0.0/empty/", EntryType::Directory, b"");
        }));
        result.unwrap();
        let package = folder.path().join("a-1.0.0");
        assert_eq!(fs::read(package.join(".git/config")).unwrap(), b"x");
        assert!(package.join("empty").is_dir());
    }

    #[test]
    fn ignores_a_checksum_file_that_came_along() {
        let name = format!("a-1.0.0/{CHECKSUM_FILE}");
        let (folder, result) = unpack_bytes(&archive(|builder| {
            entry(builder, &name, EntryType::Regular, b"{}")
        }));
        mark(&folder.path().join("a-1.0.0"), result.unwrap()).unwrap();
        assert!(
            fs::read_to_string(folder.path().join(name))
                .unwrap()
                .contains("package")
        );
    }
}
