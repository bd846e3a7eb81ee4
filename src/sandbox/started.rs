//! Ends a command that runs, and finds out how it ended.
//!
//! * In: a bubblewrap whose child was released, and its output.
//! * Out: how the command ended, once everything in the sandbox is dead, and the end of its
//!   standard error.
//! * Never: an exit status while a process of the sandbox is alive.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::network::PhaseNetwork;
use super::output::{Interruption, Watch};
use super::process::{Held, Status};
use super::spec::{Exit, OutputSink, Stream};
use super::{RunError, kernel};

/// How long a namespace may take to become empty after it was killed. Only freeing much memory
/// takes time.
pub(super) const DEATH_LIMIT: Duration = Duration::from_secs(30);
/// How much of the end of standard error is kept, to report why bubblewrap failed.
const MAX_MESSAGE_BYTES: usize = 1024;
/// bubblewrap, like a shell, reports a signal that ended the command as this number plus the
/// signal's.
const SIGNAL_BASE: i32 = 128;
/// The highest number of a signal of Linux.
const LAST_SIGNAL: i32 = 64;

/// A command that runs. The order of the fields is the order of dropping: bubblewrap's outer
/// process, then the rest.
pub(super) struct Started {
    pub(super) watch: Watch,
    pub(super) held: Held,
    pub(super) status: Status,
    pub(super) network: Option<PhaseNetwork>,
}

impl Started {
    /// Kills everything in the sandbox, and waits until it is dead and bubblewrap has ended.
    pub(super) async fn end(&mut self) -> Result<(), RunError> {
        let wait = |source| RunError::Wait { source };
        self.held.kill().map_err(wait)?;
        let survivors = |_| RunError::Survivors { limit: DEATH_LIMIT };
        if let Some(death) = self.held.death().map_err(wait)? {
            timeout(DEATH_LIMIT, kernel::readable(death))
                .await
                .map_err(survivors)?
                .map_err(wait)?;
        }
        timeout(DEATH_LIMIT, self.watch.reap())
            .await
            .map_err(survivors)?
            .map_err(wait)
    }

    /// Returns whether the command tried to reach addresses that are not public. The addresses
    /// themselves go to the log of the machine only. If they cannot be read, no result changes.
    pub(super) fn was_refused_an_address(&self) -> bool {
        let Some(network) = &self.network else {
            return false;
        };
        let refused = network.refused_addresses().unwrap_or_else(|error| {
            log::warn!("cannot read which addresses were refused: {error}");
            Vec::new()
        });
        for address in &refused {
            log::warn!("a phase was refused {address}, which is not a public address");
        }
        !refused.is_empty()
    }

    /// Returns how the command ended, if it ended by itself.
    pub(super) fn exit(&mut self, message: &[u8]) -> Result<Exit, RunError> {
        let code = self
            .status
            .exit_code()
            .map_err(|source| RunError::Wait { source })?;
        match code {
            Some(0) => Ok(Exit::Status(0)),
            _ if self.held.ran_out_of_memory() => Ok(Exit::OutOfMemory),
            Some(code) => Ok(exit_of(code)),
            None => Err(RunError::Setup {
                message: text(message),
            }),
        }
    }
}

/// Returns the meaning of an exit status of bubblewrap. A command that exits by itself with a
/// status above 128 looks like one that a signal ended: bubblewrap reports no more.
fn exit_of(code: i32) -> Exit {
    match code - SIGNAL_BASE {
        signal @ 1..=LAST_SIGNAL => Exit::Signal(signal),
        _ => Exit::Status(code),
    }
}

/// Returns the error of a bubblewrap that ended before it created a child.
pub(super) async fn explain(child: tokio::process::Child) -> RunError {
    match child.wait_with_output().await {
        Ok(output) => RunError::Setup {
            message: text(&output.stderr),
        },
        Err(source) => RunError::Wait { source },
    }
}

/// Passes output on, and keeps the end of standard error for error messages.
pub(super) struct Tail<'a> {
    sink: &'a mut dyn OutputSink,
    pub(super) message: Vec<u8>,
}

impl<'a> Tail<'a> {
    pub(super) fn new(sink: &'a mut dyn OutputSink) -> Self {
        Self {
            sink,
            message: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> String {
        text(&self.message)
    }
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).trim_end().to_owned()
}

impl OutputSink for Tail<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            self.message
                .extend_from_slice(&bytes[bytes.len().saturating_sub(MAX_MESSAGE_BYTES)..]);
            self.message
                .drain(..self.message.len().saturating_sub(MAX_MESSAGE_BYTES));
        }
        self.sink.chunk(stream, bytes)
    }
}

/// Discards all output that it receives.
pub(super) struct Discard;

impl OutputSink for Discard {
    fn chunk(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

impl From<Interruption> for RunError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Output(source) => Self::Output { source },
            Interruption::Sink(source) => Self::Sink { source },
            Interruption::Wait(source) => Self::Wait { source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_above_128_are_signals_as_in_a_shell() {
        assert_eq!(exit_of(3), Exit::Status(3));
        assert_eq!(exit_of(128), Exit::Status(128));
        assert_eq!(exit_of(137), Exit::Signal(9));
        assert_eq!(exit_of(255), Exit::Status(255));
    }

    #[test]
    fn tail_keeps_the_end_of_standard_error_only() {
        let mut discard = Discard;
        let mut tail = Tail::new(&mut discard);
        tail.chunk(Stream::Stderr, &[b'a'; MAX_MESSAGE_BYTES])
            .unwrap();
        tail.chunk(Stream::Stderr, b"the end").unwrap();
        tail.chunk(Stream::Stdout, b"no").unwrap();
        assert_eq!(tail.message.len(), MAX_MESSAGE_BYTES);
        assert!(tail.message.ends_with(b"athe end"));
    }
}
