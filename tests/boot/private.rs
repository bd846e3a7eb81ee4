//! A token for a private repository, in the memory of the whole machine.
//!
//! The machine trusts no server that a test could be, and sends no token in plaintext. So git gets
//! the token, begins to talk to the server, and gives up when it sees the certificate: everything
//! that keeps the token has it by then, and only the request that would have been encrypted is
//! missing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use serde_json::json;

use crate::client::Port;
use crate::image::Image;
use crate::machine::user_network::HOST;
use crate::machine::{Host, Machine};
use crate::support::NONCE;

/// The token, which no file of the machine has.
const TOKEN: &str = "ghp_aSecretThatOnlyThisTestKnows0815";

const MEMORY_MIB: u32 = 1024;

/// The time after which the buffers of a closed connection are gone, on a busy processor.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);

/// How much of the memory is searched at once, in bytes.
const PIECE_BYTES: usize = 16 << 20;

/// Starts a server that ends each connection after the client's first message of TLS. It says when
/// the first one has come, and keeps that until it is told to go on.
fn unwilling_server() -> (u16, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ((come, has_come), (go_on, may_go_on)) = (channel(), channel());
    spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            if number == 0 {
                come.send(()).unwrap();
                may_go_on.recv().unwrap();
            }
            // A fatal alert: access_denied (RFC 8446, section 6).
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 49]);
        }
    });
    (port, has_come, go_on)
}

/// Submits a repository with the token, over a connection that ends afterwards. Returns the
/// response.
fn submit(machine: &Machine, url: &str) -> String {
    let body = json!({ "nonce": NONCE, "repo_url": url, "repo_token": TOKEN }).to_string();
    let mut stream = machine.connect_tls();
    let length = body.len();
    write!(
        stream,
        "POST /build HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut response = Vec::new();
    // Some machines end the connection without saying so first.
    let _ = stream.read_to_end(&mut response);
    String::from_utf8(response).unwrap()
}

/// Returns where in the machine's memory the token is, with what is around it.
fn memory_with_token(machine: &Machine) -> Vec<String> {
    let path = machine.directory.path().join("memory");
    let size = u64::from(MEMORY_MIB) << 20;
    let arguments = json!({ "val": 0, "size": size, "filename": path });
    machine.order("pmemsave", &arguments);
    let login = STANDARD.encode(format!("x-access-token:{TOKEN}"));
    let forms = [TOKEN, login.trim_end_matches('=')];
    let mut file = File::open(&path).unwrap();
    let (mut piece, mut start, mut found) = (vec![0; PIECE_BYTES], 0, Vec::new());
    let longest = login.len();
    let mut kept = 0;
    loop {
        let count = file.read(&mut piece[kept..]).unwrap();
        let end = kept + count;
        for form in forms {
            for at in memmem::find_iter(&piece[..end], form) {
                let around = &piece[at.saturating_sub(48)..(at + form.len() + 16).min(end)];
                found.push(format!(
                    "{:#x}: {:?}",
                    start + at,
                    String::from_utf8_lossy(around)
                ));
            }
        }
        if count == 0 {
            break;
        }
        // What could be the beginning of the token is searched with the next piece again.
        let again = end.min(longest);
        piece.copy_within(end - again..end, 0);
        start += end - again;
        kept = again;
    }
    std::fs::remove_file(&path).unwrap();
    found
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn the_machines_memory_has_no_token_once_the_source_phase_is_over() {
    let image = Image::from_environment();
    let mut host = Host::honest(&image);
    host.memory_mib = MEMORY_MIB;
    let machine = Machine::serving(&image, &host);
    let (port, has_come, go_on) = unwilling_server();
    let url = format!("https://{HOST}:{port}/project.git");

    let response = scope(|scope| {
        let response = scope.spawn(|| submit(&machine, &url));
        has_come.recv_timeout(PATIENCE).expect("git asks");
        // The search finds it while git needs it.
        let found = memory_with_token(&machine);
        go_on.send(()).unwrap();
        assert!(!found.is_empty());
        response.join().unwrap()
    });
    assert!(response.starts_with("HTTP/1.1 422 "), "{response}");
    assert!(
        response.contains("SourceFetchFailed") && !response.contains(TOKEN),
        "{response}"
    );

    let start = Instant::now();
    loop {
        let found = memory_with_token(&machine);
        if found.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{found:#?}");
        sleep(PAUSE);
    }
    // The machine is still free, and what it builds next does not bring the token back.
    machine.build_hello(Port::Tls).assert_succeeded();
    assert_eq!(memory_with_token(&machine), [] as [String; 0]);
    assert!(!machine.console().contains(TOKEN));
}
