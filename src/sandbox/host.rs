//! Creates the sandbox of an ordinary host, which may lack parts.
//!
//! * In: the parts of the sandbox that the host provides.
//! * Out: a [`Runner`], whose description names every promise that does not hold there.
//! * Never: a weaker sandbox without a name for it.

use super::SetupError;
use super::cgroup::Hierarchy;
use super::description::Degradation;
use super::network::{Cidr, NetworkTrial, TrialError};
use super::runner::{Means, Runner};
use super::users::Users;
use crate::causes::Chain;

impl Runner {
    /// Finds the parts of the sandbox that this machine provides, and tries them with a command.
    ///
    /// # Errors
    /// bubblewrap is missing, too old, or cannot make its namespaces here.
    pub fn new() -> Result<Self, SetupError> {
        Self::allowing(&[])
    }

    /// Does the same as [`Runner::new`], with ranges that phases with a network reach although they
    /// are not public.
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

/// The degradation that the lack of a controller means: the controller, the name and the reason.
const CONTROLLER_DEGRADATIONS: [(&str, &str, &str); 2] = [
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

fn control_groups() -> (Option<Hierarchy>, Vec<Degradation>) {
    let hierarchy = match Hierarchy::find() {
        Ok(found) => found,
        Err(reason) => {
            let degradation = Degradation {
                name: "no-cgroup",
                reason: reason.to_string(),
            };
            return (None, vec![degradation]);
        }
    };
    let mut degradations = Vec::new();
    for (controller, name, reason) in CONTROLLER_DEGRADATIONS {
        if !hierarchy.has(controller) {
            degradations.push(Degradation {
                name,
                reason: reason.into(),
            });
        }
    }
    (Some(hierarchy), degradations)
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
