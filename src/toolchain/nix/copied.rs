//! Finds out whether an output has only copies of downloads.
//!
//! * In: an output, the store, and its paths that were downloaded, after everything that could
//!   write is dead.
//! * Out: the downloads that the output is copied from; none when the output has anything else.
//! * Never: more work than to read the output's own files, files of downloads that have one of
//!   their sizes, and the content of downloads that are archives, up to a limit.
//!
//! An output is a copy when each of its files that has bytes is, byte for byte, a file of a
//! download, or one in an archive that a download is, and each of its absolute links leads into a
//! download. Names, modes and directories may differ. A builder that adds a byte of its own is not
//! detected: the purpose is to recognise a flake whose package is only a renamed download.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Sha256Digest;

use super::archive::{self, MAX_UNPACKED_BYTES, WantedFiles};
use super::store_path::StorePath;

/// The directory of the store, as links in the store name it.
const STORE: &str = "/nix/store";

/// A file with bytes, or an absolute link.
enum Item {
    File { path: PathBuf, size: u64 },
    Link { target: PathBuf },
}

/// The files that an output has, and the downloads that its links lead into.
struct Content {
    files: WantedFiles,
    linked: BTreeSet<StorePath>,
}

/// Returns the downloads that the output `path` is copied from; empty when it is not a copy.
///
/// `store` is the directory of the store on this machine.
///
/// # Errors
/// A file of the store cannot be read.
pub(super) fn copied_from(
    path: &StorePath,
    downloads: &BTreeSet<&StorePath>,
    store: &Path,
) -> io::Result<BTreeSet<StorePath>> {
    let Some(content) = content(path, downloads, store)? else {
        return Ok(BTreeSet::new());
    };
    let Content {
        files: mut wanted,
        linked: mut from,
    } = content;
    for download in downloads {
        if find(&store.join(download.base()), &mut wanted)? {
            from.insert((*download).clone());
        }
    }
    let mut budget = MAX_UNPACKED_BYTES;
    for download in downloads {
        let path = store.join(download.base());
        if !wanted.is_empty() && is_file(&path)? && archive::find(&path, &mut wanted, &mut budget)?
        {
            from.insert((*download).clone());
        }
    }
    if !wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    Ok(from)
}

/// Returns the content of the output `path`; `None` when a link leads neither into a download nor
/// into the output itself.
fn content(
    path: &StorePath,
    downloads: &BTreeSet<&StorePath>,
    store: &Path,
) -> io::Result<Option<Content>> {
    let itself = Path::new(STORE).join(path.base());
    let mut content = Content {
        files: WantedFiles::new(),
        linked: BTreeSet::new(),
    };
    for item in items(&store.join(path.base()))? {
        match item {
            Item::File { path, size } => {
                let (digest, _) = Sha256Digest::of_reader(File::open(path)?)?;
                content.files.insert(digest, size);
            }
            Item::Link { target } if target.starts_with(&itself) => {}
            Item::Link { target } => {
                let Some(download) = download_of(&target, downloads) else {
                    return Ok(None);
                };
                content.linked.insert(download.clone());
            }
        }
    }
    Ok(Some(content))
}

fn is_file(path: &Path) -> io::Result<bool> {
    path.symlink_metadata().map(|metadata| metadata.is_file())
}

/// Removes from `wanted` the files that the download at `path` has, and returns whether it had any.
fn find(path: &Path, wanted: &mut WantedFiles) -> io::Result<bool> {
    let mut has_any = false;
    if wanted.is_empty() {
        return Ok(false);
    }
    for item in items(path)? {
        let Item::File { path, size } = item else {
            continue;
        };
        if wanted.values().any(|other| *other == size) {
            let (digest, _) = Sha256Digest::of_reader(File::open(path)?)?;
            has_any |= wanted.remove(&digest).is_some();
        }
    }
    Ok(has_any)
}

/// Returns the download that an absolute path leads into.
fn download_of<'a>(target: &Path, downloads: &BTreeSet<&'a StorePath>) -> Option<&'a StorePath> {
    let below = target.strip_prefix(STORE).ok()?;
    let base = below.components().next()?.as_os_str().to_str()?;
    downloads.get(&StorePath::of_base(base).ok()?).copied()
}

/// Returns every file with bytes and every absolute link at and below `path`. No link is followed.
fn items(path: &Path) -> io::Result<Vec<Item>> {
    let (mut items, mut pending) = (Vec::new(), vec![path.to_owned()]);
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path)?;
            items.extend(target.is_absolute().then_some(Item::Link { target }));
        } else if metadata.is_file() && metadata.len() > 0 {
            items.push(Item::File {
                path,
                size: metadata.len(),
            });
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(name: &str) -> StorePath {
        StorePath::parse(&format!(
            "/nix/store/2s1hqd8frgg7xfhr9pi3hclcnx4kij24-{name}"
        ))
        .unwrap()
    }

    /// Returns the names of the downloads that an output is copied from: a file, an archive and a
    /// directory are downloads.
    fn copied(fill: impl FnOnce(&Path)) -> Vec<String> {
        let store = tempfile::tempdir().unwrap();
        let place = |name: &str| store.path().join(path(name).base());
        fs::create_dir_all(place("tree").join("bin")).unwrap();
        fs::write(place("tree").join("bin/tool"), "program").unwrap();
        fs::write(place("tree").join("README"), "text").unwrap();
        fs::write(place("file"), "archive").unwrap();
        fs::write(place("made"), "made here").unwrap();
        let mut packed = tar::Builder::new(fs::File::create(place("packed")).unwrap());
        packed
            .append_path_with_name(place("made"), "top/unpacked")
            .unwrap();
        packed.finish().unwrap();
        fill(&place("out"));
        let downloads = ["file", "packed", "tree"].map(path);
        let from = copied_from(&path("out"), &downloads.iter().collect(), store.path()).unwrap();
        from.iter().map(|path| path.name().to_owned()).collect()
    }

    fn folder(files: &[(&str, &str)]) -> impl FnOnce(&Path) {
        move |out| {
            for (name, content) in files {
                fs::create_dir_all(out.join(name).parent().unwrap()).unwrap();
                fs::write(out.join(name), content).unwrap();
            }
        }
    }

    #[test]
    fn copies_are_found_under_other_names_and_out_of_several_downloads() {
        assert_eq!(copied(|out| fs::write(out, "archive").unwrap()), ["file"]);
        assert_eq!(
            copied(folder(&[("bin/other", "program"), ("again", "program")])),
            ["tree"]
        );
        assert_eq!(
            copied(folder(&[("a", "program"), ("b", "archive"), ("empty", "")])),
            ["file", "tree"]
        );
    }

    #[test]
    fn what_was_unpacked_from_an_archive_is_a_copy_of_it() {
        assert_eq!(copied(folder(&[("elsewhere/a", "made here")])), ["packed"]);
        assert_eq!(
            copied(folder(&[("a", "made here"), ("b", "program")])),
            ["packed", "tree"]
        );
        assert_eq!(copied(folder(&[("a", "made here"), ("b", "own")])), [""; 0]);
    }

    #[test]
    fn a_file_of_its_own_makes_it_no_copy() {
        assert_eq!(copied(folder(&[("a", "program"), ("b", "own")])), [""; 0]);
        // Of the same size.
        assert_eq!(copied(folder(&[("a", "PROGRAM")])), [""; 0]);
        assert_eq!(copied(folder(&[("empty", "")])), [""; 0]);
    }

    #[test]
    fn links_into_downloads_are_copies_too() {
        let link = |target: &'static str| move |out: &Path| symlink(target, out).unwrap();
        let hash = "/nix/store/2s1hqd8frgg7xfhr9pi3hclcnx4kij24-";
        assert_eq!(
            copied(link(
                "/nix/store/2s1hqd8frgg7xfhr9pi3hclcnx4kij24-tree/bin/tool"
            )),
            ["tree"]
        );
        assert_eq!(
            copied(link("/nix/store/2s1hqd8frgg7xfhr9pi3hclcnx4kij24-made")),
            [""; 0]
        );
        assert_eq!(copied(link("/etc/passwd")), [""; 0]);
        let with_links = |out: &Path| {
            folder(&[("bin/tool", "program")])(out);
            symlink(format!("{hash}out/bin/tool"), out.join("tool")).unwrap();
            symlink("bin", out.join("sbin")).unwrap();
        };
        assert_eq!(copied(with_links), ["tree"]);
    }
}
