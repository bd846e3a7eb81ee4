//! One virtual machine under software emulation, as its host starts it. Killed when dropped.
//!
//! It starts as a launch with SEV-SNP does: with the shipped firmware, and in memory the page of
//! kernel hashes that the launch would have measured. It cannot show that the secure processor
//! measures the page, nor the firmware's own code for SEV-SNP.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kettle::snp::measurement::{self, BootHashes, KernelHashesPage};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::client::Port;
use crate::image::{Bus, Disk, Image};
use crate::wire::{Side, Wire};

/// The time from power to a response, or to the end of a machine that has to end, on a busy
/// processor.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
/// How often the kernel counts processor time, in a second (`USER_HZ`, the same on all x86-64
/// machines).
const TICKS: f64 = 100.0;

/// The firmware that runs before the kernel.
#[derive(Clone, Copy)]
pub enum Firmware {
    /// The image's firmware.
    Shipped,
    /// QEMU's own firmware, which passes the host's tables on and checks nothing: for claims about
    /// the kernel alone.
    SeaBios,
    /// The firmware in a flash device among the devices.
    Flash,
}

/// The page of kernel hashes that is in memory when the firmware starts.
pub enum Page {
    /// The hashes of the kernel, initrd and command line that QEMU gets.
    OfWhatIsGiven,
    /// These bytes, at the address that the firmware reads.
    Bytes(Vec<u8>),
    /// No page of hashes.
    Missing,
}

/// QEMU's user network, as the machine sees it. QEMU's own range is private, and phases that fetch
/// reach public addresses only: this one is public by its numbers.
pub mod user_network {
    use std::net::Ipv4Addr;

    /// The gateway: the loopback of the machine that runs this.
    pub const HOST: Ipv4Addr = address(2);
    /// The name server.
    pub const NAME_SERVER: Ipv4Addr = address(3);
    /// The first address that QEMU's DHCP server gives.
    pub const MACHINE: Ipv4Addr = address(15);

    const fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(25, 0, 2, last)
    }

    /// Returns the network as an option of QEMU.
    pub fn options() -> String {
        format!(
            "net={}/24,host={HOST},dns={NAME_SERVER},dhcpstart={MACHINE}",
            address(0)
        )
    }
}

/// The files that QEMU gets to boot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The image's kernel, initrd and command line.
    Image,
    /// Nothing except what is among the devices.
    Nothing,
}

/// What the network card is connected to.
pub enum Network {
    /// QEMU's DHCP server and gateway, in [`user_network`].
    User,
    /// A network of link-local addresses, in which a program answers at the address of clouds'
    /// metadata services: it reads a request and writes a response.
    #[cfg_attr(not(feature = "simulator"), allow(dead_code))]
    // Its caller needs a simulated paravisor.
    Metadata(PathBuf),
    /// The same network as the user's, with a listener in between.
    Tapped(Wire),
    /// A network without any other machine.
    Silent,
    /// No network card.
    None,
}

/// The machine that a host presents.
pub struct Host {
    pub firmware: Firmware,
    pub page: Page,
    pub offer: Offer,
    pub processors: u32,
    pub memory_mib: u32,
    pub network: Network,
    pub disks: Vec<Disk>,
    /// Appended to the initrd: the kernel unpacks it after, and over, the image's.
    pub segment: Option<PathBuf>,
    /// Arguments for QEMU with further devices, found before the network card and the disks, the
    /// first of which is `disk0`.
    pub devices: Vec<String>,
}

impl Host {
    /// Returns an honest host.
    pub fn honest(image: &Image) -> Self {
        Self::with_disks(vec![Disk::of(image)])
    }

    /// Returns an ordinary host with these disks, in the order in which they are found.
    pub fn with_disks(disks: Vec<Disk>) -> Self {
        Self {
            firmware: Firmware::Shipped,
            page: Page::OfWhatIsGiven,
            offer: Offer::Image,
            processors: 2,
            memory_mib: 2048,
            network: Network::User,
            disks,
            segment: None,
            devices: vec![],
        }
    }
}

/// A machine that is on.
pub struct Machine {
    process: Child,
    ports: [u16; 2],
    pub(crate) directory: TempDir,
    /// The key that all TLS connections pin, in curl's form, once evidence for it was verified.
    pub(crate) pin: OnceLock<String>,
}

impl Machine {
    pub fn start(image: &Image, host: &Host) -> Self {
        let directory = TempDir::new().unwrap();
        // Both taken at once, so that they differ; QEMU takes them a moment later.
        let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|listener| listener.local_addr().unwrap().port());
        let mut command = Command::new("qemu-system-x86_64");
        let socket = |name: &str| {
            format!(
                "path={},server=on,wait=off",
                directory.path().join(name).display()
            )
        };
        let initrd = initrd(image, host, directory.path());
        command
            .args(["-machine", "q35"])
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
            ])
            .args([
                "-smp",
                &host.processors.to_string(),
                "-m",
                &host.memory_mib.to_string(),
            ])
            .arg("-chardev")
            .arg(format!(
                "socket,id=serial,{},logfile={}",
                socket("serial"),
                directory.path().join("console").display()
            ))
            .args(["-serial", "chardev:serial", "-qmp"])
            .arg(format!(
                "unix:{}",
                socket("monitor").trim_start_matches("path=")
            ))
            .args(offered(image, host.offer, &initrd))
            .args(firmware(image, host, &initrd, directory.path()))
            .args(&host.devices)
            .args(network(&host.network, ports))
            .args(disks(&host.disks));
        let errors = File::create(directory.path().join("qemu.log")).unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Self {
            process,
            ports,
            directory,
            pin: OnceLock::new(),
        }
    }

    /// Starts a machine, and waits until it serves.
    pub fn serving(image: &Image, host: &Host) -> Self {
        let mut machine = Self::start(image, host);
        let start = Instant::now();
        while machine.get(Port::Plaintext, "/health").body != b"ok" {
            assert!(
                machine.is_on(),
                "it does not serve, it is off: {}",
                machine.console()
            );
            assert!(
                start.elapsed() < BOOT_LIMIT,
                "it does not serve: {}",
                machine.console()
            );
            sleep(PAUSE);
        }
        machine
    }

    pub fn port(&self, port: Port) -> u16 {
        match port {
            Port::Plaintext => self.ports[0],
            Port::Tls => self.ports[1],
        }
    }

    pub fn is_on(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub fn console(&self) -> String {
        let read = |name: &str| fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("console"), read("qemu.log")].concat()).into_owned()
    }

    /// Waits until the console has a text, while the machine is on.
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.console().contains(text) {
            let waits = self.is_on() && start.elapsed() < BOOT_LIMIT;
            assert!(waits, "no {text}: {}", self.console());
            sleep(PAUSE);
        }
    }

    /// Waits until the machine turns itself off, and returns the console's text.
    pub fn wait_for_its_end(mut self) -> String {
        let start = Instant::now();
        while self.is_on() {
            assert!(
                start.elapsed() < BOOT_LIMIT,
                "it is still on: {}",
                self.console()
            );
            sleep(PAUSE);
        }
        self.console()
    }

    /// Returns the processor time that the machine has used so far, in seconds.
    pub fn processor_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // proc(5): the fields after the name are counted from the third; utime and stime are the
        // 14th and 15th.
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<f64>().unwrap())
            .sum::<f64>()
            / TICKS
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes the initrd of a machine into a directory, if it is not the image's own.
pub fn initrd(image: &Image, host: &Host, directory: &Path) -> PathBuf {
    let whole = image.file("initrd");
    let Some(segment) = &host.segment else {
        return whole;
    };
    let mut bytes = fs::read(whole).unwrap();
    // An archive begins at a multiple of four bytes.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(fs::read(segment).unwrap());
    let path = directory.join("initrd");
    fs::write(&path, bytes).unwrap();
    path
}

fn offered(image: &Image, offer: Offer, initrd: &Path) -> Vec<OsString> {
    match offer {
        Offer::Nothing => vec![],
        Offer::Image => vec![
            "-kernel".into(),
            image.kernel().into(),
            "-initrd".into(),
            initrd.into(),
            "-append".into(),
            image.command_line.clone().into(),
        ],
    }
}

fn firmware(image: &Image, host: &Host, initrd: &Path, directory: &Path) -> Vec<OsString> {
    match host.firmware {
        Firmware::SeaBios | Firmware::Flash => return vec![],
        Firmware::Shipped => {}
    }
    let path = image.file("firmware.fd");
    let mut words = vec!["-bios".into(), path.clone().into()];
    let firmware = measurement::Firmware::parse(&fs::read(&path).unwrap()).unwrap();
    let mut page = KernelHashesPage::new(&firmware, &hashes(image, initrd)).unwrap();
    match &host.page {
        Page::OfWhatIsGiven => {}
        Page::Bytes(bytes) => page.bytes = bytes[..].try_into().unwrap(),
        Page::Missing => return words,
    }
    let file = directory.join("page");
    fs::write(&file, page.bytes).unwrap();
    let loader = format!(
        "loader,file={},addr={:#x},force-raw=on",
        file.display(),
        page.address
    );
    words.extend(["-device".into(), loader.into()]);
    words
}

/// Returns the page of hashes of an image with this initrd.
pub fn hashes(image: &Image, initrd: &Path) -> BootHashes {
    let hash = |path: &Path| Sha256::digest(fs::read(path).unwrap()).into();
    BootHashes::new(
        hash(image.kernel()),
        Some(hash(initrd)),
        image.command_line.as_bytes(),
    )
    .unwrap()
}

fn network(network: &Network, [clear, tls]: [u16; 2]) -> Vec<String> {
    let forwarded = format!("hostfwd=tcp:127.0.0.1:{clear}-:80,hostfwd=tcp:127.0.0.1:{tls}-:443");
    let user = format!("user,id=u,{},{forwarded}", user_network::options());
    let backends = match network {
        Network::None => return vec![],
        Network::User => vec![user.replace("id=u", "id=n")],
        Network::Metadata(program) => vec![format!(
            "user,id=n,net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.0.15,\
             guestfwd=tcp:169.254.169.254:80-cmd:{},{forwarded}",
            program.display()
        )],
        Network::Silent => vec!["hubport,id=n,hubid=0".to_owned()],
        Network::Tapped(wire) => {
            let hub = [
                "hubport,id=h,hubid=1,netdev=w",
                "hubport,id=g,hubid=1,netdev=u",
            ]
            .map(str::to_owned);
            [
                vec![
                    wire.backend(Side::Machine, "n"),
                    wire.backend(Side::Network, "w"),
                    user,
                ],
                hub.to_vec(),
            ]
            .concat()
        }
    };
    let card = ["-device", "virtio-net-pci,netdev=n,romfile="].map(str::to_owned);
    backends
        .into_iter()
        .flat_map(|backend| ["-netdev".to_owned(), backend])
        .chain(card)
        .collect()
}

fn disks(disks: &[Disk]) -> Vec<String> {
    let mut words = Vec::new();
    if disks.iter().any(|disk| matches!(disk.bus, Bus::VirtioScsi)) {
        words.extend(["-device".to_owned(), "virtio-scsi-pci".to_owned()]);
    }
    for (number, disk) in disks.iter().enumerate() {
        let access = if disk.writable { "off" } else { "on" };
        let device = match disk.bus {
            Bus::VirtioBlk => "virtio-blk-pci",
            Bus::VirtioScsi => "scsi-hd",
            Bus::Nvme => "nvme,serial=1",
        };
        let drive = format!(
            "file={},format=raw,if=none,id=d{number},readonly={access}",
            disk.path.display()
        );
        words.extend([
            "-drive".to_owned(),
            drive,
            "-device".to_owned(),
            format!("{device},drive=d{number},id=disk{number}"),
        ]);
    }
    words
}
