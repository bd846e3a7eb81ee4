//! A network that lies, from the first question for an address to the name of a server. What breaks a rule is not believed, and
//! what is believed decides about reaching something, never about what it is.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Answer, Door, Outcome, Source};
use crate::dhcp_answers::{
    ACKNOWLEDGE, ADDRESS, DISCOVER, GATEWAY, NAME_SERVER, OFFER, Question, REFUSE, REQUEST,
};
use crate::image::Image;
use crate::lying_servers::{LyingServer, repository_of_other_bytes};
use crate::machine::{Host, Machine, Network};
use crate::packets::{BROADCAST, Heard, Mac, advertisement, arp, heard, prefix, redirect, udp};
use crate::wire::{Between, Ends, Side, Wire};

/// Attempts at an address that hear nothing but lies; after them the machine waits longest.
const OFFERS_OF_LIES: usize = 4;
/// Frames before an answer, and advertisements of networks.
const FLOOD: u16 = 2000;
/// Questions for a name that are answered with what is no answer first: for an address of either version.
const QUERIES_OF_NONSENSE: usize = 2;
/// The source's name, which no honest name server knows.
const NAME: &str = "source.example";
/// Booting, and all attempts to get an address, on a busy processor.
const END_LIMIT: Duration = Duration::from_secs(90);
/// What the console says of a kernel that is not well.
const UNWELL: [&str; 6] = ["panic", "Oops", "BUG", "WARNING", "Call Trace", "halting"];

/// Tells lies about everything before it lets the truth pass.
#[derive(Default)]
struct Liar {
    mac: Mac,
    questions: usize,
    /// The addresses that the machine wanted to have.
    wanted: BTreeSet<Ipv4Addr>,
    /// Whom it asked for names.
    name_servers: BTreeSet<Ipv4Addr>,
    /// How often.
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
                // Once: a flood may wash away what comes after it.
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

    /// Nonsense first; then, whoever is asked, the host's own address.
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

    /// To a machine that serves: every address is somebody's, every router knows a better one, there are more networks
    /// than anybody can have, and frames that say nothing that can be understood.
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
        // The size of frames: none, and more than there is; an option of no length; one that is cut.
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

/// To a question for an address of version 4: this one. There is none of another version.
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

/// What was seen of one machine whose network told every lie.
struct Seen {
    liar: Arc<Mutex<Liar>>,
    /// After the lies, and after the build.
    health: [Answer; 2],
    outcome: Outcome,
    result: Answer,
    /// Of the server to which the name led.
    asked: Vec<String>,
    console: String,
}

static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let server = LyingServer::of_repository(repository_of_other_bytes(folder.path()));
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
    let before = machine.get(Door::Tls, "/health");
    let outcome = machine.build(
        Door::Tls,
        &Source::Repository {
            url: &format!("http://{NAME}:{}/", server.port),
        },
    );
    Seen {
        result: machine.get(Door::Tls, &format!("/build/{}/result", outcome.job)),
        health: [before, machine.get(Door::Tls, "/health")],
        console: machine.console(),
        asked: server.asked(),
        liar,
        outcome,
    }
});

#[test]
#[ignore = "needs QEMU and a built image"]
fn no_answer_that_breaks_a_rule_gives_the_machine_an_address() {
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
fn of_an_answer_that_says_everything_and_twice_the_first_usable_values_count() {
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

/// Offers, and refuses what it offered.
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

/// Passes everything but questions for names.
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
    let answer = machine.submit(
        Door::Tls,
        &Source::Repository {
            url: &format!("http://{NAME}/"),
        },
    );
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(answer.json()["error_type"], "SourceFetchFailed");
    assert_eq!(
        machine.get(Door::Tls, "/health").body,
        b"ok",
        "{}",
        machine.console()
    );
}
