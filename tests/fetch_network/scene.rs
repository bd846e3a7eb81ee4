//! A machine and the rest of the world, each in a network namespace.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kettle::sandbox::{CommandSpec, Exit, Network, OutputSink, Run, Runner, Stream};
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

/// The port of all servers except name servers.
pub const PORT: u16 = 8000;
/// The response of every server. A client that has it has reached one.
pub const SECRET: &str = "secret of an internal service";
/// What git says of the response. The number alone is in digests and ports too.
pub const STATUS: &str = "returned error: 403";
/// The machine's own addresses: public by their numbers.
pub const MACHINE: [&str; 2] = ["1.0.0.2", "2a00::2"];
/// The machine's routers.
const ROUTERS: [&str; 2] = ["1.0.0.1", "2a00::1"];
/// The machine's name server, which is not public, like that of most networks.
pub const NAME_SERVER: &str = "10.9.9.9";
/// More than any of these commands needs.
const PLENTY: Duration = Duration::from_secs(120);
/// The timeout of a connection: to a neighbour it takes microseconds, a dropped one takes this
/// long.
const CONNECT_SECONDS: u32 = 4;

/// The name server's replies, query by query; the last reply is repeated.
pub type Names = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

/// Runs a test in its own machine, whose world responds at `addresses`.
pub fn with_machine(addresses: &[&str], test: impl FnOnce(&World) + Send) {
    // Another test of this process may have been the first.
    let _ = log::set_logger(&MACHINE_LOG);
    log::set_max_level(log::LevelFilter::Warn);
    let done = thread::scope(|scope| {
        scope
            .spawn(|| {
                leave(UnshareFlags::NEWNET | UnshareFlags::NEWNS);
                let world = World::new(addresses);
                test(&world);
            })
            .join()
    });
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

fn leave(namespaces: UnshareFlags) {
    // SAFETY: neither a descriptor table nor memory is shared less than before; only this thread is
    // in the new namespaces.
    unsafe { unshare_unsafe(namespaces) }.expect("root can make namespaces");
}

/// The rest of the world, as seen by the machine that this thread is in.
pub struct World {
    pub names: Names,
    /// The machine's `/etc/resolv.conf`.
    resolv_conf: tempfile::NamedTempFile,
    namespace: String,
    _until_dropped: Sender<Ipv4Addr>,
}

impl World {
    fn new(addresses: &[&str]) -> Self {
        let names = Names::default();
        let (until_dropped, done, world) = inhabit(&names);
        ip("link set lo up");
        ip(&format!(
            "link add up0 type veth peer name eth0 netns {world}"
        ));
        ip("link set up0 up");
        for (machine, router) in MACHINE.iter().zip(ROUTERS) {
            let prefix = if machine.contains(':') {
                "64 nodad"
            } else {
                "24"
            };
            ip(&format!("addr add {machine}/{prefix} dev up0"));
            in_namespace(&world, &format!("addr add {router}/{prefix} dev eth0"));
        }
        in_namespace(&world, "link set lo up");
        in_namespace(&world, "link set eth0 up");
        for router in ROUTERS {
            ip(&format!("route add default via {router}"));
        }
        for address in addresses.iter().chain([&NAME_SERVER]) {
            let prefix = if address.contains(':') {
                "128 nodad"
            } else {
                "32"
            };
            in_namespace(&world, &format!("addr add {address}/{prefix} dev lo"));
            if let Ok(address) = address.parse() {
                until_dropped.send(address).unwrap();
                done.recv().unwrap();
            }
        }
        let resolv_conf = tempfile::NamedTempFile::new().unwrap();
        run_program("mount", &["--make-rprivate", "/"]);
        run_program(
            "mount",
            &[
                "--bind",
                resolv_conf.path().to_str().unwrap(),
                "/etc/resolv.conf",
            ],
        );
        let world = Self {
            names,
            resolv_conf,
            namespace: world,
            _until_dropped: until_dropped,
        };
        world.set_name_servers(&[NAME_SERVER]);
        world
    }

    /// Lets the world send packets for a network to the machine.
    pub fn knows_the_way_to(&self, network: &str) {
        let machine = MACHINE[usize::from(network.contains(':'))];
        in_namespace(
            &self.namespace,
            &format!("route add {network} via {machine}"),
        );
    }

    /// Writes the machine's `/etc/resolv.conf`.
    pub fn set_name_servers(&self, servers: &[&str]) {
        let text: String = servers
            .iter()
            .map(|server| format!("nameserver {server}\n"))
            .collect();
        fs::write(self.resolv_conf.path(), text).unwrap();
    }
}

/// Starts the servers of a new namespace, until the sender is dropped: at each address that is
/// sent, a name server; returns the namespace's path.
fn inhabit(names: &Names) -> (Sender<Ipv4Addr>, Receiver<String>, String) {
    let (until_dropped, addresses) = channel::<Ipv4Addr>();
    let (ready, is_ready) = channel();
    let names = Arc::clone(names);
    thread::spawn(move || {
        leave(UnshareFlags::NEWNET);
        for port in [PORT, 53] {
            serve(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        }
        let namespace = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid());
        ready.send(namespace.clone()).unwrap();
        // One socket for all addresses would reply from another address than it was asked at.
        for address in addresses {
            let socket = UdpSocket::bind((address, 53)).unwrap();
            let names = Arc::clone(&names);
            thread::spawn(move || answer_questions(&socket, &names));
            ready.send(namespace.clone()).unwrap();
        }
    });
    let namespace = is_ready.recv().unwrap();
    (until_dropped, is_ready, namespace)
}

/// How long a question may still come after it was answered, on a busy machine.
const LATE_QUESTION: Duration = Duration::from_secs(30);

/// Sends the secret to every client, as a response that git and cargo understand too.
pub fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
                let _ = stream.read(&mut [0; 4096]);
                let length = SECRET.len() + 1;
                let _ = write!(
                    stream,
                    "HTTP/1.1 403 {SECRET}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{SECRET}\n"
                );
                // A question that comes after its time must not find a closed connection: the reset
                // would take the answer with it.
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(LATE_QUESTION));
                let _ = io::copy(&mut stream, &mut io::sink());
            });
        }
    });
}

/// A name server (RFC 1035, section 4): replies to one question with at most one address.
fn answer_questions(socket: &UdpSocket, names: &Names) {
    let mut message = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut message) {
        let question = &message[12..length];
        let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
        let asks_for_v4 = question[end - 4..end] == [0, 1, 0, 1];
        let address = Some(name_in(question))
            .filter(|_| asks_for_v4)
            .and_then(|name| next_address(names, &name));
        let answers = u8::from(address.is_some());
        // The same number; a reply of a recursive server, without an error; one question, and the
        // answers.
        let mut answer = vec![
            message[0], message[1], 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0,
        ];
        answer.extend(&question[..end]);
        if let Some(address) = address {
            // The name of the question, an internet address, a lifetime of zero, 4 bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        let _ = socket.send_to(&answer, from);
    }
}

fn name_in(mut question: &[u8]) -> String {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = question.split_first().filter(|(length, _)| **length > 0) {
        labels.push(String::from_utf8_lossy(&rest[..length.into()]).into_owned());
        question = &rest[length.into()..];
    }
    labels.join(".")
}

fn next_address(names: &Names, name: &str) -> Option<Ipv4Addr> {
    let mut names = names.lock().unwrap();
    let answers = names.get_mut(name)?;
    if answers.len() > 1 {
        Some(answers.remove(0))
    } else {
        answers.first().copied()
    }
}

/// Changes the machine's interfaces, addresses and routes.
pub fn ip(words: &str) {
    run_program("ip", &words.split(' ').collect::<Vec<_>>());
}

fn in_namespace(namespace: &str, words: &str) {
    let inside = format!("--net={namespace}");
    let words: Vec<_> = words.split(' ').collect();
    run_program(
        "nsenter",
        &[&[inside.as_str(), "ip"][..], &words[..]].concat(),
    );
}

pub fn run_program(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the names of the machine's interfaces.
pub fn interfaces() -> Vec<String> {
    let listed = run_program("ip", &["-brief", "link"]);
    listed
        .lines()
        .map(|line| line.split(['@', ' ']).next().unwrap().to_owned())
        .collect()
}

/// Returns a runner in this machine whose phases also reach these ranges.
pub fn runner(allowed: &[&str]) -> Runner {
    let allowed: Vec<_> = allowed.iter().map(|range| range.parse().unwrap()).collect();
    let runner = Runner::allowing(&allowed).unwrap();
    let degradations = &runner.description().degradations;
    assert!(
        !degradations
            .iter()
            .any(|one| one.name == "fetch-network-shared"),
        "{degradations:?}"
    );
    runner
}

/// The machine's log, of all tests.
struct MachineLog(Mutex<Vec<String>>);

static MACHINE_LOG: MachineLog = MachineLog(Mutex::new(Vec::new()));

impl log::Log for MachineLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Returns whether the machine's log has such a line. It is kept from the first machine on.
pub fn logged(text: &str) -> bool {
    MACHINE_LOG
        .0
        .lock()
        .unwrap()
        .iter()
        .any(|line| line.contains(text))
}

/// Keeps the output of a command.
#[derive(Default)]
pub struct Kept(pub Vec<u8>);

impl OutputSink for Kept {
    fn chunk(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Kept {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Returns the command of a phase that fetches, with a script.
pub fn phase(script: &str) -> CommandSpec {
    CommandSpec {
        argv: ["/usr/bin/bash", "-c", script].map(str::to_owned).into(),
        environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        directory: "/".into(),
        mounts: Vec::new(),
        secret: None,
        network: Network::Fetch,
        time_limit: PLENTY,
    }
}

/// Runs a script in a phase that fetches.
pub fn run(runner: &Runner, script: &str) -> (Exit, String) {
    let mut kept = Kept::default();
    let exit = block_on(runner.run(&phase(script), &mut kept)).unwrap();
    (exit, kept.text())
}

/// Returns a script that prints the targets that send the secret; it tries all at once, and
/// succeeds.
pub fn reaching(targets: &[(&str, u16)]) -> String {
    let attempt = |(address, port): &(&str, u16)| {
        format!(
            "timeout {CONNECT_SECONDS} bash -c 'exec 3<>/dev/tcp/{address}/{port} && echo x >&3 && \
             grep -q \"^{SECRET}\" <&3 && echo {address} {port}' 2>/dev/null &\n"
        )
    };
    let attempts: String = targets.iter().map(attempt).collect();
    format!("{attempts}wait; exit 0")
}

/// Returns the output of a script of [`reaching`], sorted like the targets.
pub fn reached<'a>(printed: &str, targets: &[(&'a str, u16)]) -> Vec<(&'a str, u16)> {
    let is_printed = |(address, port): &(&str, u16)| {
        printed
            .lines()
            .any(|line| line == format!("{address} {port}"))
    };
    targets
        .iter()
        .filter(|target| is_printed(target))
        .copied()
        .collect()
}

/// Returns the targets that the machine itself reaches: the control of every table.
pub fn reached_by_the_machine<'a>(targets: &[(&'a str, u16)]) -> Vec<(&'a str, u16)> {
    reached(&run_program("bash", &["-c", &reaching(targets)]), targets)
}

/// Lets the machine itself send the secret, at all its addresses.
pub fn serve_in_the_machine() {
    serve(
        TcpListener::bind(SocketAddr::from((
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
            PORT,
        )))
        .unwrap(),
    );
}
