//! How a command ended, in words.
//!
//! - Comes in: what the sandbox says of it.
//! - Goes out: a few words for a message to the caller.
//! - Never: output of the command.

use crate::sandbox::Exit;

/// How a command ended, for a message.
pub(super) fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::TimedOut { limit } => format!("longer than {} s", limit.as_secs()),
        Exit::OutOfMemory => "out of memory".to_owned(),
        Exit::RefusedAddress => {
            "a host that it asked for, which its last words in the log name, has \
            no public address: only public addresses are reached"
                .to_owned()
        }
    }
}
