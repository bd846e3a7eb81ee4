//! Ends a connection whose peer takes nothing for too long.
//!
//! * In: reads and writes of the connection.
//! * Out: the same, and an error for a write that makes no progress.
//! * Never: a limit for a peer that reads slowly, or for the time between two writes.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A connection that passes everything through; a write that makes no progress for too long is an
/// error.
#[derive(Debug)]
pub struct StallTimeout<S> {
    inner: S,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
    stalled: bool,
}

impl<S> StallTimeout<S> {
    /// Returns the connection with a limit for the time in which a write makes no progress.
    pub fn new(inner: S, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            deadline: Box::pin(sleep(limit)),
            stalled: false,
        }
    }

    /// Turns a wait that has lasted too long into an error.
    fn check(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if progress.is_ready() {
            self.stalled = false;
            return progress;
        }
        if !self.stalled {
            self.stalled = true;
            self.deadline.as_mut().reset(Instant::now() + self.limit);
        }
        self.deadline
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl StallTimeout<TcpStream> {
    /// Returns the address of the client, if the kernel knows it.
    pub fn peer(&self) -> Option<IpAddr> {
        self.inner.peer_addr().ok().map(|address| address.ip())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.check(cx, progress)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.check(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // A socket has nothing to flush, and does not wait before it ends.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Runs with a clock that stands still while anything can be done, and then goes to the next
    /// deadline: how busy the machine is makes no difference.
    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn gives_up_on_a_peer_that_takes_nothing() {
        let error = run(async {
            let (ours, _theirs) = tokio::io::duplex(4);
            StallTimeout::new(ours, Duration::from_millis(20))
                .write_all(b"too long")
                .await
                .unwrap_err()
        });
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn every_bit_of_progress_starts_the_limit_anew() {
        run(async {
            let (ours, mut theirs) = tokio::io::duplex(1);
            let mut ours = StallTimeout::new(ours, Duration::from_millis(200));
            let reader = async {
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    theirs.read_u8().await.unwrap();
                }
            };
            let mut reader = std::pin::pin!(reader);
            let mut writer = std::pin::pin!(ours.write_all(&[0; 20]));
            std::future::poll_fn(|cx| {
                let _ = reader.as_mut().poll(cx);
                writer.as_mut().poll(cx)
            })
            .await
            .unwrap();
        });
    }
}
