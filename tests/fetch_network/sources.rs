//! The tools themselves, and services such as nix's daemon: the response of a server at an address
//! that is not public reaches no client, and the error says why.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use kettle::sandbox::{Access, Mount, Run, Runner};
use kettle::source::repository::{FetchLog, RepositoryError, RepositoryUrl, fetch};

use serde_json::Value;

use crate::harness::{Request, Server, package};
use crate::scene::{
    Kept, PORT, SECRET, STATUS, block_on, logged, phase, runner, serve, serve_in_the_machine,
    with_machine,
};

impl FetchLog for Kept {
    fn note(&mut self, line: &str) -> std::io::Result<()> {
        self.0.extend_from_slice(line.as_bytes());
        Ok(())
    }
}

/// Returns the error of a fetch, and its log.
fn fetched(runner: &Runner, host: &str) -> (RepositoryError, String) {
    let url = RepositoryUrl::parse(&format!("http://{host}:{PORT}/meta")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut log = Kept::default();
    let fetched = block_on(fetch(runner, &url, None, None, directory.path(), &mut log));
    (fetched.unwrap_err(), log.text())
}

#[test]
#[ignore = "needs root"]
fn a_repository_at_an_address_that_is_not_public_is_refused_by_its_url_and_says_nothing() {
    with_machine(&["10.0.0.1", "1.1.1.1"], |world| {
        serve_in_the_machine();
        world
            .names
            .lock()
            .unwrap()
            .insert("git.example".to_owned(), vec![[10, 0, 0, 1].into()]);
        let runner = runner(&[]);
        let (error, log) = fetched(&runner, "1.1.1.1");
        assert!(matches!(error, RepositoryError::Git { .. }), "{error}");
        assert!(
            log.contains(STATUS),
            "the control: a public server is heard: {log}"
        );
        for host in ["127.0.0.1", "10.0.0.1", "git.example"] {
            let (error, log) = fetched(&runner, host);
            assert!(
                matches!(error, RepositoryError::RefusedAddress { .. }),
                "{host}: {error}: {log}"
            );
            let named = format!("http://{host}:{PORT}/meta is at no public address");
            assert!(error.to_string().contains(&named), "{error}");
            assert!(!log.contains(SECRET) && !log.contains(STATUS), "{log}");
            let said = format!("{log}{error}{error:?}");
            assert_eq!(
                said.contains("10.0.0.1"),
                host == "10.0.0.1",
                "what the name means: {said}"
            );
        }
        assert!(logged("refused 10.0.0.1, which is not a public address"));
    });
}

/// Prints what it reaches, then accepts connections until it is ended.
const SERVICE: &str = "
import socket, sys
def attempt(family, address):
    try:
        socket.create_connection(address, 4) if family == socket.AF_INET else socket.socket(family).connect(address)
        return 'reached'
    except OSError:
        return 'refused'
port, name = int(sys.argv[1]), sys.argv[2]
with open('/service/facts', 'w') as facts:
    print(attempt(socket.AF_INET, ('127.0.0.1', port)), file=facts)
    print(attempt(socket.AF_UNIX, chr(0) + name), file=facts)
    print(attempt(socket.AF_INET, ('1.1.1.1', 8000)), file=facts)
listener = socket.socket(socket.AF_UNIX)
listener.bind('/service/socket')
listener.listen()
while True:
    listener.accept()
";

#[test]
#[ignore = "needs root"]
fn a_service_reaches_no_port_and_no_abstract_socket_of_the_machine() {
    with_machine(&["1.1.1.1"], |_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("kettle-test-{}", std::process::id());
        let named =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let runner = runner(&[]);
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let directory = outer.path().join("service");
        runner.make_service_directory(&directory).unwrap();
        let mut spec = phase("");
        spec.argv = ["/usr/bin/python3", "-c", SERVICE, &port, &name]
            .map(str::to_owned)
            .into();
        spec.mounts = vec![Mount::new(&directory, "/service", Access::ReadWrite)];
        let mut facts = String::new();
        let work = Box::pin(async { facts = fs::read_to_string(directory.join("facts")).unwrap() });
        let served = block_on(runner.serve(&spec, &directory.join("socket"), work)).unwrap();
        assert_eq!(facts, "refused\nrefused\nreached\n", "{served:?}");
        assert!(served.was_refused_an_address);
        assert!(logged("refused 127.0.0.1, which is not a public address"));
        for nobody in [
            listener
                .set_nonblocking(true)
                .map(|()| listener.accept().is_err()),
            named
                .set_nonblocking(true)
                .map(|()| named.accept().is_err()),
        ] {
            assert!(nobody.unwrap(), "a client came");
        }
    });
}

/// The whole appliance on this host, with a source, then a dependency, whose URL names an internal
/// service.
#[test]
#[ignore = "needs root"]
fn responses_of_an_internal_service_are_in_no_event_and_no_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://127.0.0.1:{}/meta",
        listener.local_addr().unwrap().port()
    );
    serve(listener);
    let manifest = format!(
        "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nleaf = {{ git = \"{url}\" }}\n"
    );
    let locked = format!(
        "version = 4\n\n[[package]]\nname = \"leaf\"\nversion = \"0.1.0\"\nsource = \"git+{url}#{commit}\"\n\n\
         [[package]]\nname = \"package\"\nversion = \"0.1.0\"\ndependencies = [\n \"leaf\",\n]\n",
        commit = "1".repeat(40)
    );
    let files = [
        ("src/main.rs", "fn main() {}\n"),
        ("Cargo.toml", &manifest),
        ("Cargo.lock", &locked),
    ];
    let requests = || {
        let archive = package(&files);
        [
            ("SourceFetchFailed", Request::repository(&url, None)),
            (
                "DependencyFetchFailed",
                Request::json(&archive, "package.tar"),
            ),
        ]
    };
    for (error_type, request) in requests() {
        let server = Server::of_public_addresses(&[]);
        let response = server.run(&request);
        // A repository is asked before there is a job for it.
        let (result, all) = if response.status == 422 {
            let problem: Value = serde_json::from_slice(&response.body).unwrap();
            (problem.clone(), problem.to_string())
        } else {
            let events = server.events(&response.job());
            (
                events[events.len() - 1]["result"].clone(),
                format!("{events:?}"),
            )
        };
        assert_eq!(result["error_type"], error_type, "{result}");
        let error = result["error"].as_str().unwrap();
        let says = ["is at no public address", "has no public address"];
        assert!(
            says.into_iter().any(|text| error.contains(text)),
            "{result}"
        );
        assert!(!all.contains(SECRET) && !all.contains(STATUS), "{all}");
    }
    for (_, request) in requests() {
        let server = Server::with_options(&[]);
        let response = server.run(&request);
        let all = if response.status == 422 {
            String::from_utf8_lossy(&response.body).into_owned()
        } else {
            format!("{:?}", server.events(&response.job()))
        };
        assert!(response.status == 202 || !all.contains(SECRET), "{all}");
        assert!(
            all.contains(STATUS),
            "the control: where the operator allows it, the service is heard: {all}"
        );
    }
}
