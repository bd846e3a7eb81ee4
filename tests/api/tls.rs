//! What can a client do to a TLS connection after the handshake? It costs that connection and no
//! other. The client here takes the negotiated keys, and writes any records that a test wants.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use kettle::api::limits::TLS_HANDSHAKE_TIMEOUT;
use kettle::job::MAX_LINE_BYTES;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ConnectionTrafficSecrets, StreamOwned, SupportedProtocolVersion};

use crate::connections::{client_config, connect_tls, connect_with};
use crate::support::{Appliance, Client, JSON, line, long_provenance, post_head};

/// Kinds of records (RFC 8446, section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// The version that all records carry.
const RECORD_VERSION: [u8; 2] = [3, 3];
const RECORD_HEADER_BYTES: usize = 5;
/// The most bytes that a record may have (RFC 8446, section 5.1).
const MAX_RECORD_BYTES: usize = 1 << 14;

/// Kinds of handshake messages (RFC 5246, section 7.4; RFC 8446, section 4).
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const END_OF_EARLY_DATA: u8 = 5;
const CERTIFICATE: u8 = 11;
const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;

/// Levels and descriptions of alerts (RFC 5246, section 7.2; RFC 8446, section 6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const PROTOCOL_VERSION: u8 = 70;
const NO_RENEGOTIATION: u8 = 100;

const ASK: &[u8] = b"GET /health HTTP/1.1\r\nHost: kettle\r\n\r\n";

/// One direction of a connection.
struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another suite")
        };
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).unwrap());
        Self {
            key,
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
        }
    }

    /// The next record's nonce (RFC 7905, section 2; RFC 8446, section 5.3) and number.
    fn next(&mut self) -> (Nonce, [u8; 8]) {
        let number = self.sequence.to_be_bytes();
        let mut nonce = self.iv;
        nonce[NONCE_LEN - number.len()..]
            .iter_mut()
            .zip(number)
            .for_each(|(byte, number)| *byte ^= number);
        self.sequence += 1;
        (Nonce::assume_unique_for_key(nonce), number)
    }
}

/// A client that has a connection, and sends on it whatever a test wants.
struct Rogue {
    stream: TcpStream,
    tls13: bool,
    ours: Direction,
    theirs: Direction,
}

impl Rogue {
    /// Makes a handshake, asks once, and takes the keys.
    fn connect(appliance: &Appliance, version: &'static SupportedProtocolVersion) -> Self {
        let suites = vec![
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        let provider = CryptoProvider {
            cipher_suites: suites,
            ..provider::default_provider()
        };
        let mut config = client_config(appliance, provider, &[version]);
        config.enable_secret_extraction = true;
        let mut client = connect_with(appliance, config);
        assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
        let connected = client.into_inner();
        let (stream, secrets) = (
            connected.sock,
            connected.conn.dangerous_extract_secrets().unwrap(),
        );
        // Longer than anything that the server waits for.
        stream
            .set_read_timeout(Some(6 * TLS_HANDSHAKE_TIMEOUT))
            .unwrap();
        let (ours, theirs) = (Direction::new(secrets.tx), Direction::new(secrets.rx));
        Self {
            stream,
            tls13: *version == TLS13,
            ours,
            theirs,
        }
    }

    /// A record as it should be, whatever is in it.
    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let (nonce, number) = self.ours.next();
        let mut sealed = content.to_vec();
        if self.tls13 {
            sealed.push(kind);
        }
        let outer = if self.tls13 { DATA } else { kind };
        let length = sealed.len() + CHACHA20_POLY1305.tag_len();
        let aad = self.additional(outer, &number, sealed.len(), length);
        self.ours
            .key
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
            .unwrap();
        record(outer, &sealed)
    }

    /// Returns the additional data that is authenticated (RFC 5246, section 6.2.3.3; RFC 8446,
    /// section 5.2).
    fn additional(&self, kind: u8, number: &[u8], plain: usize, sealed: usize) -> Vec<u8> {
        if self.tls13 {
            header(kind, sealed).to_vec()
        } else {
            [number, &header(kind, plain)[..]].concat()
        }
    }

    fn send(&mut self, kind: u8, content: &[u8]) {
        let record = self.seal(kind, content);
        self.send_raw(&record);
    }

    /// Sends bytes; a refused client may find the connection closed.
    fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next record; `None` at the end of the connection.
    fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; RECORD_HEADER_BYTES];
        match self.stream.read_exact(&mut head) {
            Ok(()) => (),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("no end in time: {error}"),
        }
        let mut sealed = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        self.stream.read_exact(&mut sealed).unwrap();
        let (nonce, number) = self.theirs.next();
        let plain = sealed.len() - CHACHA20_POLY1305.tag_len();
        let aad = self.additional(head[0], &number, plain, sealed.len());
        let mut content = self
            .theirs
            .key
            .open_in_place(nonce, Aad::from(aad), &mut sealed)
            .unwrap()
            .to_vec();
        let kind = if self.tls13 {
            content.pop().unwrap()
        } else {
            head[0]
        };
        Some((kind, content))
    }

    /// Everything until the end of the connection.
    fn rest(&mut self) -> Vec<(u8, Vec<u8>)> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    fn is_served(&mut self) -> bool {
        self.send(DATA, ASK);
        matches!(self.receive(), Some((DATA, answer)) if answer.ends_with(b"\r\n\r\nok"))
    }
}

fn header(kind: u8, length: usize) -> [u8; RECORD_HEADER_BYTES] {
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    [kind, RECORD_VERSION[0], RECORD_VERSION[1], high, low]
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&header(kind, content.len()), content].concat()
}

/// A handshake message: its kind, its length in three bytes, its content.
fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], content].concat()
}

/// Returns a complete, valid ClientHello whose highest version is `version`.
fn hello(version: u16) -> Vec<u8> {
    let extension = |kind: u16, content: &[u8]| {
        [
            &kind.to_be_bytes()[..],
            &u16::try_from(content.len()).unwrap().to_be_bytes(),
            content,
        ]
        .concat()
    };
    let extensions = [
        extension(0x000a, &[0, 2, 0, 0x17]), // supported_groups: secp256r1
        extension(0x000b, &[1, 0]),          // ec_point_formats: uncompressed
        extension(0x000d, &[0, 4, 4, 3, 2, 3]), // signature_algorithms: ECDSA with SHA-256, with SHA-1
        extension(0x0017, &[]),                 // extended_master_secret
        extension(0xff01, &[0]),                // renegotiation_info: a first handshake
    ]
    .concat();
    // ECDHE with ECDSA: CHACHA20, AES-128-GCM, AES-128-CBC with SHA-1.
    let suites = [0xcc, 0xa9, 0xc0, 0x2b, 0xc0, 0x09];
    let content = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &[0, 6],
        &suites,
        &[1, 0],
        &u16::try_from(extensions.len()).unwrap().to_be_bytes(),
        &extensions,
    ];
    message(CLIENT_HELLO, &content.concat())
}

/// One thing that a client does to its connection.
struct Attempt {
    name: &'static str,
    versions: &'static [&'static SupportedProtocolVersion],
    act: fn(&mut Rogue),
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
const OLD: &[&SupportedProtocolVersion] = &[&TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&TLS13];

const fn attempt(
    name: &'static str,
    versions: &'static [&'static SupportedProtocolVersion],
    act: fn(&mut Rogue),
) -> Attempt {
    Attempt {
        name,
        versions,
        act,
    }
}

/// Records that are sealed correctly, but are for the other side or another time.
const SEALED: &[Attempt] = &[
    attempt("a second ClientHello", NEW, |rogue| {
        rogue.send(HANDSHAKE, &hello(0x0303))
    }),
    attempt("a HelloRequest", BOTH, |rogue| {
        rogue.send(HANDSHAKE, &message(HELLO_REQUEST, &[]));
    }),
    attempt("a second Finished", BOTH, |rogue| {
        rogue.send(HANDSHAKE, &message(FINISHED, &[7; 12]));
    }),
    attempt("an unrequested certificate", OLD, |rogue| {
        rogue.send(HANDSHAKE, &message(CERTIFICATE, &[0, 0, 0]));
    }),
    attempt("an unrequested certificate", NEW, |rogue| {
        rogue.send(HANDSHAKE, &message(CERTIFICATE, &[0, 0, 0, 0]));
    }),
    attempt("a ticket from the wrong side", NEW, |rogue| {
        rogue.send(
            HANDSHAKE,
            &message(
                NEW_SESSION_TICKET,
                &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 7, 0, 0],
            ),
        );
    }),
    attempt("an end of early data", NEW, |rogue| {
        rogue.send(HANDSHAKE, &message(END_OF_EARLY_DATA, &[]));
    }),
    attempt("an invalid change of keys", NEW, |rogue| {
        rogue.send(HANDSHAKE, &message(KEY_UPDATE, &[7]));
    }),
    attempt("a change of keys with more after it", NEW, |rogue| {
        rogue.send(
            HANDSHAKE,
            &[message(KEY_UPDATE, &[0]), message(KEY_UPDATE, &[0])].concat(),
        );
    }),
    attempt("an unknown handshake message", BOTH, |rogue| {
        rogue.send(HANDSHAKE, &message(99, &[1, 2, 3]));
    }),
    attempt("a handshake message of 16 MiB", BOTH, |rogue| {
        rogue.send(HANDSHAKE, &[CLIENT_HELLO, 0xff, 0xff, 0xff]);
    }),
    attempt("a handshake message that is not finished", BOTH, |rogue| {
        rogue.send(HANDSHAKE, &hello(0x0303)[..20]);
        rogue.send(DATA, ASK);
    }),
    attempt("a second change of ciphers", BOTH, |rogue| {
        rogue.send(CHANGE_CIPHER_SPEC, &[1]);
    }),
    attempt("an unknown kind", BOTH, |rogue| rogue.send(99, &[1, 2, 3])),
    attempt("a record that is too long", BOTH, |rogue| {
        rogue.send(DATA, &[b'x'; MAX_RECORD_BYTES + 1]);
    }),
    attempt("half an alert", BOTH, |rogue| rogue.send(ALERT, &[FATAL])),
    attempt("an alert that ends it", BOTH, |rogue| {
        rogue.send(ALERT, &[FATAL, UNEXPECTED_MESSAGE])
    }),
    attempt("warnings without end", BOTH, |rogue| {
        (0..100).for_each(|_| rogue.send(ALERT, &[WARNING, NO_RENEGOTIATION]));
    }),
];

/// Records that are not sealed, or sealed wrongly.
const UNSEALED: &[Attempt] = &[
    attempt("a request in plaintext", BOTH, |rogue| rogue.send_raw(ASK)),
    attempt("a record of data in plaintext", BOTH, |rogue| {
        rogue.send_raw(&record(DATA, ASK))
    }),
    attempt("a ClientHello in plaintext", BOTH, |rogue| {
        rogue.send_raw(&record(HANDSHAKE, &hello(0x0303)))
    }),
    attempt("an alert in plaintext", BOTH, |rogue| {
        rogue.send_raw(&record(ALERT, &[FATAL, CLOSE_NOTIFY]))
    }),
    attempt("an end in plaintext", BOTH, |rogue| {
        rogue.send_raw(&record(ALERT, &[WARNING, CLOSE_NOTIFY]))
    }),
    attempt("a change of ciphers in plaintext", BOTH, |rogue| {
        rogue.send_raw(&record(CHANGE_CIPHER_SPEC, &[1]))
    }),
    attempt("noise", BOTH, |rogue| rogue.send_raw(&[0xa5; 4096])),
    attempt("a record without content", BOTH, |rogue| {
        rogue.send_raw(&record(DATA, &[]))
    }),
    attempt("a bit that changed", BOTH, |rogue| {
        let mut record = rogue.seal(DATA, ASK);
        record[RECORD_HEADER_BYTES] ^= 1;
        rogue.send_raw(&record);
    }),
    attempt("a record that came twice", BOTH, |rogue| {
        let record = rogue.seal(DATA, b"GET /health HTTP/1.1\r\n");
        rogue.send_raw(&[&record[..], &record].concat());
    }),
    attempt("a record that was left out", BOTH, |rogue| {
        rogue.seal(DATA, ASK);
        rogue.send(DATA, ASK);
    }),
    attempt("a record that was cut", BOTH, |rogue| {
        let sealed = rogue.seal(DATA, ASK);
        rogue.send_raw(&record(
            DATA,
            &sealed[RECORD_HEADER_BYTES..sealed.len() - 1],
        ));
    }),
    attempt("another version", OLD, |rogue| {
        let mut record = rogue.seal(DATA, ASK);
        record[2] = 1;
        rogue.send_raw(&record);
    }),
];

#[test]
fn records_other_than_data_after_the_handshake_cost_that_connection() {
    let appliance = Appliance::start();
    for Attempt {
        name,
        versions,
        act,
    } in SEALED.iter().chain(UNSEALED)
    {
        for version in *versions {
            let name = format!("{name} in {:?}", version.version);
            let mut bystander = Rogue::connect(&appliance, version);
            let mut rogue = Rogue::connect(&appliance, version);
            act(&mut rogue);
            // A request after it gets no response.
            rogue.send(DATA, ASK);
            let rest = rogue.rest();
            let alerts = rest
                .iter()
                .all(|(kind, alert)| *kind == ALERT && alert[0] == FATAL);
            assert!(alerts && rest.len() < 2, "{name}: {rest:?}");
            others_are_served(&appliance, &mut bystander, &name);
        }
    }
}

/// Records that the standards leave to us, or tell us to ignore.
#[test]
fn records_without_a_meaning_cost_nothing() {
    let appliance = Appliance::start();
    for version in BOTH {
        let mut rogue = Rogue::connect(&appliance, version);
        rogue.send(HANDSHAKE, &[]);
        rogue.send(DATA, &[]);
        assert!(
            rogue.is_served(),
            "records without content in {:?}",
            version.version
        );
    }
    // The version of a record is ignored since TLS 1.3 (RFC 8446, section 5.1).
    let mut rogue = Rogue::connect(&appliance, &TLS13);
    let mut record = rogue.seal(DATA, ASK);
    record[2] = 1;
    rogue.send_raw(&record);
    assert!(matches!(rogue.receive(), Some((DATA, _))));
    assert!(rogue.is_served());
}

/// Checks that an earlier connection, a new one and the other port are served.
fn others_are_served(appliance: &Appliance, bystander: &mut Rogue, name: &str) {
    assert!(bystander.is_served(), "{name}: another connection");
    assert_eq!(
        connect_tls(appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok",
        "{name}: a new connection"
    );
    assert_eq!(
        appliance.get("/health").text(),
        "ok",
        "{name}: the other port"
    );
}

/// In TLS 1.2 a client may ask for another handshake at any time; none begins (RFC 5746, section
/// 4.5).
#[test]
fn a_renegotiation_is_declined_and_the_second_one_ends_the_connection() {
    let appliance = Appliance::start();
    let mut rogue = Rogue::connect(&appliance, &TLS12);
    rogue.send(HANDSHAKE, &hello(0x0303));
    assert_eq!(
        rogue.receive(),
        Some((ALERT, vec![WARNING, NO_RENEGOTIATION]))
    );
    assert!(rogue.is_served());
    let mut bystander = Rogue::connect(&appliance, &TLS12);
    rogue.send(HANDSHAKE, &hello(0x0303));
    rogue.send(DATA, ASK);
    assert!(rogue.rest().iter().all(|(kind, _)| *kind == ALERT));
    others_are_served(&appliance, &mut bystander, "renegotiation");
}

/// The same ClientHello, but for the version that it wants.
#[test]
fn versions_before_1_2_are_refused_by_name() {
    let appliance = Appliance::start();
    let greet = |version: u16| {
        let mut stream = TcpStream::connect(appliance.addresses.tls).unwrap();
        stream
            .set_read_timeout(Some(6 * TLS_HANDSHAKE_TIMEOUT))
            .unwrap();
        stream
            .write_all(&record(HANDSHAKE, &hello(version)))
            .unwrap();
        stream
    };
    for version in [0x0002, 0x0300, 0x0301, 0x0302] {
        let mut answer = Vec::new();
        greet(version).read_to_end(&mut answer).unwrap();
        assert_eq!(
            answer,
            record(ALERT, &[FATAL, PROTOCOL_VERSION]),
            "{version:#x}"
        );
    }
    let mut kind = [0];
    greet(0x0303).read_exact(&mut kind).unwrap();
    assert_eq!(kind, [HANDSHAKE], "a ServerHello");
}

/// A client of TLS 1.3 may change keys, and the server has to follow, within reason.
#[test]
fn keys_do_not_change_without_end() {
    let appliance = Appliance::start();
    let config = || client_config(&appliance, provider::default_provider(), &[&TLS13]);
    let mut client = connect_with(&appliance, config());
    for _ in 0..10 {
        assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
        client = change_keys(client, 1).unwrap();
    }
    assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
    let mut restless = connect_with(&appliance, config());
    assert_eq!(restless.ask("GET /health HTTP/1.1", "").text(), "ok");
    let asked = change_keys(restless, 1000).and_then(|client| {
        let mut stream = client.into_inner();
        stream.write_all(ASK)?;
        stream.read_exact(&mut [0])
    });
    // The server has ended the connection, not this client.
    let reason = asked
        .unwrap_err()
        .into_inner()
        .and_then(|reason| reason.downcast::<rustls::Error>().ok());
    assert!(
        !matches!(reason.as_deref(), Some(rustls::Error::PeerMisbehaved(_))),
        "{reason:?}"
    );
    assert_eq!(client.ask("GET /health HTTP/1.1", "").text(), "ok");
}

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

/// Changes keys this many times, each with its own record; returns an error when the server ends
/// the connection.
fn change_keys(client: TlsClient, times: usize) -> io::Result<TlsClient> {
    let mut stream = client.into_inner();
    for _ in 0..times {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.flush()?;
    }
    Ok(Client::new(stream))
}

/// However a client breaks off, half a submission is no submission.
#[test]
fn half_a_submission_and_then_something_else_takes_no_slot() {
    let appliance = Appliance::start();
    let head =
        format!("POST /build HTTP/1.1\r\nHost: kettle\r\n{JSON}\r\nContent-Length: 5\r\n\r\nval");
    for Attempt { versions, act, .. } in SEALED.iter().chain(UNSEALED) {
        for version in *versions {
            let mut rogue = Rogue::connect(&appliance, version);
            rogue.send(DATA, head.as_bytes());
            act(&mut rogue);
            rogue.send(DATA, b"id");
            rogue.rest();
        }
    }
    assert!(appliance.no_build());
    appliance.accepted();
}

/// After our side has closed the TLS connection, bytes that still come are dropped unread.
#[test]
fn bytes_after_an_early_response_are_dropped() {
    let appliance = Appliance::start();
    let _running = appliance.accepted();
    let head = format!(
        "POST /build HTTP/1.1\r\nHost: kettle\r\n{JSON}\r\nContent-Length: 1000\r\n\r\nval"
    );
    for Attempt {
        name,
        versions,
        act,
    } in SEALED.iter().chain(UNSEALED)
    {
        for version in *versions {
            let mut rogue = Rogue::connect(&appliance, version);
            rogue.send(DATA, head.as_bytes());
            let (kind, answer) = rogue.receive().unwrap();
            assert!(
                kind == DATA && answer.starts_with(b"HTTP/1.1 409"),
                "{name}"
            );
            while let Some((kind, alert)) = rogue.receive() {
                assert!(
                    kind == DATA || alert == [WARNING, CLOSE_NOTIFY],
                    "{name}: {alert:?}"
                );
            }
            act(&mut rogue);
        }
    }
    assert_eq!(
        connect_tls(&appliance)
            .ask("GET /health HTTP/1.1", "")
            .text(),
        "ok"
    );
}

/// Reads one record, and returns its data.
fn read_record(connection: &mut ClientConnection, stream: &mut TcpStream) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEADER_BYTES];
    stream.read_exact(&mut record).unwrap();
    let length = u16::from_be_bytes([record[3], record[4]]);
    record.resize(RECORD_HEADER_BYTES + usize::from(length), 0);
    stream
        .read_exact(&mut record[RECORD_HEADER_BYTES..])
        .unwrap();
    let mut unread = &record[..];
    while !unread.is_empty() {
        connection.read_tls(&mut unread).unwrap();
    }
    let state = connection.process_new_packets().unwrap();
    let mut content = vec![0; state.plaintext_bytes_to_read()];
    connection.reader().read_exact(&mut content).unwrap();
    content
}

/// Published clients read one record at a time, split what they read at line ends, and take each
/// line for JSON.
#[test]
fn every_record_of_a_stream_has_whole_events_also_for_a_slow_reader() {
    const LINES: usize = 8000;
    const PATIENCE: Duration = Duration::from_secs(60);
    let appliance = Appliance::start();
    let config = client_config(&appliance, provider::default_provider(), &[&TLS13]);
    let name = "localhost".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(appliance.addresses.tls).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while connection.is_handshaking() {
        while connection.wants_write() {
            connection.write_tls(&mut stream).unwrap();
        }
        read_record(&mut connection, &mut stream);
    }
    let head = post_head("/build/stream", JSON, "valid");
    let request = format!("{head}\r\nHost: kettle\r\n\r\nvalid");
    connection.writer().write_all(request.as_bytes()).unwrap();
    while connection.wants_write() {
        connection.write_tls(&mut stream).unwrap();
    }

    // More than the buffers on the way can take, so that the appliance has to wait for the reader.
    let running = appliance.build();
    for number in 0..LINES {
        let length = number * 37 % 1500;
        line(&running, &format!("line {number} {}", "\"".repeat(length))).unwrap();
    }
    line(&running, &"\\".repeat(MAX_LINE_BYTES)).unwrap();
    appliance.succeed_with(running, b"bundle", &long_provenance());

    let mut lines = 0;
    loop {
        let content = String::from_utf8(read_record(&mut connection, &mut stream)).unwrap();
        let mut complete = false;
        for data in content
            .split('\n')
            .filter_map(|line| line.strip_prefix("data: "))
        {
            let event: serde_json::Value = serde_json::from_str(data).unwrap();
            complete |= event["type"] == "complete";
            if let Some(message) = event["message"].as_str() {
                lines += usize::from(message.starts_with(&format!("line {lines} ")));
            }
        }
        if complete {
            break;
        }
    }
    assert_eq!(lines, LINES);
}
