//! What one client may cost the others: connections, headers, time. The limits of a submission's body are beside its
//! parser.

#[cfg(feature = "host")]
mod list;

use std::time::Duration;

#[cfg(feature = "host")]
pub use list::{Limit, all};

/// Makes constants from a table of limits: the constant, what it counts (`count`, `bytes` or `time`), and what it limits, for
/// the help of `kettle-host`. There, the function `list` has them all.
macro_rules! limits {
    ($(
        $(#[$documentation:meta])*
        $name:ident: $type:ty = $value:expr, $unit:ident, $meaning:literal;
    )*) => {
        $($(#[$documentation])* pub const $name: $type = $value;)*

        /// Returns all limits of this file.
        #[cfg(feature = "host")]
        pub(in crate::api) fn list() -> Vec<$crate::api::limits::Limit> {
            vec![$($crate::api::limits::Limit::$unit(stringify!($name), $name, $meaning)),*]
        }
    };
}
pub(in crate::api) use limits;

limits! {
    /// Most connections that are served at once, both ports together. Further ones wait in the kernel's queue.
    MAX_CONNECTIONS: usize = 256, count, "connections served at once, both ports together";

    /// Longest request line and header block, in bytes.
    MAX_HEADER_BYTES: usize = 32 * 1024, bytes, "request line and header fields";

    /// Most that is buffered of a connection's requests, and of its responses, in bytes.
    MAX_BUFFER_BYTES: usize = 64 * 1024, bytes, "buffered of a connection, each way";

    /// Most header fields of a request.
    MAX_HEADERS: usize = 100, count, "header fields of a request";

    /// Longest wait for a whole header block, and so also for the next request on an open connection.
    HEADER_TIMEOUT: Duration = Duration::from_secs(10),
        time, "until a request's header is complete, or the next one comes";

    /// Longest TLS handshake.
    TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10),
        time, "until a TLS handshake is complete";

    /// Longest time in which a client takes nothing of a response that is ready. Slow readers are welcome, absent ones are
    /// not.
    WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10 * 60),
        time, "until a client that reads nothing is left";

    /// Most bytes that are still read, and thrown away, after an answer that came before the end of a body: closing a
    /// connection with unread bytes would take the answer from the client (RFC 9112, section 9.6).
    MAX_LINGER_BYTES: u64 = 64 * 1024 * 1024, bytes, "read and thrown away after an early answer";

    /// Longest time for that.
    LINGER_TIMEOUT: Duration = Duration::from_secs(10), time, "for reading and throwing away";

    /// Pause after an `accept` that failed, most likely for want of file descriptors.
    ACCEPT_PAUSE: Duration = Duration::from_millis(200), time, "pause after a failed accept";

    /// A comment goes to an event reader so often when nothing happens.
    EVENT_HEARTBEAT: Duration = Duration::from_secs(15),
        time, "between comments to a reader of events";

    /// Time after which a client may ask again whether the machine is ready.
    READY_RETRY: Duration = Duration::from_secs(2),
        time, "until a client may ask again whether the machine is ready";

    /// How often one address may have the ref of a repository resolved: each try is a command of git's.
    MAX_REF_TRIES: usize = 16, count, "refs of repositories that are resolved for one address";

    /// Most addresses for which refs are resolved at all.
    MAX_REF_ADDRESSES: usize = 1024, count, "addresses for which refs are resolved";

    /// Time after which a client may submit a repository again while the ref of another is resolved.
    REF_RETRY: Duration = Duration::from_secs(2),
        time, "until a repository may be submitted again while another ref is resolved";

    /// Most requests for evidence about the TLS key that are in the secure processor at once; further ones wait.
    MAX_SESSION_REQUESTS: usize = 1, count, "requests of clients in the secure processor at once";
}
