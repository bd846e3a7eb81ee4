//! Watches one command. Comes in: its pipes and its end. Goes out: events, one at a time, so that whoever takes the
//! output sets the pace. Never: a buffer that grows with the output.

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

/// The default capacity of a pipe, so that one read can empty it (pipe(7)).
const BUFFER_BYTES: usize = 64 * 1024;

/// Why watching ended early.
pub(super) enum Interruption {
    /// Reading a pipe failed.
    Output(io::Error),
    /// The sink refused.
    Sink(io::Error),
    /// Waiting failed.
    Wait(io::Error),
}

/// What watching a command until its end says.
pub(super) enum End {
    /// bubblewrap ended.
    Exited,
    /// It ran out of time.
    TimedOut,
}

enum Event {
    Output(Stream),
    Closed,
    Ended(End),
}

type Wait = Pin<Box<dyn Future<Output = io::Result<ExitStatus>>>>;

/// A running bubblewrap with its pipes. Dropping kills the process.
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
    /// Of a process whose output is piped.
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

    /// Waits for the process itself, if that has not happened: a second wait would have nothing to wait for.
    pub(super) async fn reap(&mut self) -> io::Result<()> {
        if !self.exited {
            self.wait.as_mut().await?;
            self.exited = true;
        }
        Ok(())
    }

    /// Passes on what the pipes still hold. To be called when nobody is left who could write.
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

    /// The end comes first, so that a flood of output cannot postpone it.
    fn poll_running(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Interruption>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(Event::Ended(End::TimedOut)));
        }
        if let Poll::Ready(ended) = self.wait.as_mut().poll(context) {
            self.exited = true;
            return Poll::Ready(
                ended
                    .map(|_| Event::Ended(End::Exited))
                    .map_err(Interruption::Wait),
            );
        }
        self.poll_output(context)
    }

    /// Takes turns between the pipes: neither waits for the other to fall silent.
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

/// A pipe that is closed stays pending for ever.
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
