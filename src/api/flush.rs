//! Lets a body wait until the connection has taken what it gave before.
//!
//! - Comes in: from a body, that it gave a piece; from the connection, that everything is on its way.
//! - Goes out: when the body may give the next piece.
//! - Never: two pieces in one write. A write of TLS is cut into records of 16 KiB, so a piece that is written alone and
//!   is shorter never lies across the end of a record.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What a connection and the body that is sent on it know of each other.
#[derive(Clone, Debug, Default)]
pub struct Flushes(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    outstanding: bool,
    waiting: Option<Waker>,
}

impl Flushes {
    /// The body gives a piece.
    pub fn begin(&self) {
        self.0.borrow_mut().outstanding = true;
    }

    /// Waits until the connection has taken the last piece.
    pub fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if !state.outstanding {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The connection has taken everything that was written to it.
    pub fn done(&self) {
        let mut state = self.0.borrow_mut();
        state.outstanding = false;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}
