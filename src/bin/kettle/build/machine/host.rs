//! Finds out which kind of machine this host can start.
//!
//! - In: the devices of this host.
//! - Out: SEV-SNP, KVM or software emulation.
//! - Never: a wish. Where SEV-SNP is missing the machine has no evidence, and the verifier says so.

use std::fmt;
use std::fs;

use rustix::fs::{Access, access};

/// What machines of this host run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// KVM with SEV-SNP: the machine can have evidence.
    SevSnp,
    /// KVM without SEV-SNP.
    Kvm,
    /// Software emulation, because there is no KVM.
    Emulation,
}

impl fmt::Display for HostKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SevSnp => "SEV-SNP",
            Self::Kvm => "KVM without SEV-SNP",
            Self::Emulation => "software emulation",
        })
    }
}

impl HostKind {
    /// Looks at the devices of this host. A `/dev/kvm` without the processor's support below it
    /// hangs kernels, so that both are looked for.
    pub fn of_this_host() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let is_virtualising = cpuinfo
            .split_ascii_whitespace()
            .any(|flag| flag == "svm" || flag == "vmx");
        if !is_virtualising || !is_writable("/dev/kvm") {
            return Self::Emulation;
        }
        let parameter = fs::read("/sys/module/kvm_amd/parameters/sev_snp").unwrap_or_default();
        let is_enabled = matches!(parameter.first(), Some(b'Y' | b'1'));
        if is_enabled && is_writable("/dev/sev") {
            return Self::SevSnp;
        }
        Self::Kvm
    }
}

fn is_writable(path: &str) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}
