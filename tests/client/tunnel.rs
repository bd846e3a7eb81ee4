//! A tunnel between the command and a server: it passes bytes on, and cuts where a test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// How many bytes of one connection pass, to the server and from it, before both ends are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub up: usize,
    pub down: usize,
}

impl Budget {
    pub const WHOLE: Self = Self {
        up: usize::MAX,
        down: usize::MAX,
    };
}

/// Passes connections on to a port of the loopback.
pub struct Cutter {
    pub port: u16,
    /// The number of connections that were cut.
    pub cuts: Arc<Mutex<usize>>,
}

impl Cutter {
    /// Starts a cutter; the nth connection has the nth budget, and those after the last one pass
    /// whole.
    pub fn start(target: u16, budgets: Vec<Budget>) -> Self {
        Self::at("127.0.0.1:0", target, budgets)
    }

    /// Starts a cutter at the given address.
    pub fn at(address: &str, target: u16, budgets: Vec<Budget>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&cuts);
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let budget = budgets.get(number).copied().unwrap_or(Budget::WHOLE);
                pass(client.unwrap(), target, budget, &counted);
            }
        });
        Self { port, cuts }
    }

    pub fn cuts(&self) -> usize {
        *self.cuts.lock().unwrap()
    }
}

fn pass(client: TcpStream, target: u16, budget: Budget, cuts: &Arc<Mutex<usize>>) {
    let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
    let was_cut = Arc::new(Mutex::new(false));
    let ends = [
        (
            client.try_clone().unwrap(),
            server.try_clone().unwrap(),
            budget.up,
        ),
        (server, client, budget.down),
    ];
    for (from, to, left) in ends {
        let (cuts, was_cut) = (Arc::clone(cuts), Arc::clone(&was_cut));
        thread::spawn(move || {
            if copy(&from, &to, left) && !std::mem::replace(&mut *was_cut.lock().unwrap(), true) {
                *cuts.lock().unwrap() += 1;
            }
            for end in [&from, &to] {
                // The other direction may have closed it already.
                let _ = end.shutdown(Shutdown::Both);
            }
        });
    }
}

/// Returns whether the budget was used up.
fn copy(mut from: &TcpStream, mut to: &TcpStream, mut left: usize) -> bool {
    let mut buffer = [0; 4096];
    loop {
        if left == 0 {
            return true;
        }
        let wanted = buffer.len().min(left);
        let Ok(count) = from.read(&mut buffer[..wanted]) else {
            return false;
        };
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            return false;
        }
        left -= count;
    }
}

/// An HTTP proxy that knows CONNECT, and connects every name to one port of the loopback.
pub struct Proxy {
    pub port: u16,
    /// The first lines and the credentials of its requests.
    pub asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Proxy {
    pub fn start(target: u16, status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let question = question(&client);
                written.lock().unwrap().push(question);
                write!(client, "HTTP/1.1 {status} X\r\nX: y\r\n\r\n").unwrap();
                if status == 200 {
                    pass(client, target, Budget::WHOLE, &Arc::default());
                }
            }
        });
        Self { port, asked }
    }

    pub fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads a request; a client sends nothing after the header block before it has a response.
fn question(client: &TcpStream) -> (String, String) {
    let mut lines = BufReader::new(client).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let rest: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let credentials = rest
        .iter()
        .find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    (first, credentials.unwrap_or_default().to_owned())
}
