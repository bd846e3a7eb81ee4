//! What one client may cost the others: connections, headers, time. The limits of a submission's body are beside its
//! parser.

use std::time::Duration;

/// Most connections that are served at once, both ports together. Further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 256;

/// Longest request line and header block, in bytes.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Most that is buffered of a connection's requests, and of its responses, in bytes.
pub const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// Most header fields of a request.
pub const MAX_HEADERS: usize = 100;

/// Longest wait for a whole header block, and so also for the next request on an open connection.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest TLS handshake.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time in which a client takes nothing of a response that is ready. Slow readers are welcome, absent ones are
/// not.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Most bytes that are still read, and thrown away, after an answer that came before the end of a body: closing a
/// connection with unread bytes would take the answer from the client (RFC 9112, section 9.6).
pub const MAX_LINGER_BYTES: u64 = 64 * 1024 * 1024;

/// Longest time for that.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after an `accept` that failed, most likely for want of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A comment goes to an event reader so often when nothing happens.
pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);

/// One limit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The constant's name.
    pub name: &'static str,
    /// With its unit.
    pub value: String,
    /// What it limits.
    pub meaning: &'static str,
}

/// Every limit of this room, for `--help` and the documentation.
pub fn all() -> Vec<Limit> {
    let limit = |name, value, meaning| Limit { name, value, meaning };
    let seconds = |time: Duration| format!("{} s", time.as_secs_f32());
    vec![
        limit("MAX_CONNECTIONS", MAX_CONNECTIONS.to_string(), "connections served at once, both ports together"),
        limit("MAX_HEADER_BYTES", format!("{MAX_HEADER_BYTES} bytes"), "request line and header fields"),
        limit("MAX_BUFFER_BYTES", format!("{MAX_BUFFER_BYTES} bytes"), "buffered of a connection, each way"),
        limit("MAX_HEADERS", MAX_HEADERS.to_string(), "header fields of a request"),
        limit("HEADER_TIMEOUT", seconds(HEADER_TIMEOUT), "until a request's header is complete, or the next one comes"),
        limit("TLS_HANDSHAKE_TIMEOUT", seconds(TLS_HANDSHAKE_TIMEOUT), "until a TLS handshake is complete"),
        limit("WRITE_STALL_TIMEOUT", seconds(WRITE_STALL_TIMEOUT), "until a client that reads nothing is left"),
        limit("MAX_LINGER_BYTES", format!("{MAX_LINGER_BYTES} bytes"), "read and thrown away after an early answer"),
        limit("LINGER_TIMEOUT", seconds(LINGER_TIMEOUT), "for reading and throwing away"),
        limit("ACCEPT_PAUSE", seconds(ACCEPT_PAUSE), "pause after a failed accept"),
        limit("EVENT_HEARTBEAT", seconds(EVENT_HEARTBEAT), "between comments to a reader of events"),
        limit(
            "MAX_LOG_BYTES",
            format!("{} bytes", crate::job::MAX_LOG_BYTES),
            "of a build's log; more output ends the build",
        ),
        limit(
            "MAX_LINE_BYTES",
            format!("{} bytes", crate::job::MAX_LINE_BYTES),
            "of a line of build output; longer ones are split",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_limit_of_this_file() {
        let listed: Vec<_> = all().iter().map(|limit| limit.name).collect();
        let constants = include_str!("limits.rs").lines().filter_map(|line| line.strip_prefix("pub const "));
        let named: Vec<_> = constants.filter_map(|rest| rest.split(':').next()).collect();
        assert_eq!(listed[..named.len()], named);
        assert_eq!(listed[named.len()..], ["MAX_LOG_BYTES", "MAX_LINE_BYTES"]);
    }
}
