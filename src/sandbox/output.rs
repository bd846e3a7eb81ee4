//! Watches one command.
//!
//! * In: bubblewrap's pipes and its end.
//! * Out: output for a sink, one chunk at a time, so that the sink sets the pace; and whether
//!   bubblewrap or its time ended first.
//! * Never: a buffer that grows with the output.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::Sleep;

use super::spec::{OutputSink, Stream};

/// The size of the buffer: the default capacity of a pipe, so that one read can empty it (pipe(7)).
const BUFFER_BYTES: usize = 64 * 1024;

/// Why watching ended early.
pub(super) enum Interruption {
    /// Reading a pipe failed.
    Output(io::Error),
    /// The sink refused output.
    Sink(io::Error),
    /// Waiting for bubblewrap failed.
    Wait(io::Error),
}

/// What ended first, bubblewrap or its time.
pub(super) enum End {
    /// bubblewrap ended by itself.
    Exited,
    /// The time limit is over.
    TimedOut,
}

enum Event {
    Output(Stream),
    Closed,
    Ended(End),
}

type Wait = Pin<Box<dyn Future<Output = io::Result<ExitStatus>>>>;

/// Holds a running bubblewrap with its pipes. Dropping kills the process.
pub(super) struct Watch {
    wait: Wait,
    exited: bool,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    deadline: Pin<Box<Sleep>>,
    buffer: Box<[u8]>,
    filled: usize,
    stderr_first: bool,
}

impl Watch {
    /// Watches a process whose output is piped.
    pub(super) fn new(mut child: Child, limit: Duration) -> Self {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self {
            wait: Box::pin(async move { child.wait().await }),
            exited: false,
            stdout,
            stderr,
            deadline: Box::pin(tokio::time::sleep(limit)),
            buffer: vec![0; BUFFER_BYTES].into(),
            filled: 0,
            stderr_first: false,
        }
    }

    /// Passes output on until the process or its time ends.
    pub(super) async fn until_end(
        &mut self,
        sink: &mut dyn OutputSink,
    ) -> Result<End, Interruption> {
        loop {
            match poll_fn(|context| self.poll_running(context)).await? {
                Event::Output(stream) => self.deliver(stream, sink)?,
                Event::Closed => {}
                Event::Ended(end) => return Ok(end),
            }
        }
    }

    /// Waits for the process itself, unless that has happened: a second wait has nothing to wait
    /// for.
    pub(super) async fn reap(&mut self) -> io::Result<()> {
        if !self.exited {
            self.wait.as_mut().await?;
            self.exited = true;
        }
        Ok(())
    }

    /// Passes on the output that is still in the pipes. Call this when no process is left that
    /// could write.
    pub(super) async fn drain(&mut self, sink: &mut dyn OutputSink) -> Result<(), Interruption> {
        while self.stdout.is_some() || self.stderr.is_some() {
            if let Event::Output(stream) = poll_fn(|context| self.poll_output(context)).await? {
                self.deliver(stream, sink)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, stream: Stream, sink: &mut dyn OutputSink) -> Result<(), Interruption> {
        sink.chunk(stream, &self.buffer[..self.filled])
            .map_err(Interruption::Sink)
    }

    /// Polls for the next event. The end comes first, so that a flood of output cannot postpone it.
    fn poll_running(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Interruption>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(Event::Ended(End::TimedOut)));
        }
        if let Poll::Ready(ended) = self.wait.as_mut().poll(context) {
            self.exited = true;
            return Poll::Ready(match ended {
                Ok(_) => Ok(Event::Ended(End::Exited)),
                Err(error) => Err(Interruption::Wait(error)),
            });
        }
        self.poll_output(context)
    }

    /// Polls the pipes in turns: neither has to wait until the other has no output.
    fn poll_output(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Interruption>> {
        self.stderr_first = !self.stderr_first;
        for stderr in [self.stderr_first, !self.stderr_first] {
            let polled = if stderr {
                self.poll_stderr(context)
            } else {
                self.poll_stdout(context)
            };
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }

    fn poll_stdout(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Interruption>> {
        poll_pipe(
            &mut self.stdout,
            Stream::Stdout,
            &mut self.buffer,
            &mut self.filled,
            context,
        )
    }

    fn poll_stderr(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Interruption>> {
        poll_pipe(
            &mut self.stderr,
            Stream::Stderr,
            &mut self.buffer,
            &mut self.filled,
            context,
        )
    }
}

/// Polls one pipe. One that is closed stays pending forever.
fn poll_pipe<P: AsyncRead + Unpin>(
    pipe: &mut Option<P>,
    stream: Stream,
    buffer: &mut [u8],
    filled: &mut usize,
    context: &mut Context<'_>,
) -> Poll<Result<Event, Interruption>> {
    let Some(open) = pipe else {
        return Poll::Pending;
    };
    let mut space = ReadBuf::new(buffer);
    match Pin::new(open).poll_read(context, &mut space) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(Interruption::Output(error))),
        Poll::Ready(Ok(())) => {
            *filled = space.filled().len();
            if *filled == 0 {
                *pipe = None;
                return Poll::Ready(Ok(Event::Closed));
            }
            Poll::Ready(Ok(Event::Output(stream)))
        }
    }
}
