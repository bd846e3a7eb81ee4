//! Starts the image with QEMU on this host, as `scripts/run` does.
//!
//! - In: the image, and the size of the machine.
//! - Out: a machine whose port 443 is a port of the loopback interface.
//! - Never: a shell, or a machine that outlives `kettle`.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Directory, HostKind, Image, Machine, MachineError, Process, Shape};

/// What is started.
const QEMU: &str = "qemu-system-x86_64";

/// Starts QEMU so that the kernel ends it with this process (util-linux). The call that does this
/// needs `unsafe` where a program makes it between fork and exec.
const SETPRIV: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];

/// QEMU's user network, in a range that is public by its numbers, because phases that fetch reach no
/// other one.
const USER_NETWORK: &str = "net=25.0.2.0/24,host=25.0.2.2,dns=25.0.2.3,dhcpstart=25.0.2.15";

/// The processor that an SNP guest of the image gets. The launch measurement covers it.
const SNP_CPU: &str = "EPYC-v4";

/// What an SNP guest is started with: SMT allowed, no debugging, no migration (AMD 56860, table 10),
/// and the position of the C-bit and its cost in address bits as Milan, Genoa and Turin have them
/// (QEMU, docs/system/i386/amd-memory-encryption.rst).
const SNP_GUEST: &str =
    "sev-snp-guest,id=sev0,policy=0x30000,cbitpos=51,reduced-phys-bits=1,kernel-hashes=on";

/// Starts the machine, which does not serve yet when this returns.
///
/// # Errors
/// The image has no page of kernel hashes, or QEMU cannot be started.
pub fn start(image: &Image, shape: Shape) -> Result<Machine, MachineError> {
    let directory = Directory::new(0o700)?;
    let port = free_port()?;
    let kind = HostKind::of_this_host();
    let mut arguments = arguments(kind, image, shape, port, &directory);
    if kind != HostKind::SevSnp {
        arguments.extend(kernel_hashes(image, &directory)?);
    }
    let [setpriv, options @ ..] = SETPRIV;
    let log = directory.log()?;
    let child = Command::new(setpriv)
        .args(options)
        .arg(QEMU)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let child = child.map_err(|source| MachineError::Start {
        program: setpriv.to_owned(),
        source,
    })?;
    let process = Process {
        program: QEMU.to_owned(),
        child,
        ends_with_input: false,
        directory: Some(directory),
    };
    Ok(Machine::new(format!("https://127.0.0.1:{port}"), process))
}

/// The options of QEMU, each with its value.
struct QemuOptions(Vec<OsString>);

impl QemuOptions {
    fn add(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

fn arguments(
    kind: HostKind,
    image: &Image,
    shape: Shape,
    port: u16,
    directory: &Directory,
) -> Vec<OsString> {
    let mut options = QemuOptions(Vec::new());
    match kind {
        HostKind::SevSnp => add_snp_machine(&mut options, shape.memory_mib),
        HostKind::Kvm => {
            options.add("-machine", "q35,accel=kvm");
            options.add("-cpu", "host");
        }
        HostKind::Emulation => {
            options.add("-machine", "q35");
            options.add("-accel", "tcg,thread=multi");
            options.add("-cpu", "max");
        }
    }
    options.add("-smp", shape.vcpus.to_string());
    options.add("-m", format!("{}M", shape.memory_mib));
    options.add("-bios", &image.firmware);
    options.add("-kernel", &image.kernel);
    options.add("-initrd", &image.initrd);
    options.add("-append", &image.command_line);
    add_devices(&mut options, kind, image, port);
    let console = directory.file(Directory::CONSOLE);
    options.add("-chardev", joined("file,id=console,path=", &console));
    options.add("-serial", "chardev:console");
    options.add("-display", "none");
    options
        .0
        .extend(["-nodefaults", "-no-reboot"].map(OsString::from));
    options.0
}

/// Adds the disk with the root file system, and a network card whose port 443 is `port` here.
fn add_devices(options: &mut QemuOptions, kind: HostKind, image: &Image, port: u16) {
    // SNP guests share pages with devices by the IOMMU's interface, which only modern virtio has.
    let of_device = match kind {
        HostKind::SevSnp => ",disable-legacy=on,iommu_platform=on",
        HostKind::Kvm | HostKind::Emulation => "",
    };
    let disk = "format=raw,if=none,id=root,readonly=on,file=";
    options.add("-drive", joined(disk, &image.root));
    options.add("-device", format!("virtio-blk-pci,drive=root{of_device}"));
    let forwarded = format!("hostfwd=tcp:127.0.0.1:{port}-:443");
    options.add("-netdev", format!("user,id=net,{USER_NETWORK},{forwarded}"));
    let card = format!("virtio-net-pci,netdev=net,romfile={of_device}");
    options.add("-device", card);
}

fn add_snp_machine(options: &mut QemuOptions, memory_mib: u32) {
    options.add(
        "-machine",
        "q35,accel=kvm,vmport=off,confidential-guest-support=sev0,memory-backend=ram0",
    );
    options.add("-cpu", SNP_CPU);
    options.add(
        "-object",
        format!("memory-backend-memfd,id=ram0,size={memory_mib}M,share=true,prealloc=false"),
    );
    options.add("-object", SNP_GUEST);
}

/// Loads the page of kernel hashes as if a launch with SEV-SNP had: the firmware boots nothing else.
fn kernel_hashes(image: &Image, directory: &Directory) -> Result<[OsString; 2], MachineError> {
    let page = image.kernel_hashes()?;
    let path = directory.write("kernel-hashes", &page.bytes)?;
    let option = format!("loader,addr={:#x},force-raw=on,file=", page.address);
    Ok(["-device".into(), joined(&option, &path)])
}

/// Appends a path to an option of QEMU, in which a comma begins the next one unless it is doubled.
fn joined(option: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut bytes = option.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

/// Returns a port of the loopback interface that nobody listens on. QEMU does not say which one it
/// took where it chooses; if somebody else takes this one before QEMU does, QEMU says so and ends.
fn free_port() -> Result<u16, MachineError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(MachineError::Port)?;
    let address = listener.local_addr().map_err(MachineError::Port)?;
    Ok(address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_stays_in_the_path() {
        assert_eq!(joined("file=", Path::new("/a,b")), "file=/a,,b");
        assert_eq!(joined("file=", Path::new("/a=b c")), "file=/a=b c");
    }
}
