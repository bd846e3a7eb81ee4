//! Receives the output of git commands.
//!
//! * In: chunks of output.
//! * Out: bytes up to a limit, submodules, a file.
//! * Never: more memory than the limit.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::reason;
use crate::digest::GitOid;
use crate::sandbox::{OutputSink, Stream};
use crate::source::output::Captured;
use crate::source::plain_file::Limited;

/// Longest record of a listing, in bytes: twice Linux's `PATH_MAX`.
const MAX_RECORD_BYTES: usize = 8192;

/// Longest line of a fetch that is passed on in one piece, in bytes.
const MAX_LINE_BYTES: usize = 8192;

/// Shortest time between two measurements of a fetch's size.
const MEASURE_INTERVAL: Duration = Duration::from_millis(250);

/// Keeps standard output and sends standard error to the log.
pub(super) struct Capture<'a> {
    pub log: &'a mut dyn OutputSink,
    pub output: Captured,
}

impl OutputSink for Capture<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            return self.log.chunk(stream, bytes);
        }
        self.output.take(bytes)
    }
}

/// Writes standard output to a file and sends standard error to the log.
pub(super) struct Spool<'a> {
    pub log: &'a mut dyn OutputSink,
    pub file: Limited<File>,
    pub fault: Option<io::Error>,
}

impl OutputSink for Spool<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            return self.log.chunk(stream, bytes);
        }
        self.file.write_all(bytes).map_err(|error| {
            let kind = error.kind();
            self.fault = Some(error);
            kind.into()
        })
    }
}

/// Keeps the submodules of a listing, whose records are `MODE TYPE ID\tPATH\0`.
pub(super) struct Submodules<'a> {
    pub log: &'a mut dyn OutputSink,
    pub found: Vec<(String, GitOid)>,
    pub limit: usize,
    pub exceeded: bool,
    record: Vec<u8>,
}

impl<'a> Submodules<'a> {
    pub(super) fn new(log: &'a mut dyn OutputSink, limit: usize) -> Self {
        Self {
            log,
            found: Vec::new(),
            limit,
            exceeded: false,
            record: Vec::new(),
        }
    }

    fn end_record(&mut self) {
        let record = std::mem::take(&mut self.record);
        let text = String::from_utf8_lossy(&record);
        let fields = text
            .strip_prefix("160000 commit ")
            .and_then(|rest| rest.split_once('\t'));
        let Some((id, path)) = fields else { return };
        if let Ok(commit) = id.parse() {
            self.found.push((path.to_owned(), commit));
        }
    }
}

impl OutputSink for Submodules<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            return self.log.chunk(stream, bytes);
        }
        for byte in bytes {
            match byte {
                0 => self.end_record(),
                byte => self.record.push(*byte),
            }
            self.exceeded |= self.found.len() > self.limit || self.record.len() > MAX_RECORD_BYTES;
            if self.exceeded {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(())
    }
}

/// Sends the output of a fetch to the log, without progress lines that a later one overwrites, and
/// measures what the fetch has written. Git prints its progress once a second, so the size is
/// measured when output arrives.
pub(super) struct Progress<'a> {
    log: &'a mut dyn OutputSink,
    directory: PathBuf,
    limit: u64,
    measured: Instant,
    line: Vec<u8>,
    pub exceeded: bool,
    /// Why git gave up, in its own words.
    pub reason: Option<String>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(log: &'a mut dyn OutputSink, directory: &Path, limit: u64) -> Self {
        Self {
            log,
            directory: directory.to_owned(),
            limit,
            measured: Instant::now(),
            line: Vec::new(),
            exceeded: false,
            reason: None,
        }
    }

    fn end_line(&mut self, stream: Stream) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.reason = reason::of_line(&line).or(self.reason.take());
        self.log.chunk(stream, &line)
    }
}

impl OutputSink for Progress<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.measured.elapsed() > MEASURE_INTERVAL {
            self.exceeded |= size(&self.directory, self.limit) > self.limit;
            self.measured = Instant::now();
        }
        if self.exceeded {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        for byte in bytes {
            match byte {
                b'\r' => self.line.clear(),
                byte => self.line.push(*byte),
            }
            if *byte == b'\n' || self.line.len() == MAX_LINE_BYTES {
                self.end_line(stream)?;
            }
        }
        Ok(())
    }
}

/// Returns how many bytes the files below `directory` have together; stops counting above `limit`.
/// Files that cannot be read, because a command is changing them, are not counted.
pub(super) fn size(directory: &Path, limit: u64) -> u64 {
    let mut directories = vec![directory.to_owned()];
    let mut total = 0;
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) => total += metadata.len(),
                Err(_) => {}
            }
        }
        if total > limit {
            break;
        }
    }
    total
}
