//! Whether this machine can give phases a network of their own.
//!
//! - Comes in: the ranges that phases are to reach beside public addresses.
//! - Goes out: that a network could be set up, or why not.
//! - Never: a change to the network that the machine itself uses.
//!
//! A trial takes a tenth of a second, most of which the kernel waits. So it is a thread, and is asked
//! when everything else is ready.

use std::io;
use std::thread::{self, JoinHandle};

use super::{Cidr, NetworkError, PhaseNetwork, step};
use crate::sandbox::kernel;

/// A trial that has begun. It has ended when this is dropped.
#[derive(Debug)]
pub struct NetworkTrial {
    allowed: Vec<Cidr>,
    running: Option<JoinHandle<Result<(), NetworkError>>>,
}

/// Why phases cannot have a network of their own.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Only root can set one up.
    #[error("the service is not root")]
    NotRoot,
    /// It could not be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl NetworkTrial {
    /// Begins one, in a namespace that nobody else is in. Only root can have one.
    pub fn start(allowed: &[Cidr]) -> Self {
        let allowed = allowed.to_vec();
        let is_root = rustix::process::geteuid().is_root();
        let running = is_root.then(|| {
            let allowed = allowed.clone();
            thread::spawn(move || try_one(&allowed))
        });
        Self { allowed, running }
    }

    /// Waits for the end. Returns the ranges that it was about.
    pub(in crate::sandbox) fn result(mut self) -> (Vec<Cidr>, Result<(), TrialError>) {
        let allowed = std::mem::take(&mut self.allowed);
        let result = match self.running.take() {
            None => Err(TrialError::NotRoot),
            Some(running) => running
                .join()
                .unwrap_or_else(|_| Err(panicked()))
                .map_err(TrialError::from),
        };
        (allowed, result)
    }
}

impl Drop for NetworkTrial {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Nobody asks for the result.
            let _ = running.join();
        }
    }
}

/// The name servers are those of the machine.
fn try_one(allowed: &[Cidr]) -> Result<(), NetworkError> {
    kernel::unshare_network().map_err(step("making a network namespace"))?;
    PhaseNetwork::set_up(allowed).map(drop)
}

fn panicked() -> NetworkError {
    step("trying it")(io::Error::other("a thread panicked"))
}
