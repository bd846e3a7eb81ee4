//! A disk that a program of the host serves, with another reply to each read if it wants: a network
//! block device, as QEMU reads it (the NBD protocol: fixed newstyle handshake, simple replies).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

use crate::image::{Disk, Image};
use crate::machine::{Host, Machine};

const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
/// The handshake's flags: options are negotiated, and the reply to the last has no padding.
const HANDSHAKE_FLAGS: [u8; 2] = [0, 3];
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const OPTION_GO: u32 = 7;
const REPLY_ACKNOWLEDGE: u32 = 1;
const REPLY_INFORMATION: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
/// The export's flags: flags are present, and the disk is read-only.
const EXPORT_FLAGS: [u8; 2] = [0, 3];
const REQUEST_READ: [u8; 2] = [0, 0];
const SIMPLE_REPLY: u32 = 0x6744_6698;
const EIO: u32 = 5;

/// The reply to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadReply {
    Honest,
    /// With one bit of this byte of the disk changed.
    Flipped(u64),
    /// An input/output error.
    Error,
    /// The disk is no more.
    Gone,
    /// No reply to this read and to those after it, until the decision is replaced.
    Silence,
}

/// Decides about a read, by its offset and length in bytes.
pub type Decision = Box<dyn FnMut(u64, u64) -> ReadReply + Send>;

/// The current decision, which a test may replace.
struct Decider {
    decision: Mutex<Decision>,
    replaced: Condvar,
}

impl Decider {
    fn decide(&self, at: u64, length: u64) -> ReadReply {
        let mut decision = self.decision.lock().unwrap();
        loop {
            match decision(at, length) {
                ReadReply::Silence => decision = self.replaced.wait(decision).unwrap(),
                answer => return answer,
            }
        }
    }
}

/// The root disk, served until the test process ends.
pub struct ServedDisk {
    socket: PathBuf,
    decider: Arc<Decider>,
    _directory: TempDir,
}

impl ServedDisk {
    /// Returns an honest disk, and the machine that serves from it.
    pub fn of_a_serving_machine(image: &Image) -> (Self, Machine) {
        let disk = Self::start(image, Box::new(|_, _| ReadReply::Honest));
        let machine = Machine::serving(image, &Host::with_disks(vec![Disk::served(&disk)]));
        (disk, machine)
    }

    pub fn start(image: &Image, decision: Decision) -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("disk");
        let listener = UnixListener::bind(&socket).unwrap();
        let disk = Arc::new(File::open(image.file("root.img")).unwrap());
        let decider = Arc::new(Decider {
            decision: Mutex::new(decision),
            replaced: Condvar::new(),
        });
        let shared = decider.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (disk, decider) = (disk.clone(), shared.clone());
                // Whether QEMU or we end it, the machine sees a disk that is gone.
                thread::spawn(move || serve(stream, &disk, &decider));
            }
        });
        Self {
            socket,
            decider,
            _directory: directory,
        }
    }

    /// Replaces the decision for all reads from now on.
    pub fn decide(&self, decision: Decision) {
        *self.decider.decision.lock().unwrap() = decision;
        self.decider.replaced.notify_all();
    }

    /// Returns the address that QEMU opens.
    pub fn path(&self) -> PathBuf {
        format!("nbd+unix:///?socket={}", self.socket.display()).into()
    }
}

fn serve(mut stream: UnixStream, disk: &File, decider: &Decider) -> io::Result<()> {
    handshake(&mut stream, disk.metadata()?.len())?;
    loop {
        let request: [u8; 28] = bytes(&mut stream)?;
        let (kind, handle) = (&request[6..8], &request[8..16]);
        let (at, length) = (number(&request[16..24]), number(&request[24..28]));
        if kind != REQUEST_READ {
            return Ok(());
        }
        let answer = decider.decide(at, length);
        let mut data = vec![0; length as usize];
        disk.read_exact_at(&mut data, at)?;
        let error = match answer {
            ReadReply::Honest => 0,
            ReadReply::Flipped(place) => {
                data[(place - at) as usize] ^= 1;
                0
            }
            ReadReply::Error => EIO,
            ReadReply::Gone | ReadReply::Silence => return Ok(()),
        };
        let header = [
            &SIMPLE_REPLY.to_be_bytes()[..],
            &error.to_be_bytes(),
            handle,
        ]
        .concat();
        stream.write_all(&header)?;
        if error == 0 {
            stream.write_all(&data)?;
        }
    }
}

fn handshake(stream: &mut UnixStream, size: u64) -> io::Result<()> {
    stream.write_all(&[&GREETING[..], &HANDSHAKE_FLAGS].concat())?;
    let _flags: [u8; 4] = bytes(stream)?;
    loop {
        let header: [u8; 16] = bytes(stream)?;
        let (option, length) = (number(&header[8..12]) as u32, number(&header[12..16]));
        io::copy(&mut (&*stream).take(length), &mut io::sink())?;
        if option == OPTION_GO {
            // Kind 0: the size of the disk, and its flags.
            let information = [&[0, 0][..], &size.to_be_bytes(), &EXPORT_FLAGS].concat();
            reply(stream, option, REPLY_INFORMATION, &information)?;
            return reply(stream, option, REPLY_ACKNOWLEDGE, &[]);
        }
        reply(stream, option, REPLY_UNSUPPORTED, &[])?;
    }
}

fn reply(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let length = data.len() as u32;
    let numbers = [option, kind, length].map(u32::to_be_bytes).concat();
    stream.write_all(&[&OPTION_REPLY.to_be_bytes()[..], &numbers, data].concat())
}

fn bytes<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
