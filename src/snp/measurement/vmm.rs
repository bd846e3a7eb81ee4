//! The hypervisors on which the launch measurement depends.

/// The hypervisor that starts the guest. They differ in the registers with which a vCPU starts, and
/// in how they add sections.
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
