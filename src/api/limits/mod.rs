//! Limits what one client may cost the others: connections, header fields, time. The limits of a
//! submission's body are beside its parser.

#[cfg(feature = "host")]
mod list;

use std::time::Duration;

#[cfg(feature = "host")]
pub use list::{Limit, all};

/// Declares constants from a table of limits: the constant, what it counts (`count`, `bytes` or
/// `time`), and what it limits, for the help of `kettle-host`. The function `list` returns all of
/// them for that help.
macro_rules! limits {
    ($(
        $(#[$documentation:meta])*
        $name:ident: $type:ty = $value:expr, $unit:ident, $meaning:literal;
    )*) => {
        $($(#[$documentation])* pub const $name: $type = $value;)*

        /// Returns all the limits of this file.
        #[cfg(feature = "host")]
        pub(in crate::api) fn list() -> Vec<$crate::api::limits::Limit> {
            vec![$($crate::api::limits::Limit::$unit(stringify!($name), $name, $meaning)),*]
        }
    };
}
pub(in crate::api) use limits;

limits! {
    /// The most connections that are served at once, both ports together. Further ones wait in the
    /// kernel's queue.
    MAX_CONNECTIONS: usize = 256, count, "connections served at once, both ports together";

    /// The longest request line and header block together, in bytes.
    MAX_HEADER_BYTES: usize = 32 * 1024, bytes, "request line and header fields";

    /// The most bytes that are buffered of a connection's requests, and as many of its responses.
    MAX_BUFFER_BYTES: usize = 64 * 1024, bytes, "buffered of a connection, each way";

    /// The most header fields of a request.
    MAX_HEADERS: usize = 100, count, "header fields of a request";

    /// The longest wait for a whole header block, and so also for the next request on an open
    /// connection.
    HEADER_TIMEOUT: Duration = Duration::from_secs(10),
        time, "until a request's header is complete, or the next one comes";

    /// The longest time for a TLS handshake.
    TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10),
        time, "until a TLS handshake is complete";

    /// The longest time in which a client takes nothing of a response that is ready. Slow readers
    /// are welcome, absent ones are not.
    WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10 * 60),
        time, "until a client that reads nothing is left";

    /// The most bytes that are read and thrown away after a response that came before the end of a
    /// body: the client would lose the response if the connection were closed with unread bytes
    /// (RFC 9112, section 9.6).
    MAX_LINGER_BYTES: u64 = 64 * 1024 * 1024, bytes, "read and thrown away after an early answer";

    /// The longest time for reading and throwing away these bytes.
    LINGER_TIMEOUT: Duration = Duration::from_secs(10), time, "for reading and throwing away";

    /// The pause after an `accept` that failed, most likely because there were no file descriptors.
    ACCEPT_PAUSE: Duration = Duration::from_millis(200), time, "pause after a failed accept";

    /// The time between comments to a reader of events while nothing happens.
    EVENT_HEARTBEAT: Duration = Duration::from_secs(15),
        time, "between comments to a reader of events";

    /// The time after which a client may ask again whether the machine is ready.
    READY_RETRY: Duration = Duration::from_secs(2),
        time, "until a client may ask again whether the machine is ready";

    /// The most times that the ref of a repository is resolved for one address: each is a command
    /// of git.
    MAX_REF_TRIES: usize = 16, count, "refs of repositories that are resolved for one address";

    /// The most addresses for which refs are resolved at all.
    MAX_REF_ADDRESSES: usize = 1024, count, "addresses for which refs are resolved";

    /// Time after which a client may submit a repository again while the ref of another is
    /// resolved.
    REF_RETRY: Duration = Duration::from_secs(2),
        time, "until a repository may be submitted again while another ref is resolved";

    /// The most requests for evidence about the TLS key that are in the secure processor at once;
    /// further ones wait.
    MAX_SESSION_REQUESTS: usize = 1, count, "requests of clients in the secure processor at once";
}
