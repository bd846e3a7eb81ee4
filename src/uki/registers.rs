//! What a TPM has measured once a UKI was started.
//!
//! * In: a UKI that [`super::write()`] made.
//! * Out: digests of its parts, and the values of PCR 4 and 9 (SHA-256 bank).
//! * Never: a register that also depends on the machine.
//!
//! | register | extended with | by |
//! |---|---|---|
//! | 4 | "Calling EFI Application from Boot Option" | firmware (TCG PC Client Platform Firmware Profile 1.05, section 3.3.4.5) |
//! | 4 | the separator, four zero bytes | firmware |
//! | 4 | the Authenticode digest of the UKI | firmware, as it loads the boot option |
//! | 4 | the Authenticode digest of the kernel | firmware, as the stub has it load the kernel |
//! | 9 | the command line, in UTF-16 with its NUL | the kernel's stub (`drivers/firmware/efi/libstub`) |
//! | 9 | the initrd | the kernel's stub |

use sha2::{Digest as _, Sha256};

use super::SECTIONS;
use super::pe::{Pe, PeError};
use crate::digest::Sha256Digest;

/// What firmware measures before it starts the first program.
const ACTION: &[u8] = b"Calling EFI Application from Boot Option";
/// What it measures after that: everything further is what the disk brought.
const SEPARATOR: &[u8] = &[0; 4];

/// The reason why a file is not a UKI of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UkiError {
    /// The file is no PE file.
    #[error("it is no PE file that can be measured")]
    File(#[source] PeError),
    /// The kernel in it is no PE file.
    #[error("its kernel is no PE file that can be measured")]
    Kernel(#[source] PeError),
    /// It has other sections, and so another stub, which may take further inputs.
    #[error("its sections are not .text, .linux, .initrd and .cmdline: another program made it")]
    Sections,
}

/// The digests of a UKI, of its parts, and of the registers after it was started.
#[derive(Debug, PartialEq, Eq)]
pub struct Measured {
    /// The digest of the whole file.
    pub uki: Sha256Digest,
    /// Its Authenticode digest, which a Secure Boot database can allow.
    pub uki_authenticode: Sha256Digest,
    /// The digest of the kernel.
    pub kernel: Sha256Digest,
    /// The Authenticode digest of the kernel, likewise.
    pub kernel_authenticode: Sha256Digest,
    /// The digest of the initrd.
    pub initrd: Sha256Digest,
    /// The digest of the command line, one byte a character and without a NUL.
    pub command_line: Sha256Digest,
    /// PCR 4.
    pub pcr_4: Sha256Digest,
    /// PCR 9.
    pub pcr_9: Sha256Digest,
}

impl Measured {
    /// Measures a UKI.
    ///
    /// # Errors
    /// The file is not a UKI that [`super::write()`] made.
    pub fn of(file: &[u8]) -> Result<Self, UkiError> {
        let uki = Pe::parse(file).map_err(UkiError::File)?;
        if !uki.names().eq(SECTIONS) {
            return Err(UkiError::Sections);
        }
        let section = |index: usize| uki.section(SECTIONS[index]).ok_or(UkiError::Sections);
        let (kernel, initrd, command_line) = (section(1)?, section(2)?, section(3)?);
        let uki_authenticode = uki.authenticode();
        let kernel_authenticode = Pe::parse(kernel).map_err(UkiError::Kernel)?.authenticode();
        let options: Vec<u8> = command_line
            .iter()
            .chain(&[0])
            .flat_map(|character| [*character, 0])
            .collect();
        let initrd_digest = Sha256Digest::of(initrd);
        Ok(Self {
            uki: Sha256Digest::of(file),
            uki_authenticode,
            kernel: Sha256Digest::of(kernel),
            kernel_authenticode,
            initrd: initrd_digest,
            command_line: Sha256Digest::of(command_line),
            pcr_4: register(&[
                Sha256Digest::of(ACTION),
                Sha256Digest::of(SEPARATOR),
                uki_authenticode,
                kernel_authenticode,
            ]),
            pcr_9: register(&[Sha256Digest::of(&options), initrd_digest]),
        })
    }
}

/// Returns the value of a register that was zero and then extended with each of these (TPM 2.0
/// Library, part 1, section 11.4.3).
fn register(extended: &[Sha256Digest]) -> Sha256Digest {
    extended
        .iter()
        .fold(Sha256Digest::from_bytes([0; 32]), |value, digest| {
            let next = Sha256::new()
                .chain_update(value.as_bytes())
                .chain_update(digest.as_bytes());
            Sha256Digest::from_bytes(next.finalize().into())
        })
}
