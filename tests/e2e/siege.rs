//! More connections than the service has places.

use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use kettle::api::limits::{HEADER_TIMEOUT, MAX_CONNECTIONS};

use crate::harness::{Request, Server, package};

/// The number of simultaneous connections; one that the kernel does not queue is refused or waits,
/// and is then given up.
const AT_ONCE: usize = 1000;
const WAVES: usize = 3;
const CONNECT: Duration = Duration::from_millis(20);
/// Descriptors of the service itself: listeners, the runtime's, standard streams, connections whose
/// end is not yet seen.
const OWN_DESCRIPTORS: usize = 32;

#[test]
fn thousands_of_connections_take_no_more_places_than_there_are() {
    raise_our_own_limit();
    let server = Server::start();
    let before = server.descriptors();
    for _ in 0..WAVES {
        let address = ([127, 0, 0, 1], server.port).into();
        let held: Vec<_> = (0..AT_ONCE)
            .filter_map(|_| TcpStream::connect_timeout(&address, CONNECT).ok())
            .collect();
        assert!(
            held.len() > MAX_CONNECTIONS,
            "only {} connections were made",
            held.len()
        );
        let taken = server.descriptors();
        assert!(
            taken <= MAX_CONNECTIONS + OWN_DESCRIPTORS,
            "{taken} descriptors"
        );
        // Half of them end their side, the others close.
        held.iter()
            .step_by(2)
            .for_each(|stream| drop(stream.shutdown(Shutdown::Write)));
    }
    let patience = Instant::now() + 6 * HEADER_TIMEOUT;
    while server.descriptors() > before + 1 {
        assert!(
            Instant::now() < patience,
            "{} descriptors are left, {before} were there",
            server.descriptors()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.get("/health").body, b"ok");
    // The service still builds.
    let archive = package(&[("src/main.rs", "fn main() {}\n")]);
    assert_eq!(
        server.result(&Request::json(&archive, "package.tar"))["status"],
        "ok"
    );
}

/// Raises the limit of descriptors: the clients are all in this process, beside those of other
/// tests.
fn raise_our_own_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
}

/// Idle ones keep their places for no longer than a header may take.
#[test]
fn connections_that_say_nothing_make_room_in_time() {
    raise_our_own_limit();
    let server = Server::start();
    let silent: Vec<_> = (0..MAX_CONNECTIONS + 50)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap())
        .collect();
    let begun = Instant::now();
    assert_eq!(server.get("/health").body, b"ok");
    assert!(
        begun.elapsed() < 3 * HEADER_TIMEOUT,
        "{:?}",
        begun.elapsed()
    );
    drop(silent);
}
