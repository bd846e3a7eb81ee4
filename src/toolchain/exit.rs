//! Describes in words how a command ended.
//!
//! * In: the [`Exit`] that the sandbox reports.
//! * Out: a few words for a message to the caller.
//! * Never: output of the command.

use crate::sandbox::Exit;

/// Returns a few words about how a command ended, for a message.
pub(super) fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::TimedOut { limit } => format!("longer than {} s", limit.as_secs()),
        Exit::OutOfMemory => "out of memory".to_owned(),
        Exit::RefusedAddress => "a host that it asked for, which the end of the log names, has \
            no public address: only public addresses are reached"
            .to_owned(),
    }
}
