//! The unified kernel image (UKI) with which a disk starts, and what a TPM measures of it.
//!
//! * In: the stub, a kernel, an initrd, a command line; or a file made of them.
//! * Out: the PE file, and PCR 4 and 9 of a machine that firmware started with it.
//! * Never: a file with a part that the stub does not use, or that neither register covers.
//!
//! | part | file |
//! |---|---|
//! | the PE file as it is written | `write` |
//! | PE files as they are read: sections, Authenticode digest | `pe` |
//! | the registers | `registers` |
//! | what runs first on the machine | `src/stub`, which is not compiled into this crate |

mod pe;
mod registers;
mod write;

pub use pe::PeError;
pub use registers::{Measured, UkiError};
pub use write::{WriteError, write};

/// The largest UKI, in bytes. FAT limits a file to 4 GiB; ours has 8 MB.
pub const MAX_UKI_BYTES: usize = 256 << 20;

/// The names of a UKI's sections, in their order: the stub's code, and the parts that it starts.
const SECTIONS: [&[u8; 8]; 4] = [b".text\0\0\0", b".linux\0\0", b".initrd\0", b".cmdline"];

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test of bytes that the test itself made.
mod tests {
    use super::{Measured, PeError, UkiError, WriteError, write};

    /// The place of the checksum in a file that `write` made, the only bytes that nothing measures.
    const CHECKSUM: std::ops::Range<usize> = 152..156;

    /// Returns a UKI; its kernel is a small UKI itself, because that is a PE file.
    fn small() -> Vec<u8> {
        let kernel = write(b"code", b"MZ", b"", b"").unwrap();
        write(b"stub", &kernel, b"initrd", b"one two").unwrap()
    }

    #[test]
    fn a_uki_is_measured_as_it_was_written() {
        let measured = Measured::of(&small()).unwrap();
        let kernel = write(b"code", b"MZ", b"", b"").unwrap();
        assert_eq!(measured.kernel, crate::digest::Sha256Digest::of(&kernel));
        // SHA-256 of 32 zeros and SHA-256("o\0n\0…\0\0"), then of that and SHA-256("initrd").
        assert_eq!(
            measured.pcr_9.to_string(),
            "168e540cc65ab26c93dbebdd275c89eb1c6bbaf881630c9c254f451bcc2e21e7"
        );
    }

    #[test]
    fn every_changed_bit_is_refused_or_gives_another_register() {
        let file = small();
        let measured = Measured::of(&file).unwrap();
        for at in (0..file.len()).filter(|at| !CHECKSUM.contains(at)) {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                let register = Measured::of(&changed).map(|measured| measured.pcr_4);
                assert_ne!(register, Ok(measured.pcr_4), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn every_cut_is_refused_or_gives_another_register() {
        let file = small();
        let measured = Measured::of(&file).unwrap();
        for length in 0..file.len() {
            let register = Measured::of(&file[..length]).map(|measured| measured.pcr_4);
            assert_ne!(register, Ok(measured.pcr_4), "{length} bytes");
        }
        let longer = [&file[..], b"x"].concat();
        assert_ne!(Measured::of(&longer).unwrap().pcr_4, measured.pcr_4);
    }

    #[test]
    fn another_program_is_no_uki() {
        let mut other = small();
        let name = other.windows(8).position(|it| it == b".cmdline").unwrap();
        other[name..name + 8].copy_from_slice(b".osrel\0\0");
        assert_eq!(Measured::of(&other), Err(UkiError::Sections));
        let missing = PeError::Missing {
            part: "the MS-DOS header",
        };
        assert_eq!(Measured::of(b"#!/bin/sh"), Err(UkiError::File(missing)));
    }

    #[test]
    fn a_command_line_that_utf_16_writes_otherwise_is_refused() {
        for (text, offset) in [(&b"a\n"[..], 1), (b"\xc3\xa4", 0), (b"ab\0", 2)] {
            let expected = Err(WriteError::Character { offset });
            assert_eq!(write(b"", b"", b"", text), expected);
        }
    }
}
