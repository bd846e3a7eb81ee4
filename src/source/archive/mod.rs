//! Unpacks uploaded archives.
//!
//! * In: a file that a client sent: ZIP, gzip tar or plain tar, recognized by its content.
//! * Out: a [`SourceTree`].
//! * Never: an archive that is repaired, partly unpacked, or believed about its own size or
//!   identity.
//!
//! # From a file to a source tree
//!
//! [`unpack`] creates a [`Builder`] on a new directory, reads the first block and chooses a reader.
//! The readers, `tar` and `zip`, know formats and nothing of directories: each decodes one entry
//! after the other and passes its name (as bytes), type, size and a stream of its data to the
//! builder. The builder knows no format: it checks the name (`name`), counts entries, bytes and the
//! expansion against [`Rules`], adds the entry to a tree in memory, and writes and hashes the file
//! in one pass. `Builder::finish` checks where links lead, creates them, and sets times. `tar`
//! also serves crates, which have their own [`Rules`], and the files of commits, which
//! [`super::repository`] lets git print.
//!
//! What a reader must guarantee is that no other program reads the same bytes differently. That is
//! why `tar` refuses headers that programs disagree on, and `zip` compares both headers of every
//! entry and lets no byte of the file belong to nothing. What an archive claims about a size bounds
//! nothing: the limits count bytes as they come out of the decoder.
//!
//! Any error refuses the whole archive, also where the effect of one entry could be contained, and
//! then [`unpack`] removes what was written.
//!
//! # Decisions
//!
//! * A gzip file is one member. More members are legal (RFC 1952, 2.2), but no tool that packs
//!   source makes them, and readers disagree on whether bytes after the first one exist.
//! * Hard links are refused: git has none, and the content of such an entry depends on the order of
//!   others.
//! * `.git`, in any case and at any depth, is read, checked and counted like everything else, and
//!   then dropped. A link that needs it dangles.
//! * Empty directories are dropped: the tree id does not cover them, so the build must not see
//!   them.
//! * Names are UTF-8, also in a ZIP that does not declare them as such.
//! * If there is a single top directory, it is the tree, and links must stay inside it. Files that
//!   programs of macOS put beside it (`__MACOSX/`, `._NAME`) are read, checked and counted, and
//!   then left out; the source's notes name them.
//! * A ZIP whose names have backslashes and no slash is read with the backslash as the separator:
//!   PowerShell 5.1 writes such archives. The source's notes say so.

mod builder;
mod error;
mod name;
mod tar;
mod zip;

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::GzDecoder;

pub(super) use builder::TIMESTAMP;
pub use builder::{
    Builder, EXPANSION_FLOOR_BYTES, MAX_ARCHIVE_ENTRIES, MAX_EXPANSION_RATIO, MAX_FILE_BYTES,
    MAX_NAME_BYTES, MAX_UNPACKED_BYTES, Rules,
};
pub use error::{ArchiveError, Damage, Refusal};
pub use name::{Label, MAX_COMPONENT_BYTES, MAX_PATH_BYTES, NameError};
pub use tar::MAX_EXTENDED_HEADER_BYTES;

use self::zip::Separator;
use super::links::LinkPolicy;
use super::tree::{Node, Tree};
use super::{Origin, ProjectName, SourceTree};
use crate::digest::{Sha256Digest, Sha256Reader};
use crate::tar_header::is_tar;

/// How many bytes are read to recognize the format: one block of tar.
const MAGIC_BYTES: u64 = 512;

/// Unpacks `archive`, which the client called `name`, into the directory `into`, which must not
/// exist. This blocks.
///
/// # Errors
/// The archive is refused, or there is an internal error. The directory is removed then.
pub fn unpack(archive: &Path, name: Option<&str>, into: &Path) -> Result<SourceTree, ArchiveError> {
    let file = File::open(archive).map_err(ArchiveError::read)?;
    let packed = file.metadata().map_err(ArchiveError::read)?.len();
    let builder = Builder::new(into, packed)?;
    let unpacked =
        unpack_into(file, packed, builder).and_then(|unpacked| source_tree(unpacked, name, into));
    if unpacked.is_err() {
        std::fs::remove_dir_all(into).map_err(ArchiveError::write)?;
    }
    unpacked
}

/// The contents of an archive.
struct Unpacked {
    sha256: Sha256Digest,
    tree: Tree,
    separator: Separator,
}

fn unpack_into(
    mut file: File,
    packed: u64,
    mut builder: Builder,
) -> Result<Unpacked, ArchiveError> {
    let mut magic = Vec::new();
    (&file)
        .take(MAGIC_BYTES)
        .read_to_end(&mut magic)
        .map_err(ArchiveError::read)?;
    file.rewind().map_err(ArchiveError::read)?;
    let mut separator = Separator::Slash;
    let sha256 = match magic.as_slice() {
        [0x1f, 0x8b, ..] => {
            let (sha256, tree) = unpack_gzip(file, builder)?;
            return Ok(Unpacked {
                sha256,
                tree,
                separator,
            });
        }
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => {
            let (sha256, _) = Sha256Digest::of_reader(&file).map_err(ArchiveError::read)?;
            separator = zip::unpack(&mut file, packed, &mut builder)?;
            sha256
        }
        _ if is_tar(&magic) => {
            let mut stream = BufReader::new(Sha256Reader::new(file));
            tar::unpack(&mut stream, &mut builder)?;
            stream.into_inner().finish().0
        }
        _ => return Err(ArchiveError::UnknownFormat),
    };
    Ok(Unpacked {
        sha256,
        tree: builder.finish(LinkPolicy::Resolve)?,
        separator,
    })
}

/// Unpacks a gzip tar with `builder`. Returns the digest of the bytes from which the files were
/// unpacked, and the tree of the files. This blocks.
///
/// # Errors
/// The archive is refused, or there is an internal error. Files that were already written are left.
pub fn unpack_gzip(
    archive: impl Read,
    mut builder: Builder,
) -> Result<(Sha256Digest, Tree), ArchiveError> {
    let mut member = GzDecoder::new(BufReader::new(Sha256Reader::new(archive)));
    // This reads to the end of the member, where the checksum is verified.
    tar::unpack(&mut member, &mut builder)?;
    let mut rest = member.into_inner();
    // Unlike `read`, `read_to_end` repeats an interrupted read.
    let mut trailing = Vec::new();
    let count = rest
        .by_ref()
        .take(1)
        .read_to_end(&mut trailing)
        .map_err(ArchiveError::read)?;
    if count > 0 {
        return Err(ArchiveError::Damaged(Damage::TrailingBytes));
    }
    let (sha256, _) = rest.into_inner().finish();
    Ok((sha256, builder.finish(LinkPolicy::Resolve)?))
}

/// Unpacks the plain tar that `git archive` printed.
pub(super) fn unpack_git_tar(file: File, builder: &mut Builder) -> Result<(), ArchiveError> {
    tar::unpack(&mut BufReader::new(file), builder)
}

fn source_tree(
    unpacked: Unpacked,
    name: Option<&str>,
    into: &Path,
) -> Result<SourceTree, ArchiveError> {
    let Unpacked {
        sha256,
        tree,
        separator,
    } = unpacked;
    let origin = Origin::Archive {
        name: name.map(str::to_owned),
        sha256,
    };
    let mut notes = Vec::new();
    if separator == Separator::Backslash {
        notes.push("the names in the archive have backslashes, which were read as `/`".to_owned());
    }
    let (root, files, top) = match single_directory(&tree) {
        Some((top, below)) => {
            notes.extend(note_of_macos(&tree));
            (into.join(top), below, Some(top))
        }
        None => (into.to_owned(), &tree, None),
    };
    builder::check_links(files, LinkPolicy::Resolve)?;
    let oid = files.oid();
    if oid == Tree::default().oid() {
        return Err(ArchiveError::NoFiles);
    }
    let project = ProjectName::of_archive(top, name);
    Ok(SourceTree::new(root, origin, oid, project, 0).with_notes(notes))
}

/// Returns the directory that is the only entry of the tree beside those of macOS, with its name.
fn single_directory(tree: &Tree) -> Option<(&str, &Tree)> {
    let is_counted = |(name, node): &(&Vec<u8>, &Node)| !is_of_macos(name, node);
    let mut entries = tree.entries.iter().filter(is_counted);
    match (entries.next()?, entries.next()) {
        ((name, Node::Directory(below)), None) => Some((std::str::from_utf8(name).ok()?, below)),
        _ => None,
    }
}

/// Returns whether a program of macOS put an entry beside what it packed: the Finder's directory,
/// or a file of attributes (`AppleDouble`).
fn is_of_macos(name: &[u8], node: &Node) -> bool {
    match node {
        Node::Directory(_) => name == b"__MACOSX",
        Node::File { .. } => name.starts_with(b"._"),
        Node::Link { .. } | Node::Submodule { .. } => false,
    }
}

/// Names the entries of macOS that are left out, if there are any.
fn note_of_macos(tree: &Tree) -> Option<String> {
    let of_macos = tree
        .entries
        .iter()
        .filter(|(name, node)| is_of_macos(name, node));
    let names: Vec<_> = of_macos
        .map(|(name, _)| Label::of(name).to_string())
        .collect();
    let (first, others) = names.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Some(format!(
        "left out what macOS put beside the directory in the archive: {first}{others}"
    ))
}
