//! Which addresses are reached.

use std::fs;

use kettle::sandbox::Exit;

use crate::scene::{
    MACHINE, NAME_SERVER, PORT, SECRET, interfaces, reached, reached_by_the_machine, reaching, run, runner,
    serve_in_the_machine, with_machine,
};

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

/// Not public: one address of each range at least, with the metadata services of clouds.
const NOT_PUBLIC: [&str; 33] = [
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.254",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.192",
    "192.0.2.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.254",
    "198.18.255.1",
    "198.19.255.254",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.254",
    "64:ff9b::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "3fff::1",
    "fd00:ec2::254",
    "fc00::1",
    "4000::1",
];

/// What Linux gives nobody a connection to, so that there is no control.
const UNREACHABLE: [&str; 1] = ["0.1.2.3"];

fn targets<'a>(addresses: &[&'a str]) -> Vec<(&'a str, u16)> {
    addresses.iter().map(|address| (*address, PORT)).collect()
}

#[test]
#[ignore = "needs root"]
fn a_phase_reaches_public_addresses_and_no_others() {
    let assignable: Vec<_> = NOT_PUBLIC.into_iter().filter(|address| !UNREACHABLE.contains(address)).collect();
    let world: Vec<_> = PUBLIC.into_iter().chain(assignable.iter().copied()).collect();
    with_machine(&world, |_| {
        assert_eq!(reached_by_the_machine(&targets(&world)), targets(&world), "the control");
        let all: Vec<_> = PUBLIC.into_iter().chain(NOT_PUBLIC).collect();
        let (exit, printed) = run(&runner(&[]), &reaching(&targets(&all)));
        assert_eq!(exit, Exit::Status(0), "{printed}");
        assert_eq!(reached(&printed, &targets(&all)), targets(&PUBLIC));
    });
}

#[test]
#[ignore = "needs root"]
fn a_phase_reaches_nothing_of_the_machine_itself() {
    let own = [MACHINE[0], MACHINE[1], "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "::ffff:1.0.0.2"];
    with_machine(&["1.1.1.1"], |_| {
        serve_in_the_machine();
        assert_eq!(reached_by_the_machine(&targets(&own)), targets(&own), "the control");
        let script = format!(
            "{}; gateway=$(sed -n 's/^eth0\\t00000000\\t\\(..\\)\\(..\\)\\(..\\)\\(..\\)\\t.*/0x\\4 0x\\3 0x\\2 0x\\1/p' \
             /proc/net/route); gateway=$(printf '%d.%d.%d.%d' $gateway); echo gateway $gateway; \
             timeout 4 bash -c \"exec 3<>/dev/tcp/$gateway/{PORT}\" 2>/dev/null && echo reached; exit 0",
            reaching(&[&targets(&own)[..], &[("1.1.1.1", PORT)]].concat()).trim_end_matches("; exit 0")
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
        assert_eq!(reached(&printed, &table), [(NAME_SERVER, 53), ("8.8.8.8", 53), ("1.1.1.1", PORT)]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_refused_address_ends_the_command_at_once_and_is_named() {
    with_machine(&["10.0.0.1", "1.1.1.1"], |_| {
        let runner = runner(&[]);
        let connect = |address: &str| format!("exec 3<>/dev/tcp/{address}/{PORT}");
        let (exit, printed) = run(&runner, &connect("10.0.0.1"));
        assert_eq!(exit, Exit::RefusedAddress { address: "10.0.0.1".parse().unwrap() });
        assert!(printed.contains("Connection refused"), "{printed}");
        let (exit, _) = run(&runner, &connect("127.0.0.1"));
        assert_eq!(exit, Exit::RefusedAddress { address: "127.0.0.1".parse().unwrap() });
        let (exit, _) = run(&runner, &connect("fd00:ec2::254"));
        assert_eq!(exit, Exit::RefusedAddress { address: "fd00:ec2::254".parse().unwrap() });
        // Whoever succeeds had no use for it; whoever fails for another reason tried nothing that was refused.
        assert_eq!(run(&runner, &format!("({}); exit 0", connect("10.0.0.1"))).0, Exit::Status(0));
        assert_eq!(run(&runner, "exit 3").0, Exit::Status(3));
    });
}

#[test]
#[ignore = "needs root"]
fn what_an_operator_allows_is_reached_and_recorded_and_nothing_beside_it() {
    let table = [("10.1.0.1", PORT), ("10.2.0.1", PORT), ("127.0.0.1", PORT), ("127.9.9.9", PORT), (MACHINE[0], PORT)];
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

/// A process of the phase is root of nothing there: it cannot add an address, a route or a rule, or send what it likes.
#[test]
#[ignore = "needs root"]
fn a_phase_cannot_change_its_network() {
    with_machine(&["10.0.0.1"], |_| {
        let (exit, printed) = run(&runner(&[]), &format!("python3 -c \"{CHANGES}\""));
        assert_eq!((exit, printed), (Exit::Status(0), "refused\n".repeat(5)));
    });
}

fn forwarding() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap();
    let paths = [
        "ipv4/ip_forward",
        "ipv4/conf/up0/forwarding",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/up0/forwarding",
        "ipv6/conf/up0/accept_ra",
    ];
    paths.map(read).into()
}

fn left_in_run() -> Vec<String> {
    let number = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let number = number.to_str().unwrap().trim_matches(|letter: char| !letter.is_ascii_digit()).to_owned();
    let names = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("kettle-network-") && name.contains(&number)).collect()
}

#[test]
#[ignore = "needs root"]
fn nothing_of_a_network_is_left_after_its_phase() {
    with_machine(&["1.1.1.1"], |_| {
        let (before, settings) = (interfaces(), forwarding());
        let runner = runner(&[]);
        for script in ["exit 0", "exit 1", "kill -KILL $$"] {
            run(&runner, script);
            assert_eq!((interfaces(), forwarding()), (before.clone(), settings.clone()), "{script}");
            assert_eq!(left_in_run(), Vec::<String>::new(), "{script}");
        }
        // Tables are ended by the end of their sockets; the one without a socket has a name that can be taken again.
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
