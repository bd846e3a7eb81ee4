//! Computes digests, and represents them as values.
//!
//! * In: bytes, readers, hexadecimal text.
//! * Out: digests of a fixed size, which print as lower-case hex.
//! * Never: a digest that was taken from a claim without being marked as such by its caller.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The size in bytes of the buffer for hashing files.
const COPY_BUFFER_BYTES: usize = 64 * 1024;

/// The reason why text is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseDigestError {
    /// The number of hexadecimal digits is wrong.
    #[error(
        "a digest of {expected} hexadecimal digits was expected, {actual} characters were given"
    )]
    Length {
        /// The number of digits that this kind of digest has.
        expected: usize,
        /// The number of characters that were given.
        actual: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("the digest has a character that is not a hexadecimal digit")]
    Digit,
}

macro_rules! digest_type {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// Wraps bytes that already are a digest.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes of the digest.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            /// Reads hexadecimal digits of either case.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if text.len() != 2 * $bytes {
                    return Err(ParseDigestError::Length {
                        expected: 2 * $bytes,
                        actual: text.chars().count(),
                    });
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseDigestError::Digit)?;
                Ok(Self(bytes))
            }
        }
    };
}

/// A SHA-256 digest (FIPS 180-4), 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);
digest_type!(Sha256Digest, 32);

/// A git object id under SHA-1, 20 bytes: the id of a commit, tree or blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitOid([u8; 20]);
digest_type!(GitOid, 20);

impl Sha256Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest of everything that can be read from `reader`, and the number of bytes.
    ///
    /// # Errors
    /// The reader fails.
    pub fn of_reader(reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hashed = Sha256Reader::new(reader);
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        while hashed.read(&mut buffer)? > 0 {}
        Ok(hashed.finish())
    }
}

impl GitOid {
    /// Returns the id of an object of `kind` (`blob`, `tree`, `commit`) with this content.
    pub fn of_object(kind: &str, content: &[u8]) -> Self {
        let mut hasher = GitHasher::new(kind, content.len() as u64);
        hasher.0.update(content);
        hasher.finish()
    }

    /// Returns the id of a blob of exactly `size` bytes, which are read from `reader`.
    ///
    /// # Errors
    /// The reader fails, or has fewer bytes (`UnexpectedEof`) or more bytes (`InvalidData`) than
    /// `size`.
    pub fn of_blob(mut reader: impl Read, size: u64) -> io::Result<Self> {
        let mut hasher = GitHasher::new("blob", size);
        let copied = io::copy(&mut reader, &mut hasher)?;
        match copied.cmp(&size) {
            std::cmp::Ordering::Equal => Ok(hasher.finish()),
            std::cmp::Ordering::Less => Err(io::ErrorKind::UnexpectedEof.into()),
            std::cmp::Ordering::Greater => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Hashes one git object while its content is written to it.
pub struct GitHasher(Sha1);

impl GitHasher {
    /// Starts an object of `kind` (`blob`, `tree`, `commit`) with `size` bytes of content.
    pub fn new(kind: &str, size: u64) -> Self {
        Self(Sha1::new().chain_update(format!("{kind} {size}\0")))
    }

    /// Returns the id of the object.
    pub fn finish(self) -> GitOid {
        GitOid(self.0.finalize().into())
    }
}

impl Write for GitHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes reads through and hashes the bytes.
pub struct Sha256Reader<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Sha256Reader<R> {
    /// Returns a reader that hashes everything that is read from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// Returns the digest and the number of the bytes that were read.
    pub fn finish(self) -> (Sha256Digest, u64) {
        (Sha256Digest(self.hasher.finalize().into()), self.bytes)
    }
}

impl<R: Read> Read for Sha256Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Passes writes through and hashes the bytes.
pub struct Sha256Writer<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Sha256Writer<W> {
    /// Returns a writer that hashes everything that is written to `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// Returns the writer, and the digest and the number of the bytes that were written.
    pub fn finish(self) -> (W, Sha256Digest, u64) {
        (
            self.inner,
            Sha256Digest(self.hasher.finalize().into()),
            self.bytes,
        )
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = loop {
            match self.inner.write(bytes) {
                // Not every caller tries again.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_digests_of_nothing() {
        assert_eq!(
            Sha256Digest::of(b"").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            GitOid::of_object("blob", b"").to_string(),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        assert_eq!(
            GitOid::of_object("tree", b"").to_string(),
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        );
    }

    #[test]
    fn rejects_a_blob_of_another_size() {
        assert_eq!(
            GitOid::of_blob(&b"abc"[..], 3).unwrap(),
            GitOid::of_object("blob", b"abc")
        );
        assert_eq!(
            GitOid::of_blob(&b"abc"[..], 4).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            GitOid::of_blob(&b"abc"[..], 2).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn refuses_text_that_is_no_digest() {
        assert_eq!(
            "ab".parse::<GitOid>(),
            Err(ParseDigestError::Length {
                expected: 40,
                actual: 2
            })
        );
        assert_eq!(
            "zz".repeat(20).parse::<GitOid>(),
            Err(ParseDigestError::Digit)
        );
        let upper = "AB".repeat(20).parse::<GitOid>().unwrap();
        assert_eq!(upper.to_string(), "ab".repeat(20));
    }

    #[test]
    fn hashing_wrappers_agree_with_the_whole() {
        let mut writer = Sha256Writer::new(Vec::new());
        writer.write_all(b"kettle").unwrap();
        let (kept, digest, bytes) = writer.finish();
        assert_eq!(
            (kept.as_slice(), digest, bytes),
            (&b"kettle"[..], Sha256Digest::of(b"kettle"), 6)
        );
        assert_eq!(
            Sha256Digest::of_reader(&b"kettle"[..]).unwrap(),
            (digest, 6)
        );
    }
}
