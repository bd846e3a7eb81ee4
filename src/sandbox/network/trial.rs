//! Tries whether this machine can give phases their own network.
//!
//! * In: the ranges that phases may reach beside public addresses.
//! * Out: success, if a network could be set up, or the reason why not.
//! * Never: a change to the network that the machine itself uses.
//!
//! A trial takes a tenth of a second, most of which the kernel waits. So it runs in a thread, whose
//! result is read when everything else is ready.

use std::io;
use std::thread::{self, JoinHandle};

use super::{Cidr, NetworkError, PhaseNetwork, step};
use crate::sandbox::kernel;

/// A trial that was started. Dropping waits for its end.
#[derive(Debug)]
pub struct NetworkTrial {
    allowed: Vec<Cidr>,
    running: Option<JoinHandle<Result<(), NetworkError>>>,
}

/// Why phases cannot have their own network.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Only root can set up a network.
    #[error("the service is not root")]
    NotRoot,
    /// The network could not be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl NetworkTrial {
    /// Starts a trial, in a namespace that no other thread uses. Without root, the result is an
    /// error.
    pub fn start(allowed: &[Cidr]) -> Self {
        let allowed = allowed.to_vec();
        let is_root = rustix::process::geteuid().is_root();
        let running = is_root.then(|| {
            let allowed = allowed.clone();
            thread::spawn(move || try_one(&allowed))
        });
        Self { allowed, running }
    }

    /// Waits for the end. Returns the ranges that were tried, and the result.
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
            // The result is not needed any more.
            let _ = running.join();
        }
    }
}

/// Sets up a network and drops it. The name servers are those of the machine.
fn try_one(allowed: &[Cidr]) -> Result<(), NetworkError> {
    kernel::unshare_network().map_err(step("making a network namespace"))?;
    PhaseNetwork::set_up(allowed).map(drop)
}

fn panicked() -> NetworkError {
    step("trying it")(io::Error::other("a thread panicked"))
}
