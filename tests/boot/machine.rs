//! One virtual machine per test, spoken to with curl over ports of loopback. Killed when dropped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Boot, and a build, on a busy machine without hardware virtualisation.
const PATIENCE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(200);

/// What is booted.
pub struct Image {
    folder: PathBuf,
    root: PathBuf,
    command_line: String,
    /// Keeps a changed root disk.
    changed: TempDir,
}

impl Image {
    pub fn from_environment() -> Self {
        let folder = std::env::var_os("KETTLE_IMAGE").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| panic!("KETTLE_IMAGE is not set: it names the folder of a built image"));
        let command_line = fs::read_to_string(folder.join("cmdline")).unwrap().trim_end().to_owned();
        let root = folder.join("root.img");
        Self { folder, root, command_line, changed: TempDir::new().unwrap() }
    }

    /// The same, with one bit changed on its disk.
    pub fn with_flipped_byte(mut self, at: u64) -> Self {
        let copy = self.changed.path().join("root.img");
        fs::copy(&self.root, &copy).unwrap();
        let disk = File::options().read(true).write(true).open(&copy).unwrap();
        let mut byte = [0];
        disk.read_exact_at(&mut byte, at).unwrap();
        disk.write_all_at(&[byte[0] ^ 1], at).unwrap();
        self.root = copy;
        self
    }

    /// The same, measured with another root hash.
    pub fn with_other_root_hash(mut self) -> Self {
        let (before, rest) = self.command_line.split_once("kettle.roothash=").unwrap();
        let other = if rest.starts_with('0') { '1' } else { '0' };
        self.command_line = format!("{before}kettle.roothash={other}{}", &rest[1..]);
        self
    }
}

/// A machine that is on.
pub struct Machine {
    process: Child,
    ports: [u16; 2],
    folder: TempDir,
}

impl Machine {
    pub fn start(image: &Image, with_disk: bool) -> Self {
        let folder = TempDir::new().unwrap();
        // Both taken at once, so that they differ; QEMU takes them a moment later.
        let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|listener| listener.local_addr().unwrap().port());
        let forward = |port: u16, inside: u16| format!("hostfwd=tcp:127.0.0.1:{port}-:{inside}");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults"])
            .args(["-no-reboot", "-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", folder.path().join("console").display()))
            .arg("-kernel")
            .arg(image.folder.join("kernel"))
            .arg("-initrd")
            .arg(image.folder.join("initrd"))
            .args(["-append", &image.command_line])
            .arg("-netdev")
            .arg(format!("user,id=n,{},{}", forward(ports[0], 80), forward(ports[1], 443)))
            .args(["-device", "virtio-net-pci,netdev=n,romfile="]);
        if with_disk {
            let drive = format!("file={},format=raw,if=none,id=d,readonly=on", image.root.display());
            command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=d"]);
        }
        let errors = File::create(folder.path().join("qemu.log")).unwrap();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        Self { process, ports, folder }
    }

    pub fn console(&self) -> String {
        let read = |name: &str| fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("console"), read("qemu.log")].concat()).into_owned()
    }

    pub fn wait_until_it_serves(&self) {
        let start = Instant::now();
        while self.curl(false, "/health", &[]).stdout != b"ok200" {
            assert!(start.elapsed() < PATIENCE, "it does not serve: {}", self.console());
            sleep(PAUSE);
        }
    }

    /// What the console said once the machine is off, by itself.
    pub fn wait_for_its_end(mut self) -> String {
        let start = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "it is still on: {}", self.console());
            sleep(PAUSE);
        }
        self.console()
    }

    /// Submits the hello project; status and bundle or document.
    pub fn post_hello(&self, tls: bool) -> (u16, Vec<u8>) {
        let projects = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects");
        let archive = self.folder.path().join("hello.tar");
        let packed =
            Command::new("tar").arg("-C").arg(projects).arg("-cf").arg(&archive).arg("hello").status().unwrap();
        assert!(packed.success());
        let form = format!("source=@{};filename=hello.tar", archive.display());
        let answer = self.curl(tls, "/build", &["-F", &form]).stdout;
        let (body, status) = answer.split_at(answer.len().checked_sub(3).unwrap());
        (std::str::from_utf8(status).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The body, and after it the status.
    fn curl(&self, tls: bool, path: &str, more: &[&str]) -> Output {
        let (scheme, port) = if tls { ("https", self.ports[1]) } else { ("http", self.ports[0]) };
        let url = format!("{scheme}://127.0.0.1:{port}{path}");
        let seconds = PATIENCE.as_secs().to_string();
        // Its key is made at boot, and nobody vouches for it but evidence.
        Command::new("curl").args(["-sk", "-m", &seconds, "-w", "%{http_code}"]).args(more).arg(url).output().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
