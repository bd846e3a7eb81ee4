//! Output on its way into the log. Comes in: chunks that tools print, and lines of ours. Goes out: events of the job.
//! Never: an error of the log that is mistaken for an error of a tool.

use std::io;
use std::sync::Arc;

use super::{Event, Job, Line, LineSplitter, LogError};
use crate::sandbox::{OutputSink, Stream};
use crate::toolchain::Log;

/// What kind of event a line is.
type EventOfLine = for<'a> fn(Line<'a>) -> Event<'a>;

fn build_line(line: Line<'_>) -> Event<'_> {
    Event::Line(line)
}

fn init_line(line: Line<'_>) -> Event<'_> {
    Event::Init(line.as_str())
}

/// The job's log, as the toolchain writes it. A stream's last line may lack its end until [`JobLog::finish`].
pub(super) struct JobLog {
    job: Arc<Job>,
    stdout: LineSplitter,
    stderr: LineSplitter,
    error: Option<LogError>,
}

impl JobLog {
    pub fn new(job: Arc<Job>) -> Self {
        Self { job, stdout: LineSplitter::new(), stderr: LineSplitter::new(), error: None }
    }

    /// A sink for what is printed while the source is fetched.
    pub fn while_fetching(&mut self) -> FetchLog<'_> {
        FetchLog { log: self }
    }

    /// Why the log took no more, if it did not.
    pub fn take_error(&mut self) -> Option<LogError> {
        self.error.take()
    }

    /// Writes the last lines.
    pub fn finish(self) -> Result<(), LogError> {
        let job = self.job;
        for splitter in [self.stdout, self.stderr] {
            splitter.finish(|line| job.emit(Event::Line(line)))?;
        }
        Ok(())
    }

    fn keep(&mut self, written: Result<(), LogError>) -> io::Result<()> {
        written.map_err(|error| {
            let text = error.to_string();
            self.error.get_or_insert(error);
            io::Error::other(text)
        })
    }

    fn push(&mut self, stream: Stream, bytes: &[u8], event: EventOfLine) -> io::Result<()> {
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let written = splitter.push(bytes, |line| self.job.emit(event(line)));
        self.keep(written)
    }
}

impl Log for JobLog {
    fn note(&mut self, line: &str) -> io::Result<()> {
        let mut splitter = LineSplitter::new();
        let mut emit = |line: Line<'_>| self.job.emit(Event::Note(line.as_str()));
        let written = splitter.push(line.as_bytes(), &mut emit).and_then(|()| splitter.finish(&mut emit));
        self.keep(written)
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.push(stream, bytes, build_line)
    }
}

/// See [`JobLog::while_fetching`].
pub(super) struct FetchLog<'a> {
    log: &'a mut JobLog,
}

impl OutputSink for FetchLog<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.log.push(stream, bytes, init_line)
    }
}
