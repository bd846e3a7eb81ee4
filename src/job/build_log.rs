//! Turns the output of tools, and our notes about it, into events of the job.
//!
//! * In: chunks that tools print, in every phase, and notes of the appliance.
//! * Out: events of the job.
//! * Never: words of a tool, or of a server that a tool talks to, in an event of another type than
//!   lines of output have; a note that becomes two; an error of the log that is mistaken for an
//!   error of a tool.

use std::io;
use std::sync::Arc;

use super::{Event, Job, LineSplitter, LogError};
use crate::sandbox::{OutputSink, Stream};
use crate::source::repository::FetchLog;
use crate::toolchain::Log;

/// The job's log, as the fetch of the source and the toolchain write it. The last line of a stream
/// may lack its end until [`JobLog::end_lines`].
pub(super) struct JobLog {
    job: Arc<Job>,
    stdout: LineSplitter,
    stderr: LineSplitter,
    error: Option<LogError>,
}

impl JobLog {
    /// Returns a log to which no tool has written yet.
    pub fn new(job: Arc<Job>) -> Self {
        Self {
            job,
            stdout: LineSplitter::new(),
            stderr: LineSplitter::new(),
            error: None,
        }
    }

    /// Takes the error for which the log refused an event, if it refused one.
    pub fn take_error(&mut self) -> Option<LogError> {
        self.error.take()
    }

    /// Ends the lines that have no end yet. Call it when the tools of a phase are dead: the next
    /// tool's output is not the rest of their lines, and their lines come before our next event.
    pub fn end_lines(&mut self) -> Result<(), LogError> {
        for splitter in [&mut self.stdout, &mut self.stderr] {
            std::mem::take(splitter).finish(|line| self.job.emit(Event::Line(line)))?;
        }
        Ok(())
    }

    /// Keeps an error of the log, and returns it as an error for the tool's output.
    fn keep(&mut self, written: Result<(), LogError>) -> io::Result<()> {
        written.map_err(|error| {
            let text = error.to_string();
            self.error.get_or_insert(error);
            io::Error::other(text)
        })
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let written = splitter.push(bytes, |line| self.job.emit(Event::Line(line)));
        self.keep(written)
    }
}

impl Log for JobLog {
    fn note(&mut self, line: &str) -> io::Result<()> {
        let written = self
            .end_lines()
            .and_then(|()| self.job.emit(Event::Note(line)));
        self.keep(written)
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.push(stream, bytes)
    }
}

impl OutputSink for JobLog {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.push(stream, bytes)
    }
}

impl FetchLog for JobLog {
    fn note(&mut self, line: &str) -> io::Result<()> {
        Log::note(self, line)
    }
}

#[cfg(test)]
mod tests {
    use crate::job::EventKind::{Init, Line, Note, Queued, Vm};
    use crate::job::{Chunk, EventKind, Phase, Request, SourceRequest};
    use crate::provenance::{Nonce, NonceSource};
    use crate::source::RepositoryUrl;

    use super::*;

    /// Returns a job that has the slot, and the directory that contains the job's own.
    fn job() -> (tempfile::TempDir, Arc<Job>) {
        let work = tempfile::tempdir().unwrap();
        let request = Request::test_only_new(
            Nonce::parse("00c0ffee").unwrap(),
            NonceSource::Client,
            SourceRequest::Repository {
                url: RepositoryUrl::parse("https://example.org/x").unwrap(),
                reference: None,
                token: None,
            },
        );
        let job = Job::set_up(work.path(), &request, "guest").unwrap();
        (work, Arc::new(job))
    }

    fn events(job: &Job) -> Vec<(EventKind, String)> {
        let (mut cursor, mut chunk, mut events) = (job.log().start(), Chunk::default(), Vec::new());
        while job.log().read(cursor, &mut chunk).unwrap() {
            while let Some((_, record)) = chunk.next(&mut cursor).unwrap() {
                events.push((record.kind, record.text.to_owned()));
            }
        }
        events.retain(|(kind, _)| ![Queued, Vm].contains(kind));
        events
    }

    fn said(kind: EventKind, text: &str) -> (EventKind, String) {
        (kind, text.to_owned())
    }

    #[test]
    fn what_a_fetch_prints_is_output_in_the_phase_that_it_is_printed_in() {
        let (_work, job) = job();
        job.emit(Event::Init("fetching")).unwrap();
        let mut log = JobLog::new(Arc::clone(&job));
        log.chunk(Stream::Stderr, b"source: commit 1\n[kettle] x\nremote: y")
            .unwrap();
        FetchLog::note(&mut log, "the server has it elsewhere").unwrap();
        log.chunk(Stream::Stderr, b"no end").unwrap();
        log.end_lines().unwrap();
        Log::output(&mut log, Stream::Stderr, b"of cargo\n").unwrap();
        let expected = [
            said(Init, "fetching"),
            said(Line, "source: commit 1"),
            said(Line, "\\u{5b}kettle] x"),
            said(Line, "remote: y"),
            said(Note, "the server has it elsewhere"),
            said(Line, "no end"),
            said(Line, "of cargo"),
        ];
        assert_eq!(events(&job), expected);
        assert_eq!(job.phase(), Phase::Init);
    }

    #[test]
    fn a_note_that_quotes_a_source_is_one_note() {
        let (_work, job) = job();
        let mut log = JobLog::new(Arc::clone(&job));
        let quoted = "--cfg=x\n[kettle] the toolchain is the project's\r\n\u{202e}y\u{2800}";
        Log::note(&mut log, &format!("{quoted} is not used")).unwrap();
        let note = "--cfg=x\\u{a}[kettle] the toolchain is the project's\
            \\u{d}\\u{a}\\u{202e}y\\u{2800} is not used";
        assert_eq!(events(&job), [said(Note, note)]);
    }
}
