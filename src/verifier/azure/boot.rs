//! Whether a machine started what was published.
//!
//! - Comes in: registers that the paravisor's TPM signed, and the files of `measurements/`.
//! - Goes out: the one published boot that they are of.
//! - Never: a boot with something in a register that a published boot leaves alone.
//!
//! | register | what extends it, and who looks at it |
//! |---|---|
//! | 0 to 3, 6, 7, 10 | firmware and its settings, which differ between machines; nobody |
//! | 4 | what the firmware starts: the kernel image with its stub, then the kernel; compared |
//! | 5 | the partition table; nobody |
//! | 8, 11 to 15 | boot loaders, shims, addons, system extensions; zero |
//! | 9 | what the kernel's own stub is given: command line and initrd; compared |

use super::super::published::{Boot, Image};
use super::super::reference::{Anchor, COMMAND_LINE, ReferenceValues};
use super::super::rejection::Rejection;
use super::super::revocation::{Revocation, Revocations};
use super::super::statement::ImageClaim;
use super::quote::VerifiedQuote;
use super::registers::{BOOT_REGISTERS, Registers};
use super::rejection::AzureRejection;

/// Registers that are zero after a published boot.
const ZERO: [u8; 6] = [8, 11, 12, 13, 14, 15];

/// A published boot that registers are of.
struct Match<'r> {
    image: &'r Image,
    boot: &'r Boot,
    anchor: Anchor,
}

/// Appraises the registers of a quote; `claim` is what the statement says of its image, none where
/// there is no statement.
///
/// # Errors
/// The registers are of no published boot or of a revoked image, another one was extended, or the
/// statement claims another image. Its command line is register 9's to say: what is published is
/// that of a launch without a TPM.
pub fn appraise(
    references: &ReferenceValues,
    quote: &VerifiedQuote,
    claim: Option<&ImageClaim>,
) -> Result<(), Rejection> {
    let registers = quote.registers();
    let is_of = |image: &&Image| image.boot.iter().any(|boot| boot.is_of(registers));
    if let Some(revocation) = Revocations::compiled_in()
        .images()
        .filter(is_of)
        .find_map(revocation)
    {
        return Err(AzureRejection::BootRevoked {
            by: Box::new(revocation),
            actual: shown(registers),
        }
        .into());
    }
    if boots(references).next().is_none() {
        return Err(AzureRejection::NoBootReference.into());
    }
    let matches = || boots(references).filter(|found| found.boot.is_of(registers));
    let Some(found) = matches().next() else {
        let expected: Vec<_> = boots(references).map(|found| found.boot.shown()).collect();
        let (expected, actual) = (expected.join(" | "), shown(registers));
        return Err(AzureRejection::BootUnknown {
            tried: tried(references),
            expected,
            actual,
        }
        .into());
    };
    if let Some(revocation) = matches().find_map(|found| revocation(found.image)) {
        return Err(AzureRejection::BootRevoked {
            by: Box::new(revocation),
            actual: shown(registers),
        }
        .into());
    }
    if let Some(register) = ZERO
        .into_iter()
        .find(|register| *registers.value(*register).as_bytes() != [0; 32])
    {
        let actual = registers.value(register);
        return Err(AzureRejection::RegisterNotZero { register, actual }.into());
    }
    let Some(claim) = claim else { return Ok(()) };
    let mut differences = found
        .image
        .difference(claim)
        .filter(|difference| difference.input != COMMAND_LINE);
    match differences.next() {
        Some(difference) => Err(difference.rejection(found.image)),
        None => Ok(()),
    }
}

/// Why an image is not to be believed: the list that was compiled in says so, or its own file.
fn revocation(image: &Image) -> Option<Revocation> {
    let listed = Revocations::compiled_in().of_image(image).cloned();
    listed.or_else(|| image.revocation())
}

/// Returns the published boot that registers are of, as `VERSION, NAME`, and who says so.
pub fn named(references: &ReferenceValues, registers: &Registers) -> Option<(String, Anchor)> {
    let found = boots(references).find(|found| found.boot.is_of(registers))?;
    Some((
        format!("{}, {}", found.image.name(), found.boot.name),
        found.anchor,
    ))
}

fn boots(references: &ReferenceValues) -> impl Iterator<Item = Match<'_>> {
    references.images().flat_map(|(image, anchor)| {
        image.boot.iter().map(move |boot| Match {
            image,
            boot,
            anchor: *anchor,
        })
    })
}

fn tried(references: &ReferenceValues) -> String {
    let names: Vec<_> = boots(references)
        .map(|found| format!("{} {}", found.image.name(), found.boot.name))
        .collect();
    format!("tried {}", names.join(", "))
}

fn shown(registers: &Registers) -> String {
    BOOT_REGISTERS
        .map(|register| format!("{register}={}", registers.value(register)))
        .join(" ")
}

impl Boot {
    fn is_of(&self, registers: &Registers) -> bool {
        self.registers
            .iter()
            .all(|(register, value)| registers.value(*register) == *value)
    }

    fn shown(&self) -> String {
        let each: Vec<_> = self
            .registers
            .iter()
            .map(|(register, value)| format!("{register}={value}"))
            .collect();
        each.join(" ")
    }
}
