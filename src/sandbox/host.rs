//! The sandbox of an ordinary host. Comes in: what the host has. Goes out: a [`Runner`], which names everything that does not
//! hold there. Never: a weaker sandbox without a name for it.

use super::SetupError;
use super::cgroup::Hierarchy;
use super::description::Degradation;
use super::network::{Cidr, NetworkTrial, TrialError};
use super::runner::{Means, Runner};
use super::users::Users;
use crate::causes::Chain;

impl Runner {
    /// Finds out what this machine can do, with a trial command.
    ///
    /// # Errors
    /// bubblewrap is missing, too old, or cannot make its namespaces here.
    pub fn new() -> Result<Self, SetupError> {
        Self::allowing(&[])
    }

    /// As [`Runner::new`], with ranges that phases with a network reach although they are not public.
    ///
    /// # Errors
    /// As for [`Runner::new`].
    pub fn allowing(ranges: &[Cidr]) -> Result<Self, SetupError> {
        let trial = NetworkTrial::start(ranges);
        let (hierarchy, mut degradations) = control_groups();
        let is_root = rustix::process::geteuid().is_root();
        let users = is_root.then(Users::claim).transpose()?;
        degradations.extend(users.is_none().then(shared_user));
        let mut runner = Self::with(Means {
            hierarchy,
            users,
            degradations,
        })?;
        let (allowed, result) = trial.result();
        match result {
            Ok(()) => runner.reach_public(allowed),
            Err(error) => runner.share_network(allowed, shared_network(&error)),
        }
        Ok(runner)
    }
}

fn control_groups() -> (Option<Hierarchy>, Vec<Degradation>) {
    match Hierarchy::find() {
        Ok(found) => {
            let missing = [
                (
                    "memory",
                    "memory-not-limited",
                    "the cgroup v2 controller memory is not available",
                ),
                (
                    "pids",
                    "tasks-limited-by-rlimit",
                    "the cgroup v2 controller pids is not available",
                ),
            ];
            let missing = missing
                .into_iter()
                .filter(|(controller, ..)| !found.has(controller));
            let degradations = missing
                .map(|(_, name, reason)| Degradation {
                    name,
                    reason: reason.into(),
                })
                .collect();
            (Some(found), degradations)
        }
        Err(reason) => (
            None,
            vec![Degradation {
                name: "no-cgroup",
                reason: reason.to_string(),
            }],
        ),
    }
}

fn shared_user() -> Degradation {
    let reason = "the service is not root: commands run as its own user";
    Degradation {
        name: "shared-user",
        reason: reason.into(),
    }
}

fn shared_network(error: &TrialError) -> Degradation {
    let reason = format!(
        "phases that fetch have the machine's network: {}",
        Chain(error)
    );
    Degradation {
        name: "fetch-network-shared",
        reason,
    }
}
