//! Tries: to open sockets of every family, type and protocol, so that rare kernel code runs and modules are loaded
//! Aims at: host
//! Stopped by: the system call filter, which compares all three of them
//! Expect: contained
//! Shows: every other socket is refused
//! Errors: EPERM

mod attack;

use attack::*;

const SOCKET: i64 = 41;
const EPERM: i32 = 1;
/// ICMP, IGMP, IPIP, TCP, UDP, DCCP, IPv6, RSVP, GRE, ESP, AH, ICMPv6, PIM, L2TP, SCTP, UDP-Lite, raw, SMC, MPTCP.
const PROTOCOLS: [usize; 20] =
    [0, 1, 2, 4, 6, 17, 33, 41, 46, 47, 50, 51, 58, 103, 115, 132, 136, 255, 256, 262];

/// UNIX, and TCP and UDP over both internet protocols.
fn is_ordinary(family: usize, kind: usize, protocol: usize) -> bool {
    match (family, kind) {
        (1, 1 | 2 | 5) => protocol == 0,
        (2 | 10, 1) => [0, 6].contains(&protocol),
        (2 | 10, 2) => [0, 17].contains(&protocol),
        _ => false,
    }
}

fn main() {
    let mut refused = 0;
    for family in 0..=46 {
        for kind in 0..16 {
            for protocol in PROTOCOLS {
                for upper_half in [0, 1 << 32] {
                    if is_ordinary(family, kind, protocol) {
                        continue;
                    }
                    let numbers = [family | upper_half, kind | upper_half, protocol | upper_half];
                    let answer = call(SOCKET, [numbers[0], numbers[1], numbers[2], 0, 0, 0]);
                    match answer.map_err(|error| error.raw_os_error()) {
                        Err(Some(EPERM)) => refused += 1,
                        other => succeeded(format_args!("{numbers:x?}: {other:?}")),
                    }
                }
            }
        }
    }
    // Eleven are ordinary, each of them tried twice.
    if refused == 2 * (47 * 16 * PROTOCOLS.len() - 11) {
        contained("every other socket is refused");
    }
}
