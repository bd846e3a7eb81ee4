//! A network that lies, from the first request for an address to the name of a server. A message
//! that breaks a rule is not believed, and a believed one decides only whether something is
//! reached, never what it is.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Outcome, Port, Response, Source};
use crate::dhcp_answers::{
    ACKNOWLEDGE, ADDRESS, DISCOVER, GATEWAY, NAME_SERVER, OFFER, Question, REFUSE, REQUEST,
};
use crate::image::Image;
use crate::lying_servers::{LyingServer, repository_of_other_bytes};
use crate::machine::{Host, Machine, Network};
use crate::packets::{BROADCAST, Heard, Mac, advertisement, arp, heard, prefix, redirect, udp};
use crate::wire::{Between, Ends, Side, Wire};

/// Attempts to get an address that get only lies; after them the machine waits longest.
const OFFERS_OF_LIES: usize = 4;
/// How many frames come before a reply, and how many advertisements of networks.
const FLOOD: u16 = 2000;
/// Queries for a name that get invalid replies first: for an address of either version.
const QUERIES_OF_NONSENSE: usize = 2;
/// The source's name, which no honest name server knows.
const NAME: &str = "source.example";
/// The time for booting and all attempts to get an address, on a busy processor.
const END_LIMIT: Duration = Duration::from_secs(90);
/// Words on the console of a kernel that is in trouble.
const UNWELL: [&str; 6] = ["panic", "Oops", "BUG", "WARNING", "Call Trace", "halting"];

/// Tells lies about everything before it lets the truth pass.
#[derive(Default)]
struct Liar {
    mac: Mac,
    questions: usize,
    /// The addresses that the machine wanted to have.
    wanted: BTreeSet<Ipv4Addr>,
    /// The name servers that it asked.
    name_servers: BTreeSet<Ipv4Addr>,
    /// How often it asked for a name.
    names: usize,
}

impl Between for Liar {
    fn frame(&mut self, from: Side, frame: &[u8], ends: &Ends) {
        if from == Side::Network {
            return ends.send(Side::Machine, frame);
        }
        if let Some(question) = Question::heard(frame) {
            return self.about_addresses(&question, frame, ends);
        }
        match heard(frame) {
            Some(heard) if heard.destination.1 == 53 => self.about_names(&heard, ends),
            _ => ends.send(Side::Network, frame),
        }
    }
}

impl Liar {
    fn about_addresses(&mut self, question: &Question, frame: &[u8], ends: &Ends) {
        let tell = |frames: &[Vec<u8>]| {
            frames
                .iter()
                .for_each(|frame| ends.send(Side::Machine, frame))
        };
        match question.kind {
            DISCOVER => {
                self.mac = heard(frame).unwrap().mac;
                self.questions += 1;
                tell(&question.hostile(OFFER));
                if self.questions > OFFERS_OF_LIES {
                    tell(&[question.honest(OFFER)]);
                }
            }
            REQUEST => {
                self.wanted.extend(question.address);
                tell(&question.hostile(ACKNOWLEDGE));
                // Only once: a flood may displace the frames after it.
                if self.questions == OFFERS_OF_LIES + 2 {
                    let flood = question.hostile(ACKNOWLEDGE);
                    (0..FLOOD).for_each(|number| {
                        ends.send(Side::Machine, &flood[usize::from(number) % flood.len()])
                    });
                }
                if self.questions > OFFERS_OF_LIES + 1 {
                    tell(&[question.talkative(ACKNOWLEDGE)]);
                }
            }
            kind => panic!("the machine sends a message of kind {kind}"),
        }
    }

    /// Sends nonsense first; then, whichever server is asked, the host's own address.
    fn about_names(&mut self, query: &Heard, ends: &Ends) {
        self.name_servers.insert(query.destination.0);
        self.names += 1;
        let reply = |message: &[u8]| {
            ends.send(
                Side::Machine,
                &udp(query.mac, [query.destination, query.source], message),
            )
        };
        let good = dns_answer(query.message, GATEWAY);
        let mut other_number = good.clone();
        other_number[0] ^= 1;
        let mut other_name = good.clone();
        other_name[13] ^= 1;
        if self.names <= QUERIES_OF_NONSENSE {
            [&[], &good[..1], &good[..11]].into_iter().for_each(reply);
        }
        [&other_number, &other_name, &good]
            .into_iter()
            .for_each(|message| reply(message));
    }

    /// Sends to a machine that serves: every address is taken, every router knows a better one,
    /// there are more networks than a machine can have, and frames that nobody can parse.
    fn about_everything(&self, ends: &Ends) {
        let tell = |frame: &[u8]| ends.send(Side::Machine, frame);
        for address in [GATEWAY, NAME_SERVER, ADDRESS] {
            tell(&arp(self.mac, address, ADDRESS));
            tell(&arp(BROADCAST, address, ADDRESS));
        }
        for last in 0..=255 {
            tell(&redirect(
                self.mac,
                GATEWAY,
                ADDRESS,
                Ipv4Addr::new(198, 51, 100, last),
            ));
        }
        for number in 0..FLOOD {
            tell(&advertisement(&prefix(number)));
        }
        // The size of frames: zero, and too large; an option without a length; one that is cut off.
        for option in [
            &[5, 1, 0, 0, 0, 0, 0, 0][..],
            &[5, 1, 0, 0, 255, 255, 255, 255],
            &[3, 0],
            &[3, 9, 64],
        ] {
            tell(&advertisement(option));
        }
        for length in [1, 14, 60, 1514] {
            (0..=u8::MAX).for_each(|byte| tell(&vec![byte; length]));
        }
    }
}

/// Returns the reply to a query for an IPv4 address. There is no IPv6 address.
fn dns_answer(query: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let found = query[name_end..name_end + 2] == [0, 1];
    let header = [
        &query[..2],
        &[0x81, 0x80, 0, 1, 0, u8::from(found), 0, 0, 0, 0],
    ]
    .concat();
    let record = [
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4][..],
        &address.octets(),
    ]
    .concat();
    [&header[..], question, if found { &record } else { &[] }].concat()
}

/// The observations of one machine whose network told every lie.
struct Seen {
    liar: Arc<Mutex<Liar>>,
    /// The console after the lies, and after the build.
    health: [Response; 2],
    outcome: Outcome,
    result: Response,
    /// The requests to the server that the name led to.
    asked: Vec<String>,
    console: String,
}

static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let server = LyingServer::of_repository(repository_of_other_bytes(directory.path()));
    let image = Image::from_environment();
    let liar = Arc::new(Mutex::new(Liar::default()));
    let wire = Wire::tapped(liar.clone());
    let ends = wire.ends.clone();
    let machine = Machine::serving(
        &image,
        &Host {
            network: Network::Tapped(wire),
            ..Host::honest(&image)
        },
    );
    liar.lock().unwrap().about_everything(&ends);
    let before = machine.get(Port::Tls, "/health");
    let outcome = machine.build(
        Port::Tls,
        &Source::Repository {
            url: &format!("http://{NAME}:{}/", server.port),
        },
    );
    Seen {
        result: machine.get(Port::Tls, &format!("/build/{}/result", outcome.job)),
        health: [before, machine.get(Port::Tls, "/health")],
        console: machine.console(),
        asked: server.asked(),
        liar,
        outcome,
    }
});

#[test]
#[ignore = "needs QEMU and a built image"]
fn no_reply_that_breaks_a_rule_gives_the_machine_an_address() {
    let liar = SEEN.liar.lock().unwrap();
    assert!(
        liar.questions > OFFERS_OF_LIES + 1,
        "it took what was offered to attempt {}",
        liar.questions
    );
    assert_eq!(liar.wanted, BTreeSet::from([ADDRESS]));
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn the_first_usable_values_of_a_reply_with_repeated_options_count() {
    let liar = SEEN.liar.lock().unwrap();
    let usable = [
        NAME_SERVER,
        Ipv4Addr::new(10, 66, 1, 1),
        Ipv4Addr::new(10, 66, 1, 2),
    ];
    assert!(
        liar.name_servers.contains(&NAME_SERVER),
        "{:?}",
        liar.name_servers
    );
    assert!(
        liar.name_servers.is_subset(&BTreeSet::from(usable)),
        "{:?}",
        liar.name_servers
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_machine_serves_on_whatever_its_network_says() {
    for health in &SEEN.health {
        assert_eq!(health.body, b"ok", "{}", SEEN.console);
    }
    assert!(
        !UNWELL.iter().any(|word| SEEN.console.contains(word)),
        "{}",
        SEEN.console
    );
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_name_server_that_lies_leads_to_bytes_that_are_not_taken() {
    let led_there = SEEN.asked.iter().any(|path| path.starts_with("/objects/"));
    assert!(
        led_there,
        "it asked for {:?}: {} {:?}",
        SEEN.asked, SEEN.outcome.result, SEEN.outcome.lines
    );
    SEEN.outcome.assert_failed("SourceFetchFailed");
    assert_eq!(SEEN.result.status, 404, "{}", SEEN.result.text());
}

/// A server that offers an address, and then refuses it.
#[derive(Default)]
struct Refuser(usize);

impl Between for Refuser {
    fn frame(&mut self, _: Side, frame: &[u8], ends: &Ends) {
        let Some(question) = Question::heard(frame) else {
            return;
        };
        if question.kind == DISCOVER {
            return ends.send(Side::Machine, &question.honest(OFFER));
        }
        self.0 += 1;
        question
            .hostile(ACKNOWLEDGE)
            .iter()
            .for_each(|frame| ends.send(Side::Machine, frame));
        (0..FLOOD).for_each(|_| ends.send(Side::Machine, &question.honest(REFUSE)));
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_network_that_refuses_for_ever_ends_the_machine() {
    let image = Image::from_environment();
    let refuser = Arc::new(Mutex::new(Refuser::default()));
    let start = Instant::now();
    let network = Network::Tapped(Wire::tapped(refuser.clone()));
    let console = Machine::start(
        &image,
        &Host {
            network,
            ..Host::honest(&image)
        },
    )
    .wait_for_its_end();
    let reason = "halting: network: no usable DHCP lease after 8 attempts: answer of kind 6";
    assert!(console.contains(reason), "{console}");
    assert!(!console.contains("listening"), "{console}");
    assert!(refuser.lock().unwrap().0 > 1, "it did not ask again");
    assert!(
        start.elapsed() < END_LIMIT,
        "it ended after {:?}",
        start.elapsed()
    );
}

/// A network that passes everything but queries for names.
struct WithoutNames;

impl Between for WithoutNames {
    fn frame(&mut self, from: Side, frame: &[u8], ends: &Ends) {
        if heard(frame).is_some_and(|heard| from == Side::Machine && heard.destination.1 == 53) {
            return;
        }
        let to = if from == Side::Machine {
            Side::Network
        } else {
            Side::Machine
        };
        ends.send(to, frame);
    }
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_name_server_that_is_silent_ends_the_fetch_and_not_the_machine() {
    let image = Image::from_environment();
    let network = Network::Tapped(Wire::tapped(Arc::new(Mutex::new(WithoutNames))));
    let machine = Machine::serving(
        &image,
        &Host {
            network,
            ..Host::honest(&image)
        },
    );
    let response = machine.submit(
        Port::Tls,
        &Source::Repository {
            url: &format!("http://{NAME}/"),
        },
    );
    assert_eq!(response.status, 422, "{}", response.text());
    assert_eq!(response.json()["error_type"], "SourceFetchFailed");
    machine.assert_healthy(Port::Tls);
}
