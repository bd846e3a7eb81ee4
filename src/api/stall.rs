//! A connection that does not wait for ever for a peer that takes nothing.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Passes everything through; a write that makes no progress for too long is an error.
#[derive(Debug)]
pub struct Impatient<S> {
    inner: S,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    stalled: bool,
}

impl<S> Impatient<S> {
    /// Waits at most `patience` for each write to make progress.
    pub fn new(inner: S, patience: Duration) -> Self {
        Self {
            inner,
            patience,
            deadline: Box::pin(sleep(patience)),
            stalled: false,
        }
    }

    fn judge(
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
            self.deadline.as_mut().reset(Instant::now() + self.patience);
        }
        self.deadline
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Impatient<TcpStream> {
    /// Returns the address at the other end, where the kernel knows it.
    pub fn peer(&self) -> Option<IpAddr> {
        self.inner.peer_addr().ok().map(|address| address.ip())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.judge(cx, progress)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.judge(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // A socket has nothing to flush, and does not wait with its end.
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

    /// The clock stands still while anything can be done, and then goes to the next deadline: how busy the machine is makes no
    /// difference.
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
            Impatient::new(ours, Duration::from_millis(20))
                .write_all(b"too long")
                .await
                .unwrap_err()
        });
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn every_bit_of_progress_renews_its_patience() {
        run(async {
            let (ours, mut theirs) = tokio::io::duplex(1);
            let mut ours = Impatient::new(ours, Duration::from_millis(200));
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
