//! Hypervisors, as far as the launch measurement depends on them.

/// Which hypervisor starts the guest: they differ in the registers that a vCPU starts with, and in sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2: RDX starts as 0x600, the CPUID page comes last.
    Ec2,
    /// Amazon EC2 as of 2023: RDX starts as 0.
    Ec2ZeroRdx,
    /// Google Compute Engine: the firmware's working memory is added unmeasured.
    Gce,
}
