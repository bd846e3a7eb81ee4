//! What one client may cost the others: connections, headers, time. The limits of a submission's body are beside its
//! parser.

#[cfg(feature = "host")]
mod list;

use std::time::Duration;

#[cfg(feature = "host")]
pub use list::{Limit, all};

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

/// Time after which a client may ask again whether the machine is ready.
pub const READY_RETRY: Duration = Duration::from_secs(2);

/// Most requests for evidence about the TLS key that are in the secure processor at once; further ones wait.
pub const MAX_SESSION_REQUESTS: usize = 1;
