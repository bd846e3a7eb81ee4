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
