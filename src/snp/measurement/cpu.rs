//! vCPU types by QEMU's names.
//!
//! * In: a name or a number.
//! * Out: the CPUID signature that QEMU gives such a vCPU.
//! * Never: a guess at a name that is not in the list.

use std::fmt;
use std::str::FromStr;

/// EAX of CPUID function 1: stepping in bits 0 to 3, model in 4 to 7 and 16 to 19, family in 8 to
/// 11 plus 20 to 27 (AMD APM volume 3, appendix E). QEMU starts each vCPU with it in RDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSignature(u32);

/// The name is not one of QEMU's names for EPYC processors.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name:?} is no vCPU type that is known: one of {known}, each also with a version (`-v1`)")]
pub struct UnknownCpu {
    /// The name that was given.
    pub name: String,
    /// The names without versions.
    pub known: String,
}

/// QEMU's models (`target/i386/cpu.c`): name, signature, highest version. The versions of a model
/// share its signature.
const MODELS: [(&str, u32, u8); 6] = [
    ("EPYC", 0x0080_0f12, 5),
    ("EPYC-IBPB", 0x0080_0f12, 0),
    ("EPYC-Rome", 0x0083_0f10, 5),
    ("EPYC-Milan", 0x00a0_0f11, 3),
    ("EPYC-Genoa", 0x00a1_0f10, 2),
    ("EPYC-Turin", 0x00b0_0f00, 2),
];

impl CpuSignature {
    /// Wraps a signature as the processor has it, for types that have no name here.
    pub const fn from_raw(eax: u32) -> Self {
        Self(eax)
    }

    /// Returns the signature as a number.
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl fmt::Display for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for CpuSignature {
    type Err = UnknownCpu;

    /// Reads a name of QEMU's, such as `EPYC-Milan` or `EPYC-Milan-v2`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_named = |(model, _, versions): &&(&str, u32, u8)| {
            name == *model || (1..=*versions).any(|version| name == format!("{model}-v{version}"))
        };
        match MODELS.iter().find(is_named) {
            Some((_, signature, _)) => Ok(Self(*signature)),
            None => Err(UnknownCpu {
                name: name.to_owned(),
                known: MODELS.map(|(model, ..)| model).join(", "),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names_with_and_without_version_and_no_others() {
        assert_eq!("EPYC-v4".parse(), Ok(CpuSignature(0x800f12)));
        assert_eq!("EPYC-Turin".parse(), Ok(CpuSignature(0xb00f00)));
        assert_eq!(
            "EPYC-Milan-v1".parse::<CpuSignature>().unwrap().to_string(),
            "0xa00f11"
        );
        for name in [
            "",
            "epyc",
            "EPYC-v0",
            "EPYC-v6",
            "EPYC-v04",
            "EPYC-IBPB-v1",
            "EPYC-Milan-v1 ",
        ] {
            assert_eq!(name.parse::<CpuSignature>().unwrap_err().name, name);
        }
    }
}
