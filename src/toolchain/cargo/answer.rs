//! Keeps the output of a tool, and judges how the tool ended.
//!
//! * In: chunks of standard output and standard error.
//! * Out: standard output up to a limit, and the error that cargo's messages stand for.
//! * Never: more memory than the limits.

use std::io;

use crate::sandbox::{Exit, OutputSink, RunError, Stream};
use crate::source::output::Captured;
use crate::toolchain::complaint::Complaint;
use crate::toolchain::{Log, Phase, ToolchainError};

use super::CargoError;
use super::lockfile::LockfileError;

/// The most bytes of standard output that are kept. A workspace with a thousand packages stays
/// below it.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Messages of a cargo that would have to change the lockfile, or to look for a package that the
/// lockfile does not name.
const OUTDATED: [&str; 5] = [
    "because --locked was passed to prevent this",
    "needs to be updated but --locked was passed",
    "no matching package named",
    "failed to select a version for",
    "in the offline mode",
];

/// Messages of a cargo that cannot read the lockfile.
const UNREADABLE: [&str; 1] = ["failed to parse lock file"];

/// Messages of a cargo that finds another checksum in an archive.
const CHECKSUM: [&str; 3] = [
    "failed to verify the checksum",
    "checksum for",
    "unable to verify that",
];

/// Messages of a cargo that cannot read the manifest.
const MANIFEST: [&str; 2] = ["failed to parse manifest", "failed to load manifest"];

/// The most bytes of standard error that are searched for a known message.
const MAX_COMPLAINT_BYTES: usize = 64 << 10;

/// Keeps standard output, and passes standard error on to the log.
pub(super) struct Answer<'a> {
    tool: &'static str,
    log: &'a mut dyn Log,
    /// Standard output, as far as it is kept.
    pub output: Captured,
    complaint: Captured,
}

impl<'a> Answer<'a> {
    /// Keeps up to [`MAX_ANSWER_BYTES`] of the standard output of `tool`.
    pub fn new(tool: &'static str, log: &'a mut dyn Log) -> Self {
        Self {
            tool,
            log,
            output: Captured::new(MAX_ANSWER_BYTES),
            complaint: Captured::new(MAX_COMPLAINT_BYTES),
        }
    }

    /// Returns the error for a command of `phase` that did not succeed.
    ///
    /// # Errors
    /// The output is too long, the sandbox failed, or the command did not end with status 0.
    pub fn judge(&self, run: Result<Exit, RunError>, phase: Phase) -> Result<(), ToolchainError> {
        if self.output.is_exceeded() {
            return Err(ToolchainError::AnswerTooLong {
                tool: self.tool,
                limit: MAX_ANSWER_BYTES,
            });
        }
        match ToolchainError::of_exit(phase, run?) {
            Err(error @ ToolchainError::Failed { .. }) => Err(self
                .complaint()
                .unwrap_or_else(|| error.saying(self.first_error()))),
            ended => ended,
        }
    }

    /// Returns the error that a message of cargo stands for, if it printed a known one.
    fn complaint(&self) -> Option<ToolchainError> {
        if self.complains(&OUTDATED) {
            Some(CargoError::LockfileOutdated.into())
        } else if self.complains(&UNREADABLE) {
            Some(LockfileError::Shape("cargo cannot read it".to_owned()).into())
        } else if self.complains(&CHECKSUM) {
            Some(CargoError::ChecksumByCargo.into())
        } else if self.complains(&MANIFEST) {
            Some(CargoError::Manifest.into())
        } else {
            None
        }
    }

    /// Returns the first error on standard error.
    fn first_error(&self) -> Option<String> {
        let mut complaint = Complaint::default();
        complaint.take(self.complaint.bytes());
        complaint.text()
    }

    /// Returns whether the beginning of standard error contains one of `texts`.
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
                // Only the beginning is searched, so the rest need not be kept.
                let _ = self.complaint.take(bytes);
                self.log.output(stream, bytes)
            }
        }
    }
}
