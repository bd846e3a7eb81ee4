//! Names and proxies.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use super::command::{
    ACCEPTED, Desk, NO_FREE_MACHINE, NOTHING, Run, appliance, named_appliance, tls,
};
use super::tunnel::{Cutter, Proxy};

const NAME: &str = "appliance.example";

#[test]
fn a_proxy_is_told_the_name_and_sees_no_source() {
    let (desk, server) = (Desk::new(), named_appliance(NAME));
    let proxy = Proxy::start(server.tls_port, 200);
    let to = format!("https://{NAME}:8443");
    let mut command = desk.command("package", &to);
    command.env(
        "HTTPS_PROXY",
        format!("http://user:word@127.0.0.1:{}", proxy.port),
    );
    Run::of(&mut command).expect(ACCEPTED, "ACCEPTED");
    let asked = proxy.asked();
    assert!(asked.len() >= 4, "{asked:?}");
    for (line, credentials) in asked {
        assert_eq!(line, format!("CONNECT {NAME}:8443 HTTP/1.1"));
        assert_eq!(credentials, "Basic dXNlcjp3b3Jk");
    }
}

#[test]
fn a_proxy_that_refuses_is_an_error_and_exceptions_are_kept() {
    let (desk, server) = (Desk::new(), appliance());
    let proxy = Proxy::start(server.tls_port, 403);
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let to = format!("https://{NAME}:8443");
    let mut command = desk.command("package", &to);
    command.args(["--wait", "0"]).env("ALL_PROXY", &address);
    Run::of(&mut command).expect(NO_FREE_MACHINE, "status 403");
    let mut command = desk.command("package", &tls(&server));
    Run::of(command.env("ALL_PROXY", &address)).expect(ACCEPTED, "ACCEPTED");
    assert_eq!(
        proxy.asked().len(),
        1,
        "this machine itself is reached directly"
    );
    let desk = Desk::new();
    let mut command = desk.command("package", &to);
    Run::of(command.env("ALL_PROXY", "socks5://127.0.0.1:1")).expect(NOTHING, "ALL_PROXY");
}

/// Runs `kettle build` where `/etc/hosts` and `/etc/resolv.conf` are these texts. The resolver of
/// the C library, which a static program cannot use, would find no name there: it is told to look
/// nowhere.
fn with_files(desk: &Desk, hosts: &str, resolv: &str, to: &str, wait: &str) -> Run {
    let files = [
        ("hosts", hosts),
        ("resolv.conf", resolv),
        ("nsswitch.conf", "hosts: nothing\n"),
    ];
    for (name, text) in files {
        fs::write(desk.path(name), text).unwrap();
    }
    let mut kettle = desk.command("package", to);
    kettle.args(["--wait", wait]);
    let script =
        "for name in hosts resolv.conf nsswitch.conf; do mount --bind $name /etc/$name; done
        ! getent hosts appliance.example || exit 99
        exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(kettle.get_program())
        .args(kettle.get_args())
        .current_dir(desk.path("."));
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    Run::of(&mut command)
}

#[test]
fn names_come_from_this_machines_hosts() {
    let (desk, server) = (Desk::new(), named_appliance(NAME));
    let hosts = format!("192.0.2.1 other\n127.0.0.1 {NAME} # ours\n");
    let to = format!("https://{NAME}:{}", server.tls_port);
    with_files(&desk, &hosts, "", &to, "10").expect(ACCEPTED, "ACCEPTED");
}

#[test]
fn names_come_from_the_name_server_that_resolv_conf_names() {
    let (desk, server) = (Desk::new(), named_appliance("appliance"));
    // Port 53 of an address of the loopback that nobody else has.
    let socket = UdpSocket::bind("127.0.0.77:53").unwrap();
    std::thread::spawn(move || answer_queries(&socket));
    let resolv = "search example\nnameserver 127.0.0.77\n";
    let to = format!("https://appliance:{}", server.tls_port);
    with_files(&desk, "", resolv, &to, "10").expect(ACCEPTED, "ACCEPTED");
    let to = format!("https://unknown.example:{}", server.tls_port);
    let run = with_files(&Desk::new(), "", resolv, &to, "0");
    run.expect(NO_FREE_MACHINE, "unknown.example");
}

/// The first address belongs to a taken machine, and the second one to a free one. A job stays with
/// the address that it began with, because any other key would end it.
#[test]
fn a_name_with_several_addresses_is_a_pool() {
    let servers = [named_appliance(NAME), named_appliance(NAME)];
    let taken = Desk::new().build(&tls(&servers[0]), &["--wait", "0"]);
    taken.expect(ACCEPTED, "ACCEPTED");
    let first = Cutter::at("127.0.1.1:0", servers[0].tls_port, Vec::new());
    let second = format!("127.0.1.2:{}", first.port);
    let second = Cutter::at(&second, servers[1].tls_port, Vec::new());
    let hosts = format!("127.0.1.1 {NAME}\n127.0.1.2 {NAME}\n");
    let to = format!("https://{NAME}:{}", second.port);
    // Each attempt takes the free one with a probability of one half.
    with_files(&Desk::new(), &hosts, "", &to, "120").expect(ACCEPTED, "ACCEPTED");
    let run = with_files(&Desk::new(), &hosts, "", &to, "3");
    run.expect(NO_FREE_MACHINE, "SlotTaken");
    for server in &servers {
        assert_eq!(server.log().matches("a job was accepted").count(), 1);
    }
}

/// A name server that knows one name, with one IPv4 address.
fn answer_queries(socket: &UdpSocket) {
    const NAME_ON_THE_WIRE: &[u8] = b"\x09appliance\x07example\0";
    let mut buffer = [0; 512];
    loop {
        let (size, from) = socket.recv_from(&mut buffer).unwrap();
        let query = &buffer[..size];
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let is_ours = query[12..end].eq_ignore_ascii_case(NAME_ON_THE_WIRE);
        let is_address = query[end..end + 2] == [0, 1];
        let mut response = query[..2].to_vec();
        let code = if is_ours { 0 } else { 3 };
        let answers = u8::from(is_ours && is_address);
        response.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
        response.extend(&query[12..end + 4]);
        if answers == 1 {
            response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&response, from).unwrap();
    }
}
