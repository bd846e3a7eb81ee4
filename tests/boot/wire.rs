//! The cable between the machine's network card and its network, with a listener in between that
//! sees every Ethernet frame and decides what happens to it.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

/// Larger than any frame; one datagram has one frame.
const FRAME_BYTES: usize = 1 << 16;

/// An end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Machine,
    Network,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Network => "network",
        }
    }
}

/// Both ends of the cable, to which the listener can send.
#[derive(Clone)]
pub struct Ends {
    directory: Arc<TempDir>,
    sockets: Arc<[UnixDatagram; 2]>,
}

impl Ends {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let sockets = [Side::Machine, Side::Network].map(|side| {
            let path = directory.path().join(side.name());
            UnixDatagram::bind(path).unwrap()
        });
        Self {
            directory: Arc::new(directory),
            sockets: Arc::new(sockets),
        }
    }

    /// Sends a frame, and waits until there is room. A side that is off gets nothing.
    pub fn send(&self, to: Side, frame: &[u8]) {
        let _ = self.socket(to).send_to(frame, self.place_of_qemu(to));
    }

    fn socket(&self, side: Side) -> &UnixDatagram {
        &self.sockets[side as usize]
    }

    fn place_of_qemu(&self, side: Side) -> PathBuf {
        self.directory
            .path()
            .join(format!("{}-of-qemu", side.name()))
    }
}

/// A listener that gets every frame and the side that it came from. Nothing passes by itself.
pub trait Between: Send + 'static {
    fn frame(&mut self, from: Side, frame: &[u8], ends: &Ends);
}

/// The cable.
pub struct Wire {
    pub ends: Ends,
}

impl Wire {
    /// Starts a listener, which runs until the test process ends.
    pub fn tapped<B: Between>(between: Arc<Mutex<B>>) -> Self {
        let ends = Ends::new();
        for from in [Side::Machine, Side::Network] {
            let (ends, between) = (ends.clone(), between.clone());
            thread::spawn(move || {
                let mut frame = vec![0; FRAME_BYTES];
                while let Ok(length) = ends.socket(from).recv(&mut frame) {
                    between.lock().unwrap().frame(from, &frame[..length], &ends);
                }
            });
        }
        Self { ends }
    }

    /// Returns QEMU's option for its end.
    pub fn backend(&self, side: Side, id: &str) -> String {
        let (local, remote) = (
            self.ends.place_of_qemu(side),
            self.ends.directory.path().join(side.name()),
        );
        format!(
            "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            local.display(),
            remote.display()
        )
    }
}
