//! Whether a machine started a published image.
//!
//! * In: registers that the paravisor's TPM signed, and the files of `measurements/`.
//! * Out: the one published boot whose registers they are.
//! * Never: a boot that extended a register which no published boot extends.
//!
//! | register | measures | appraised |
//! |---|---|---|
//! | 0 to 3, 6, 7, 10 | firmware and its settings, which differ between machines | no |
//! | 4 | the programs that the firmware starts: the kernel image with its stub, then the kernel | compared |
//! | 5 | the partition table | no |
//! | 8, 11 to 15 | boot loaders, shims, addons, system extensions | must be zero |
//! | 9 | the input of the kernel's own stub: command line and initrd | compared |

use super::super::published::{Boot, Image};
use super::super::reference::{Anchor, COMMAND_LINE, ReferenceValues};
use super::super::rejection::Rejection;
use super::super::revocation::{Revocation, Revocations};
use super::super::statement::ImageClaim;
use super::registers::{BOOT_REGISTERS, Registers};
use super::rejection::AzureRejection;
use super::signed_quote::VerifiedQuote;

/// The registers that are zero after a published boot.
const ZERO: [u8; 6] = [8, 11, 12, 13, 14, 15];

/// A published boot, with its image and its origin.
struct PublishedBoot<'r> {
    image: &'r Image,
    boot: &'r Boot,
    anchor: Anchor,
}

/// Appraises the registers of a quote; `claim` is the statement's claim about its image, none where
/// there is no statement.
///
/// # Errors
/// The registers are of no published boot or of a revoked image, another register was extended, or
/// the statement claims another image. The claimed command line is not compared: the published one
/// is that of a launch without a TPM, and register 9 covers the one that was used.
pub fn appraise(
    references: &ReferenceValues,
    quote: &VerifiedQuote,
    claim: Option<&ImageClaim>,
) -> Result<(), Rejection> {
    let registers = quote.registers();
    let found = published_boot(references, registers)?;
    let extended = ZERO
        .into_iter()
        .find(|register| *registers.value(*register).as_bytes() != [0; 32]);
    if let Some(register) = extended {
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

/// Returns the first published boot with these registers, unless any boot with them is revoked.
fn published_boot<'r>(
    references: &'r ReferenceValues,
    registers: &Registers,
) -> Result<PublishedBoot<'r>, AzureRejection> {
    let mut matches: Vec<_> = boots(references)
        .filter(|found| found.boot.has(registers))
        .collect();
    let has_boot = |image: &&Image| image.boot.iter().any(|boot| boot.has(registers));
    let listed = Revocations::compiled_in().images().filter(has_boot);
    let given = matches.iter().map(|found| found.image);
    if let Some(revocation) = listed.chain(given).find_map(revocation) {
        return Err(AzureRejection::BootRevoked {
            by: Box::new(revocation),
            actual: shown(registers),
        });
    }
    if matches.is_empty() {
        return Err(unknown(references, registers));
    }
    Ok(matches.swap_remove(0))
}

/// Returns the rejection of registers that no reference value has.
fn unknown(references: &ReferenceValues, registers: &Registers) -> AzureRejection {
    let known: Vec<_> = boots(references).map(|found| found.boot.shown()).collect();
    if known.is_empty() {
        return AzureRejection::NoBootReference;
    }
    AzureRejection::BootUnknown {
        tried: tried(references),
        expected: known.join(" | "),
        actual: shown(registers),
    }
}

/// Returns why an image must not be trusted: the list that was compiled in revokes it, or its own
/// file.
fn revocation(image: &Image) -> Option<Revocation> {
    let listed = Revocations::compiled_in().of_image(image).cloned();
    listed.or_else(|| image.revocation())
}

/// Returns the published boot with these registers, as `VERSION, NAME`, and its origin.
pub fn named(references: &ReferenceValues, registers: &Registers) -> Option<(String, Anchor)> {
    let found = boots(references).find(|found| found.boot.has(registers))?;
    Some((
        format!("{}, {}", found.image.name(), found.boot.name),
        found.anchor,
    ))
}

fn boots(references: &ReferenceValues) -> impl Iterator<Item = PublishedBoot<'_>> {
    references.images().flat_map(|(image, anchor)| {
        image.boot.iter().map(move |boot| PublishedBoot {
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
    /// Returns whether all registers of this boot have these values.
    fn has(&self, registers: &Registers) -> bool {
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
