//! Which addresses do phases that fetch reach?

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kettle::sandbox::Exit;

use crate::scene::{
    MACHINE, NAME_SERVER, PORT, SECRET, interfaces, logged, reached, reached_by_the_machine,
    reaching, run, run_program, runner, serve_in_the_machine, with_machine,
};

/// Far less than Linux waits for a reply before it gives a connection up.
const TIMED_OUT: Duration = Duration::from_secs(20);

/// Public, of both families, some of them beside a range that is not.
const PUBLIC: [&str; 12] = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.128.0.1",
    "128.0.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "223.255.255.1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1::1",
];

/// Not public: the metadata services of clouds, edges of ranges, and addresses that hide one of
/// IPv4.
const NOT_PUBLIC: [&str; 27] = [
    "0.1.2.3",
    "10.255.255.254",
    "100.100.100.200",
    "100.127.255.254",
    "161.26.0.10",
    "166.9.48.1",
    "166.11.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.31.255.254",
    "192.0.0.192",
    "192.168.255.254",
    "198.18.255.1",
    "198.19.255.254",
    "240.0.0.1",
    "255.255.255.254",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "::a00:1",
    "2001:0:a00:1::f5ff:fffe",
    "2002:a00:1::1",
    "2a00:1::5efe:a00:1",
    "2a00:1::200:5efe:a00:1",
    "fd00:ec2::254",
    "fc00::1",
    "4000::1",
];

/// All ranges of both registries of special addresses; the unit tests of the library read them too.
const SPECIAL: &str = include_str!("../data/special-purpose.txt");

/// Returns an address of each range: the first that a machine can have.
fn special() -> Vec<String> {
    let rows = SPECIAL.lines().filter(|line| !line.starts_with('#'));
    let address = |row: &str| {
        let (address, length) = row.split('\t').next()?.split_once('/')?;
        Some(match address.parse().ok()? {
            IpAddr::V4(address) if length == "32" => address.to_string(),
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() + 1).to_string(),
            IpAddr::V6(address) if length == "128" => address.to_string(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() + 1).to_string(),
        })
    };
    rows.map(|row| address(row).expect(row)).collect()
}

/// Returns whether Linux lets a machine connect to the address by another machine; where not, there
/// is no control.
fn is_reachable(address: &str) -> bool {
    match address.parse().unwrap() {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first != 127 && !address.is_multicast() && !address.is_broadcast()
        }
        IpAddr::V6(address) => {
            let is_of_ipv4 = address.to_ipv4_mapped().is_some();
            let needs_an_interface = address.is_unicast_link_local() || address.is_multicast();
            !address.is_loopback()
                && !address.is_unspecified()
                && !is_of_ipv4
                && !needs_an_interface
        }
    }
}

fn targets<'a>(addresses: &[&'a str]) -> Vec<(&'a str, u16)> {
    addresses.iter().map(|address| (*address, PORT)).collect()
}

#[test]
#[ignore = "needs root"]
fn a_phase_reaches_public_addresses_and_no_others() {
    let special = special();
    let refused: Vec<_> = special
        .iter()
        .map(String::as_str)
        .chain(NOT_PUBLIC)
        .collect();
    let reachable = refused
        .iter()
        .copied()
        .filter(|address| is_reachable(address));
    let world: BTreeSet<_> = PUBLIC.into_iter().chain(reachable).collect();
    let world: Vec<_> = world.into_iter().collect();
    with_machine(&world, |_| {
        assert_eq!(
            reached_by_the_machine(&targets(&world)),
            targets(&world),
            "the control"
        );
        let all: Vec<_> = PUBLIC.into_iter().chain(refused.iter().copied()).collect();
        let (exit, printed) = run(&runner(&[]), &reaching(&targets(&all)));
        assert_eq!(exit, Exit::Status(0), "{printed}");
        assert_eq!(reached(&printed, &targets(&all)), targets(&PUBLIC));
    });
}

#[test]
#[ignore = "needs root"]
fn a_phase_reaches_nothing_of_the_machine_itself() {
    let own = [
        MACHINE[0],
        MACHINE[1],
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:1.0.0.2",
    ];
    with_machine(&["1.1.1.1"], |_| {
        serve_in_the_machine();
        assert_eq!(
            reached_by_the_machine(&targets(&own)),
            targets(&own),
            "the control"
        );
        let script = format!(
            "{}; gateway=$(sed -n 's/^eth0\\t00000000\\t\\(..\\)\\(..\\)\\(..\\)\\(..\\)\\t.*/0x\\4 0x\\3 0x\\2 0x\\1/p' \
             /proc/net/route); gateway=$(printf '%d.%d.%d.%d' $gateway); echo gateway $gateway; \
             timeout 4 bash -c \"exec 3<>/dev/tcp/$gateway/{PORT}\" 2>/dev/null && echo reached; exit 0",
            reaching(&[&targets(&own)[..], &[("1.1.1.1", PORT)]].concat())
                .trim_end_matches("; exit 0")
        );
        let (exit, printed) = run(&runner(&[]), &script);
        assert_eq!(exit, Exit::Status(0), "{printed}");
        assert!(printed.contains("gateway 198.1"), "{printed}");
        assert!(printed.contains(&format!("1.1.1.1 {PORT}\n")), "{printed}");
        assert_eq!(reached(&printed, &targets(&own)), []);
        assert!(!printed.contains("reached"), "{printed}");
    });
}

#[test]
#[ignore = "needs root"]
fn of_a_name_server_a_phase_reaches_port_53_and_nobody_elses() {
    let table = [
        (NAME_SERVER, 53),
        (NAME_SERVER, PORT),
        ("8.8.8.8", 53),
        ("8.8.8.8", PORT),
        ("1.1.1.1", 53),
        ("1.1.1.1", PORT),
    ];
    with_machine(&["8.8.8.8", "1.1.1.1"], |world| {
        world.set_name_servers(&[NAME_SERVER, "8.8.8.8"]);
        assert_eq!(reached_by_the_machine(&table), table, "the control");
        let (_, printed) = run(&runner(&[]), &reaching(&table));
        assert_eq!(
            reached(&printed, &table),
            [(NAME_SERVER, 53), ("8.8.8.8", 53), ("1.1.1.1", PORT)]
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_refused_address_ends_the_command_at_once_and_is_in_the_log_alone() {
    with_machine(&["10.0.0.1", "1.1.1.1"], |_| {
        serve_in_the_machine();
        let runner = runner(&[]);
        let connect = |address: &str| format!("exec 3<>/dev/tcp/{address}/{PORT}");
        let in_log = |address: &str| logged(&format!("refused {address}, which is not a public"));
        // The last two are the machine's own, and public by their numbers.
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "fd00:ec2::254",
            MACHINE[0],
            MACHINE[1],
        ] {
            let started = Instant::now();
            let (exit, printed) = run(&runner, &connect(address));
            assert_eq!(exit, Exit::RefusedAddress, "{address}: {printed}");
            assert!(
                printed.contains("Connection refused"),
                "{address}: {printed}"
            );
            assert!(
                started.elapsed() < TIMED_OUT,
                "{address}: {:?}",
                started.elapsed()
            );
            assert!(in_log(address), "{address}");
        }
        // A command that succeeds did not need it; one that fails for another reason tried nothing
        // that was refused.
        let control = format!("({}); exit 0", connect("10.0.0.1"));
        assert_eq!(run(&runner, &control).0, Exit::Status(0));
        assert_eq!(run(&runner, "exit 3").0, Exit::Status(3));
        assert!(!in_log("10.0.0.2"));
    });
}

#[test]
#[ignore = "needs root"]
fn allowed_networks_are_reached_and_recorded_and_nothing_beside_them() {
    let table = [
        ("10.1.0.1", PORT),
        ("10.2.0.1", PORT),
        ("127.0.0.1", PORT),
        ("127.9.9.9", PORT),
        (MACHINE[0], PORT),
    ];
    with_machine(&["10.1.0.1", "10.2.0.1"], |_| {
        serve_in_the_machine();
        assert_eq!(reached_by_the_machine(&table), table, "the control");
        for (allowed, expected) in [
            (&["10.1.0.0/16"][..], &table[..1]),
            (&["127.0.0.0/8"], &table[2..4]),
            (&["127.0.0.1/32", "10.2.0.1/32"], &table[1..3]),
            (&["1.0.0.0/24"], &table[4..]),
        ] {
            let runner = runner(allowed);
            let (_, printed) = run(&runner, &reaching(&table));
            assert_eq!(reached(&printed, &table), expected, "{allowed:?}");
            let description = serde_json::to_value(runner.description()).unwrap();
            let recorded = serde_json::json!({ "reaches": "public-unicast", "allowed": allowed });
            assert_eq!(description["fetchNetwork"], recorded);
        }
    });
}

const CHANGES: &str = "
import socket
for name, call in (
    ('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)),
    ('netfilter', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)),
    ('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)),
    ('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)),
    ('setting', lambda: open('/proc/sys/net/ipv4/conf/all/route_localnet', 'w')),
):
    try:
        call()
        print('works:', name)
    except OSError:
        print('refused')
";

/// A process of the phase has no rights over its network: it cannot add an address, a route or a
/// rule, or send raw packets.
#[test]
#[ignore = "needs root"]
fn a_phase_cannot_change_its_network() {
    with_machine(&["10.0.0.1"], |_| {
        let (exit, printed) = run(&runner(&[]), &format!("python3 -c \"{CHANGES}\""));
        assert_eq!((exit, printed), (Exit::Status(0), "refused\n".repeat(5)));
    });
}

const SETTINGS: &str = "/proc/sys/net";

fn forwarding() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(format!("{SETTINGS}/{path}")).unwrap();
    let paths = [
        "ipv4/ip_forward",
        "ipv4/conf/up0/forwarding",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/default/forwarding",
        "ipv6/conf/lo/forwarding",
        "ipv6/conf/up0/forwarding",
        "ipv6/conf/up0/accept_ra",
    ];
    paths.map(read).into()
}

fn number_of_the_namespace() -> String {
    let number = fs::read_link("/proc/thread-self/ns/net").unwrap();
    number
        .to_str()
        .unwrap()
        .trim_matches(|letter: char| !letter.is_ascii_digit())
        .to_owned()
}

fn left_in_run() -> Vec<String> {
    let number = number_of_the_namespace();
    let names = fs::read_dir("/run")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("kettle-network-") && name.contains(&number))
        .collect()
}

/// Writing the setting for all IPv6 interfaces overwrites that of each.
#[test]
#[ignore = "needs root"]
fn the_settings_of_single_interfaces_are_afterwards_as_they_were() {
    with_machine(&["1.1.1.1"], |_| {
        let set = |path: &str, value: &str| fs::write(format!("{SETTINGS}/{path}"), value).unwrap();
        let runner = runner(&[]);
        for (all, default, up0, advertisements) in [
            ("0", "0", "0", "1"),
            ("0", "1", "0", "1"),
            ("0", "0", "1", "0"),
            ("1", "0", "0", "1"),
            ("1", "1", "1", "2"),
        ] {
            set("ipv6/conf/all/forwarding", all);
            set("ipv6/conf/default/forwarding", default);
            set("ipv6/conf/up0/forwarding", up0);
            set("ipv6/conf/up0/accept_ra", advertisements);
            let before = forwarding();
            let (_, during) = run(&runner, "exit 0");
            assert_eq!(forwarding(), before, "{during}");
        }
    });
}

/// A killed service leaves its changes in a file, and the next phase reverts them.
#[test]
#[ignore = "needs root"]
fn forwarding_that_a_killed_service_left_is_ended_by_the_next_one() {
    with_machine(&["1.1.1.1"], |_| {
        let before = forwarding();
        let left = [
            "ipv4/conf/up0/forwarding",
            "ipv6/conf/default/forwarding",
            "ipv6/conf/all/forwarding",
        ];
        let record = format!("/run/kettle-network-{}", number_of_the_namespace());
        fs::write(&record, left.map(|path| format!("{path} 0\n")).concat()).unwrap();
        for path in left {
            fs::write(format!("{SETTINGS}/{path}"), "1").unwrap();
        }
        assert_ne!(forwarding(), before, "the control");
        run(&runner(&[]), "exit 0");
        assert_eq!(forwarding(), before);
        assert_eq!(left_in_run(), Vec::<String>::new());
    });
}

/// Prints packets that leave the machine with options between header and content, and their
/// destinations.
const WATCH: &str = "
import select, socket, sys
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
packets.bind(('up0', 3))
packets.setblocking(False)
print('ready', flush=True)
ended = False
while not ended:
    ready, _, _ = select.select([packets, sys.stdin], [], [])
    ended = sys.stdin in ready
    while True:
        try:
            packet, address = packets.recvfrom(2048)
        except BlockingIOError:
            break
        if address[2] != socket.PACKET_OUTGOING:
            continue
        if packet[0] >> 4 == 4 and packet[0] & 15 != 5:
            print(socket.inet_ntop(socket.AF_INET, packet[16:20]), flush=True)
        if packet[0] >> 4 == 6 and packet[6] not in (6, 17, 58, 0):
            print(socket.inet_ntop(socket.AF_INET6, packet[24:40]), flush=True)
";

/// Connects in ways that need no rights: by a loose source route, with a recorded route, with a
/// router alert, and by a segment routing header. Each goes by its own public address.
const GO_ELSEWHERE: &str = "
import socket
def attempt(family, level, name, value, target):
    with socket.socket(family) as connection:
        connection.settimeout(1)
        try:
            connection.setsockopt(level, name, value)
        except PermissionError:
            return
        print('asked for', target)
        try:
            connection.connect((target, 8000))
        except OSError:
            pass
four, six = socket.inet_aton, lambda text: socket.inet_pton(socket.AF_INET6, text)
options = (socket.AF_INET, socket.IPPROTO_IP, socket.IP_OPTIONS)
attempt(*options, bytes([131, 7, 4]) + four('8.8.8.1') + bytes(1), '10.0.0.1')
attempt(*options, bytes([7, 7, 4, 0, 0, 0, 0, 0]), '8.8.8.2')
attempt(*options, bytes([148, 4, 0, 0]), '8.8.8.3')
segments = bytes([0, 4, 4, 1, 1, 0, 0, 0]) + six('fd00:ec2::254') + six('2606:4700::1111')
attempt(socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_RTHDR, segments, 'fd00:ec2::254')
";

/// The lines of [`GO_ELSEWHERE`] about its requests. Newer kernels let only root set a source
/// route.
const ASKED: &str = "asked for 8.8.8.2\nasked for 8.8.8.3\nasked for fd00:ec2::254\n";

/// Runs something while packets are watched that leave the machine; returns their destinations.
fn leaving_while(work: impl FnOnce()) -> BTreeSet<String> {
    let mut watching = Command::new("python3");
    watching
        .args(["-c", WATCH])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut watching = watching.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    work();
    drop(watching.stdin.take());
    let seen = lines.map(Result::unwrap).collect();
    assert!(watching.wait().unwrap().success());
    seen
}

#[test]
#[ignore = "needs root"]
fn a_packet_that_names_another_destination_further_on_does_not_leave() {
    with_machine(&["1.1.1.1"], |_| {
        let by_the_machine = leaving_while(|| {
            let printed = run_program("python3", &["-c", GO_ELSEWHERE]);
            assert_eq!(
                printed,
                format!("asked for 10.0.0.1\n{ASKED}"),
                "the control"
            );
        });
        let all = ["2606:4700::1111", "8.8.8.1", "8.8.8.2", "8.8.8.3"].map(str::to_owned);
        assert_eq!(by_the_machine, BTreeSet::from(all), "the control");
        let runner = runner(&[]);
        let by_a_phase = leaving_while(|| {
            let (exit, printed) = run(&runner, &format!("python3 -c \"{GO_ELSEWHERE}\""));
            assert_eq!(exit, Exit::Status(0), "{printed}");
            assert!(printed.ends_with(ASKED), "{printed}");
        });
        assert_eq!(by_a_phase, BTreeSet::new());
    });
}

#[test]
#[ignore = "needs root"]
fn nothing_of_a_network_is_left_after_its_phase() {
    with_machine(&["1.1.1.1"], |_| {
        let (before, settings) = (interfaces(), forwarding());
        let runner = runner(&[]);
        for script in ["exit 0", "exit 1", "kill -KILL $$"] {
            run(&runner, script);
            assert_eq!(
                (interfaces(), forwarding()),
                (before.clone(), settings.clone()),
                "{script}"
            );
            assert_eq!(left_in_run(), Vec::<String>::new(), "{script}");
        }
        // Tables are ended by the end of their sockets; the one without a socket has a name that
        // can be taken again.
        let sockets = fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        let of_netfilter = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1] == "12" && fields[2] != "0"
        };
        assert_eq!(sockets.lines().filter(of_netfilter).count(), 0, "{sockets}");
        let (_, printed) = run(&runner, &reaching(&[("1.1.1.1", PORT)]));
        assert!(printed.contains("1.1.1.1"), "{printed}");
        assert!(!printed.contains(SECRET));
    });
}
