//! Lists an erofs image without mounting it: the kernel's documentation, filesystems/erofs, and
//! fs/erofs/erofs_fs.h. All numbers are little-endian.
//!
//! | superblock, at 1024 | |
//! |---|---|
//! | 0 | magic, 4 bytes |
//! | 12 | binary logarithm of the block size, 1 |
//! | 14 | number of the root directory, 2 |
//! | 16 | number of inodes, 8 |
//! | 40 | block where inodes begin, 4 |
//!
//! | inode, at its number times 32 | compact: 32 bytes | extended: 64 bytes |
//! |---|---|---|
//! | 0 | format: bit 0 is extended, bits 1 to 3 are the layout, 2 | same |
//! | 2 | size of extended attributes, 2 | same |
//! | 4 | mode, 2 | same |
//! | 8 | size, 4 | size, 8 |
//! | 16 | first block, 4 | same |
//! | 24 | user, 2 | user, 4 |
//! | 26 or 28 | group, 2 | group, 4 |

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const SUPERBLOCK: usize = 1024;
const MAGIC: u64 = 0xe0f5_e1e2;
const INODE_UNIT: usize = 32;
const ENTRY_BYTES: usize = 12;
/// Layouts of directories, which are never compressed: whole blocks, and whole blocks with the rest
/// after the inode.
const FLAT: u64 = 0;
const INLINE: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Link,
    Other,
}

#[derive(Clone, Debug)]
pub struct Inode {
    pub mode: u16,
    pub user: u64,
    pub group: u64,
    /// Their size in the image's own unit; 0 where there are none.
    pub extended_attributes: u64,
    layout: u64,
    size: usize,
    first_block: usize,
    /// The offset of the data after the inode.
    end: usize,
}

impl Inode {
    /// inode(7)
    pub fn kind(&self) -> Kind {
        match self.mode >> 12 {
            0o10 => Kind::File,
            0o04 => Kind::Directory,
            0o12 => Kind::Link,
            _ => Kind::Other,
        }
    }
}

struct Image {
    bytes: Vec<u8>,
    block: usize,
    inodes: usize,
}

/// Returns every path, from `/` on, with its inode. Asserts that the image has as many inodes as it
/// claims.
pub fn list(path: &Path) -> Vec<(String, Inode)> {
    let bytes = fs::read(path).unwrap();
    let mut image = Image {
        bytes,
        block: 0,
        inodes: 0,
    };
    assert_eq!(image.number(SUPERBLOCK, 4), MAGIC, "this is no erofs image");
    image.block = 1 << image.number(SUPERBLOCK + 12, 1);
    image.inodes = image.number(SUPERBLOCK + 40, 4) as usize * image.block;
    let (root, count) = (
        image.number(SUPERBLOCK + 14, 2) as usize,
        image.number(SUPERBLOCK + 16, 8),
    );

    let (mut found, mut reached) = (vec![], BTreeSet::new());
    let mut left = vec![(String::new(), root)];
    while let Some((path, number)) = left.pop() {
        let inode = image.inode(number);
        let is_new = reached.insert(number);
        if inode.kind() == Kind::Directory {
            assert!(is_new, "{path}/ is reached twice");
            let children = image.children(&inode).into_iter();
            left.extend(children.map(|(name, number)| (format!("{path}/{name}"), number)));
        }
        found.push((
            if path.is_empty() {
                "/".to_owned()
            } else {
                path
            },
            inode,
        ));
    }
    assert_eq!(reached.len() as u64, count, "not all inodes were reached");
    found
}

impl Image {
    fn number(&self, at: usize, bytes: usize) -> u64 {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.bytes[at..at + bytes]);
        u64::from_le_bytes(number)
    }

    fn inode(&self, number: usize) -> Inode {
        let at = self.inodes + number * INODE_UNIT;
        let format = self.number(at, 2);
        let extended = format & 1 == 1;
        let (size, owner, length) = if extended { (8, 4, 64) } else { (4, 2, 32) };
        let extended_attributes = self.number(at + 2, 2);
        // A header of 12 bytes, and one 4-byte unit for each beyond the first.
        let attribute_bytes = if extended_attributes == 0 {
            0
        } else {
            12 + 4 * (extended_attributes as usize - 1)
        };
        Inode {
            mode: self.number(at + 4, 2) as u16,
            user: self.number(at + 24, owner),
            group: self.number(at + 24 + owner, owner),
            extended_attributes,
            layout: format >> 1 & 7,
            size: self.number(at + 8, size) as usize,
            first_block: self.number(at + 16, 4) as usize,
            end: at + length + attribute_bytes,
        }
    }

    /// Returns the names and numbers in a directory, without itself and its parent.
    fn children(&self, directory: &Inode) -> Vec<(String, usize)> {
        let mut children = vec![];
        for start in (0..directory.size).step_by(self.block) {
            let length = self.block.min(directory.size - start);
            let at = match directory.layout {
                INLINE if start + length == directory.size => directory.end,
                FLAT | INLINE => directory.first_block * self.block + start,
                other => panic!("a directory with layout {other}"),
            };
            children.extend(self.entries(at, length));
        }
        children.retain(|(name, _)| name != "." && name != "..");
        children
    }

    /// Reads one block: the entries, then their names.
    fn entries(&self, at: usize, length: usize) -> Vec<(String, usize)> {
        let name_at = |entry: usize| self.number(at + entry * ENTRY_BYTES + 8, 2) as usize;
        let count = name_at(0) / ENTRY_BYTES;
        let entry = |number: usize| {
            let end = if number + 1 < count {
                name_at(number + 1)
            } else {
                length
            };
            let name = self.bytes[at + name_at(number)..at + end]
                .split(|byte| *byte == 0)
                .next()
                .unwrap();
            (
                String::from_utf8(name.to_vec()).unwrap(),
                self.number(at + number * ENTRY_BYTES, 8) as usize,
            )
        };
        (0..count).map(entry).collect()
    }
}
