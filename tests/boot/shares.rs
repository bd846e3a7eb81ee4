//! Shares and sockets that a host offers: directories over virtio-fs, connections over vsock. Their
//! back ends are programs of the host, to which QEMU speaks the vhost-user protocol: here they
//! reply to the requests before the machine starts, and record the rest.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

use crate::client::Port;
use crate::image::Image;
use crate::machine::{Host, Machine};

/// Requests of the protocol, by number (QEMU's documentation, interop/vhost-user).
const FEATURES: u32 = 1;
const PROTOCOL_FEATURES: u32 = 15;
const QUEUES: u32 = 17;
const CONFIGURATION: u32 = 24;
const MEMORY_SLOTS: u32 = 36;
/// The offered features: virtio 1.0, and the features of the protocol.
const OFFERED: u64 = 1 << 32 | 1 << 30;
/// The offered features of the protocol: several queues, configuration, acknowledgements, slots of
/// memory.
const OFFERED_OF_PROTOCOL: u64 = 1 | 1 << 3 | 1 << 9 | 1 << 15;
/// The first version of the protocol, with the bit of a reply.
const REPLY_FLAGS: u32 = 1 | 4;
const WANTS_ACKNOWLEDGEMENT: u32 = 8;
/// The request that comes when the machine's driver begins to use a queue: its addresses for the
/// host.
const QUEUE_ADDRESSES: u32 = 9;

/// A program of the host that offers a device.
struct BackEnd {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<u32>>>,
    _directory: TempDir,
}

impl BackEnd {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Until QEMU ends it.
                let _ = answer(stream, &record);
            }
        });
        Self {
            socket,
            asked,
            _directory: directory,
        }
    }

    fn asked(&self) -> Vec<u32> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads and replies to a request: its number, flags, length and content. Descriptors come beside
/// it, and are closed with the read.
fn answer(mut stream: UnixStream, record: &Mutex<Vec<u32>>) -> std::io::Result<()> {
    loop {
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (request, flags) = (number(0), number(4));
        let mut body = vec![0; number(8) as usize];
        stream.read_exact(&mut body)?;
        record.lock().unwrap().push(request);
        let value = match request {
            FEATURES => OFFERED.to_le_bytes().to_vec(),
            PROTOCOL_FEATURES => OFFERED_OF_PROTOCOL.to_le_bytes().to_vec(),
            QUEUES | MEMORY_SLOTS => 8_u64.to_le_bytes().to_vec(),
            // As many bytes as were requested.
            CONFIGURATION => body,
            _ if flags & WANTS_ACKNOWLEDGEMENT != 0 => 0_u64.to_le_bytes().to_vec(),
            _ => continue,
        };
        let reply = [request, REPLY_FLAGS, value.len() as u32]
            .map(u32::to_le_bytes)
            .concat();
        stream.write_all(&[reply, value].concat())?;
    }
}

fn devices(share: &BackEnd, sockets: &BackEnd) -> Vec<String> {
    let words = format!(
        "-object memory-backend-memfd,id=memory,size=2048M,share=on -machine memory-backend=memory \
         -chardev socket,id=share,path={} -device vhost-user-fs-pci,chardev=share,tag=kettle \
         -chardev socket,id=sockets,path={} -device vhost-user-vsock-pci,chardev=sockets",
        share.socket.display(),
        sockets.socket.display(),
    );
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_with_a_share_and_sockets_of_the_hosts_has_no_sockets_and_serves_without_the_share() {
    let (image, share, sockets) = (
        Image::from_environment(),
        BackEnd::start(),
        BackEnd::start(),
    );
    let host = Host {
        devices: devices(&share, &sockets),
        ..Host::honest(&image)
    };
    let machine = Machine::serving(&image, &host);
    machine.assert_healthy(Port::Tls);
    // QEMU asks for both. The kernel has a driver for neither, which would give addresses.
    for back_end in [&share, &sockets] {
        assert!(
            back_end.asked().contains(&FEATURES),
            "QEMU did not ask: {:?}",
            back_end.asked()
        );
        assert!(
            !back_end.asked().contains(&QUEUE_ADDRESSES),
            "{:?}",
            back_end.asked()
        );
    }
}
