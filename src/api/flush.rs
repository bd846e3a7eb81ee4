//! Lets a body wait until the connection has taken the piece before.
//!
//! * In: from a body, that it has given a piece; from the connection, that everything is on its
//!   way.
//! * Out: when the body may give the next piece.
//! * Never: two pieces in one write. A write of TLS is cut into records of 16 KiB, so a piece that
//!   is written alone and is shorter never crosses the end of a record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The state that a connection and the body that is sent on it share.
#[derive(Clone, Debug, Default)]
pub struct Flushes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    outstanding: bool,
    waiting: Option<Waker>,
}

impl Flushes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports that the body gives a piece.
    pub fn begin(&self) {
        self.state().outstanding = true;
    }

    /// Waits until the connection has taken the last piece.
    pub fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.outstanding {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reports that the connection has taken everything that was written to it.
    pub fn done(&self) {
        let mut state = self.state();
        state.outstanding = false;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}
