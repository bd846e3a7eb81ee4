//! Keeps what a tool prints. Comes in: chunks. Goes out: standard output up to a limit, and what cargo complains about.
//! Never: more memory than the limits.

use std::io;

use crate::sandbox::{Exit, OutputSink, RunError, Stream};
use crate::source::output::Captured;
use crate::toolchain::complaint::Complaint;
use crate::toolchain::{Log, Phase, ToolchainError};

use super::CargoError;
use super::lockfile::LockfileError;

/// Most bytes of one answer of a tool. A workspace with a thousand packages stays below it.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// What cargo says when it would have to change the lockfile, or look for a package that the lockfile does not name.
const OUTDATED: [&str; 5] = [
    "because --locked was passed to prevent this",
    "needs to be updated but --locked was passed",
    "no matching package named",
    "failed to select a version for",
    "in the offline mode",
];

/// What cargo says when it cannot read the lockfile.
const UNREADABLE: [&str; 1] = ["failed to parse lock file"];

/// What cargo says when an archive has another checksum.
const CHECKSUM: [&str; 3] = [
    "failed to verify the checksum",
    "checksum for",
    "unable to verify that",
];

/// What cargo says when the manifest is the fault.
const MANIFEST: [&str; 2] = ["failed to parse manifest", "failed to load manifest"];

/// Most bytes of standard error that are searched for a known message.
const MAX_COMPLAINT_BYTES: usize = 64 << 10;

/// Standard output, kept; standard error, kept and handed on.
pub(super) struct Answer<'a> {
    tool: &'static str,
    log: &'a mut dyn Log,
    pub output: Captured,
    complaint: Captured,
}

impl<'a> Answer<'a> {
    /// Keeps up to [`MAX_ANSWER_BYTES`] of what `tool` prints.
    pub fn new(tool: &'static str, log: &'a mut dyn Log) -> Self {
        Self {
            tool,
            log,
            output: Captured::new(MAX_ANSWER_BYTES),
            complaint: Captured::new(MAX_COMPLAINT_BYTES),
        }
    }

    /// The error that the end of a command of `phase` is, if it is one.
    pub fn judge(&self, run: Result<Exit, RunError>, phase: Phase) -> Result<(), ToolchainError> {
        if self.output.is_exceeded() {
            return Err(ToolchainError::AnswerTooLong {
                tool: self.tool,
                limit: MAX_ANSWER_BYTES,
            });
        }
        match ToolchainError::of_exit(phase, run?) {
            Err(ToolchainError::Failed { .. }) if self.complains(&OUTDATED) => {
                Err(CargoError::LockfileOutdated.into())
            }
            Err(ToolchainError::Failed { .. }) if self.complains(&UNREADABLE) => {
                Err(LockfileError::Shape("cargo cannot read it".to_owned()).into())
            }
            Err(ToolchainError::Failed { .. }) if self.complains(&CHECKSUM) => {
                Err(CargoError::ChecksumByCargo.into())
            }
            Err(ToolchainError::Failed { .. }) if self.complains(&MANIFEST) => {
                Err(CargoError::Manifest.into())
            }
            ended => ended.map_err(|error| error.saying(self.first_error())),
        }
    }

    /// The first error on standard error.
    fn first_error(&self) -> Option<String> {
        let mut complaint = Complaint::default();
        complaint.take(self.complaint.bytes());
        complaint.text()
    }

    /// Whether standard error had one of `texts`.
    fn complains(&self, texts: &[&str]) -> bool {
        let complaint = String::from_utf8_lossy(self.complaint.bytes());
        texts.iter().any(|text| complaint.contains(text))
    }
}

impl OutputSink for Answer<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Stdout => self.output.take(bytes),
            Stream::Stderr => {
                // Only the beginning is searched.
                let _ = self.complaint.take(bytes);
                self.log.output(stream, bytes)
            }
        }
    }
}
