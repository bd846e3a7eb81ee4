//! The platform configuration registers of a TPM.
//!
//! * In: 24 values of SHA-256.
//! * Out: each by its number, and the digest over all, as a quote has it.
//! * Never: fewer or more of them.

use crate::digest::Sha256Digest;

/// The number of registers in a bank.
pub const REGISTERS: usize = 24;
/// The registers that tell one boot from another: the program that was started, and its command
/// line and initrd.
pub const BOOT_REGISTERS: [u8; 2] = [4, 9];
/// The bytes of one register.
pub const REGISTER_BYTES: usize = 32;

/// All registers of the SHA-256 bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers([[u8; REGISTER_BYTES]; REGISTERS]);

impl Registers {
    /// Takes the values from 0 on; none where there is another number than 24.
    pub fn of(values: &[[u8; REGISTER_BYTES]]) -> Option<Self> {
        values.try_into().ok().map(Self)
    }

    /// Returns the value of one register, or zeros where no register has the number.
    pub fn value(&self, number: u8) -> Sha256Digest {
        let found = self.0.get(usize::from(number));
        Sha256Digest::from_bytes(found.copied().unwrap_or_default())
    }

    /// Returns SHA-256 over all of them, in order.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.0.as_flattened())
    }
}
