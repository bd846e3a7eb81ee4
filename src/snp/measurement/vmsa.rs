//! The registers with which a vCPU starts.
//!
//! * In: the address at which it starts, the CPU signature, SEV features, the hypervisor.
//! * Out: the page of its VMSA.
//! * Never: a register that differs between two vCPUs of a kind.
//!
//! Offsets are those of AMD APM volume 2, table B-4. KVM and QEMU differ from the architecture's
//! reset state: EFER.SVME and CR4.MCE are on. The values of EC2 and GCE were observed there and are
//! published with `sev-snp-measure`.
//!
//! | offset | bytes | register |
//! |---|---|---|
//! | 0x000 | 16 each | ES CS SS DS FS GS GDTR LDTR IDTR TR: selector 2, attributes 2, limit 4, base 8 |
//! | 0x0d0 | 8 | EFER |
//! | 0x148 | 8 | CR4 |
//! | 0x158 | 8 | CR0 |
//! | 0x160 | 8 | DR7 |
//! | 0x168 | 8 | DR6 |
//! | 0x170 | 8 | RFLAGS |
//! | 0x178 | 8 | RIP |
//! | 0x268 | 8 | G_PAT |
//! | 0x310 | 8 | RDX |
//! | 0x3b0 | 8 | SEV_FEATURES |
//! | 0x3e8 | 8 | XCR0 |
//! | 0x408 | 4 | MXCSR |
//! | 0x410 | 2 | x87 FCW |

use super::cpu::CpuSignature;
use super::page::PAGE_BYTES;
use super::vmm::Vmm;

/// The address of every VMSA in the measurement: all ones, cut to whole pages of 48 bits (AMD
/// 56860, SNP_LAUNCH_UPDATE).
pub const ADDRESS: u64 = 0xffff_ffff_f000;
/// The address at which the first vCPU starts: the architecture's reset vector.
pub const BOOT_RESET_ADDRESS: u32 = 0xffff_fff0;

/// The bytes of a segment register in a VMSA.
const SEGMENT_BYTES: usize = 16;

/// The registers that the hypervisors set differently.
struct Registers {
    cs: u16,
    ss: u16,
    tr: u16,
    pat: u64,
    rdx: u64,
    mxcsr: u32,
    fcw: u16,
}

/// A page that is being written.
struct Page([u8; PAGE_BYTES]);

impl Page {
    fn set(&mut self, offset: usize, value: &[u8]) {
        self.0[offset..][..value.len()].copy_from_slice(value);
    }

    /// Sets the segment registers: attributes and limit of all, selector and base of CS.
    fn set_segments(&mut self, own: &Registers, address: u32) {
        let all_attributes = [0x93, own.cs, own.ss, 0x93, 0x93, 0x93, 0, 0x82, 0, own.tr];
        for (index, attributes) in all_attributes.iter().enumerate() {
            self.set(index * SEGMENT_BYTES + 2, &attributes.to_le_bytes());
            self.set(index * SEGMENT_BYTES + 4, &0xffff_u32.to_le_bytes());
        }
        let base = u64::from(address & 0xffff_0000);
        self.set(SEGMENT_BYTES, &0xf000_u16.to_le_bytes());
        self.set(SEGMENT_BYTES + 8, &base.to_le_bytes());
    }
}

/// Returns the page of a vCPU that starts at `address`.
pub fn page(address: u32, cpu: CpuSignature, features: u64, vmm: Vmm) -> [u8; PAGE_BYTES] {
    let own = registers(vmm, cpu, address == BOOT_RESET_ADDRESS);
    let mut page = Page([0; PAGE_BYTES]);
    page.set_segments(&own, address);
    for (offset, value) in [
        (0x0d0, 0x1000),
        (0x148, 0x40),
        (0x158, 0x10),
        (0x160, 0x400),
        (0x168, 0xffff_0ff0),
        (0x170, 0x2),
        (0x178, u64::from(address & 0xffff)),
        (0x268, own.pat),
        (0x310, own.rdx),
        (0x3b0, features),
        (0x3e8, 0x1),
    ] {
        page.set(offset, &value.to_le_bytes());
    }
    page.set(0x408, &own.mxcsr.to_le_bytes());
    page.set(0x410, &own.fcw.to_le_bytes());
    page.0
}

fn registers(vmm: Vmm, cpu: CpuSignature, is_boot: bool) -> Registers {
    /// The PAT after reset (AMD APM volume 2, 7.8.2).
    const RESET_PAT: u64 = 0x0007_0406_0007_0406;
    let ec2 = Registers {
        cs: if is_boot { 0x9a } else { 0x9b },
        ss: 0x92,
        tr: 0x83,
        pat: RESET_PAT,
        rdx: 0x600,
        mxcsr: 0,
        fcw: 0,
    };
    match vmm {
        Vmm::Qemu => Registers {
            cs: 0x9b,
            ss: 0x93,
            tr: 0x8b,
            pat: RESET_PAT,
            rdx: u64::from(cpu.raw()),
            mxcsr: 0x1f80,
            fcw: 0x37f,
        },
        Vmm::Ec2 => ec2,
        Vmm::Ec2ZeroRdx => Registers { rdx: 0, ..ec2 },
        Vmm::Gce => Registers {
            cs: 0x9b,
            ss: 0x93,
            tr: 0x8b,
            pat: 0x0007_0106,
            rdx: 0x600,
            mxcsr: 0,
            fcw: 0,
        },
    }
}
