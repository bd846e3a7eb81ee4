//! Uploaded archives. Comes in: a file that a client sent: ZIP, gzip tar or plain tar, told by its content. Goes out: a
//! [`SourceTree`]. Never: an archive that is repaired, partly unpacked, or believed about its own size or identity.
//!
//! One hostile entry refuses the whole archive, also where its effect could be contained. Decisions:
//!
//! - A gzip file is one member. More members are legal (RFC 1952, 2.2), but no tool that packs source makes them, and
//!   readers disagree on whether what follows the first one exists.
//! - Hard links are refused: git has none, and what such an entry contains depends on the order of others.
//! - `.git`, in any case and at any depth, is read, checked and counted like everything else, and then dropped. A link
//!   that needs it dangles.
//! - Empty folders are dropped: the tree id does not cover them, so the build must not see them.
//! - Names are UTF-8, also in a ZIP that does not say so.
//! - The single top folder, where there is one, is the tree; links must stay inside it.

mod builder;
mod error;
mod name;
mod tar;
mod zip;

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::GzDecoder;

pub use builder::{
    Builder, EXPANSION_FLOOR_BYTES, MAX_ARCHIVE_ENTRIES, MAX_EXPANSION_RATIO, MAX_FILE_BYTES,
    MAX_NAME_BYTES, MAX_UNPACKED_BYTES, Rules,
};
pub use error::{ArchiveError, Damage, Refusal};
pub use name::{Label, MAX_COMPONENT_BYTES, MAX_PATH_BYTES, NameError};
pub use tar::MAX_EXTENDED_HEADER_BYTES;

use super::links::Policy;
use super::tree::{Node, Tree};
use super::{Origin, ProjectName, SourceTree};
use crate::digest::{Sha256Digest, Sha256Reader};
use crate::tar_header::is_tar;

/// Bytes that tell the formats apart: one block of tar.
const MAGIC_BYTES: u64 = 512;

/// Unpacks `archive`, which its sender called `name`, into the folder `into`, which must not exist. It blocks.
///
/// # Errors
/// Why the archive is refused, or a fault of ours. Nothing of `into` is left then.
pub fn unpack(archive: &Path, name: Option<&str>, into: &Path) -> Result<SourceTree, ArchiveError> {
    let file = File::open(archive).map_err(ArchiveError::read)?;
    let packed = file.metadata().map_err(ArchiveError::read)?.len();
    let builder = Builder::new(into, packed)?;
    let tree = unpack_into(file, packed, builder)
        .and_then(|(sha256, tree)| receipt(sha256, tree, name, into));
    if tree.is_err() {
        std::fs::remove_dir_all(into).map_err(ArchiveError::write)?;
    }
    tree
}

fn unpack_into(
    mut file: File,
    packed: u64,
    mut builder: Builder,
) -> Result<(Sha256Digest, Tree), ArchiveError> {
    let mut magic = Vec::new();
    (&file)
        .take(MAGIC_BYTES)
        .read_to_end(&mut magic)
        .map_err(ArchiveError::read)?;
    file.rewind().map_err(ArchiveError::read)?;
    let sha256 = match magic.as_slice() {
        [0x1f, 0x8b, ..] => return unpack_gzip(file, builder),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => {
            let (sha256, _) = Sha256Digest::of_reader(&file).map_err(ArchiveError::read)?;
            zip::unpack(&mut file, packed, &mut builder)?;
            sha256
        }
        _ if is_tar(&magic) => {
            let mut stream = BufReader::new(Sha256Reader::new(file));
            tar::unpack(&mut stream, &mut builder)?;
            stream.into_inner().finish().0
        }
        _ => return Err(ArchiveError::UnknownFormat),
    };
    Ok((sha256, builder.finish(Policy::Resolve)?))
}

/// Unpacks a tar in gzip with `builder`, and returns the digest of the archive's bytes, from which
/// the files were unpacked, with the tree of what was written. It blocks.
///
/// # Errors
/// Why the archive is refused, or a fault of ours. What was unpacked until then is left.
pub fn unpack_gzip(
    archive: impl Read,
    mut builder: Builder,
) -> Result<(Sha256Digest, Tree), ArchiveError> {
    let mut member = GzDecoder::new(BufReader::new(Sha256Reader::new(archive)));
    // It reads to the end of the member, where the checksum is verified.
    tar::unpack(&mut member, &mut builder)?;
    let mut rest = member.into_inner();
    // In a vector, so that an interrupted read is repeated.
    let mut more = Vec::new();
    let one = rest.by_ref().take(1).read_to_end(&mut more);
    if one.map_err(ArchiveError::read)? > 0 {
        return Err(ArchiveError::Damaged(Damage::TrailingBytes));
    }
    let (sha256, _) = rest.into_inner().finish();
    Ok((sha256, builder.finish(Policy::Resolve)?))
}

/// Unpacks a plain tar of git's into `builder`.
pub(super) fn unpack_git_tar(file: File, builder: &mut Builder) -> Result<(), ArchiveError> {
    tar::unpack(&mut BufReader::new(file), builder)
}

fn receipt(
    sha256: Sha256Digest,
    tree: Tree,
    name: Option<&str>,
    into: &Path,
) -> Result<SourceTree, ArchiveError> {
    let origin = Origin::Archive {
        name: name.map(str::to_owned),
        sha256,
    };
    let (root, built, top) = match single_folder(&tree) {
        Some((top, below)) => (into.join(top), below, Some(top)),
        None => (into.to_owned(), &tree, None),
    };
    builder::check_links(built, Policy::Resolve)?;
    let oid = built.oid();
    if oid == Tree::default().oid() {
        return Err(ArchiveError::NoFiles);
    }
    Ok(SourceTree::new(
        root,
        origin,
        oid,
        ProjectName::of_archive(top, name),
        0,
    ))
}

fn single_folder(tree: &Tree) -> Option<(&str, &Tree)> {
    let mut entries = tree.entries.iter();
    match (entries.next()?, entries.next()) {
        ((name, Node::Folder(below)), None) => Some((std::str::from_utf8(name).ok()?, below)),
        _ => None,
    }
}
