//! The sandbox of an ordinary host. Comes in: what the host has. Goes out: a [`Runner`], which names everything that does not
//! hold there. Never: a weaker sandbox without a name for it.

use super::SetupError;
use super::cgroup::Hierarchy;
use super::description::Degradation;
use super::network::{self, Cidr};
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
        let (hierarchy, mut degradations) = control_groups();
        let is_root = rustix::process::geteuid().is_root();
        let users = is_root.then(Users::claim).transpose()?;
        degradations.extend(users.is_none().then(shared_user));
        let shared_network = shared_network(is_root, ranges);
        let has_own_network = shared_network.is_none();
        degradations.extend(shared_network);
        Self::with(Means { hierarchy, users, has_own_network, degradations }, ranges)
    }
}

fn control_groups() -> (Option<Hierarchy>, Vec<Degradation>) {
    match Hierarchy::find() {
        Ok(found) => {
            let missing = [
                ("memory", "memory-not-limited", "the cgroup v2 controller memory is not available"),
                ("pids", "tasks-limited-by-rlimit", "the cgroup v2 controller pids is not available"),
            ];
            let missing = missing.into_iter().filter(|(controller, ..)| !found.has(controller));
            let degradations = missing.map(|(_, name, reason)| Degradation { name, reason: reason.into() }).collect();
            (Some(found), degradations)
        }
        Err(reason) => (None, vec![Degradation { name: "no-cgroup", reason: reason.to_string() }]),
    }
}

fn shared_user() -> Degradation {
    let reason = "the service is not root: commands run as its own user";
    Degradation { name: "shared-user", reason: reason.into() }
}

/// Why phases that fetch have the machine's network here, if they do.
fn shared_network(is_root: bool, allowed: &[Cidr]) -> Option<Degradation> {
    let reason = if is_root {
        match network::trial(allowed) {
            Ok(()) => return None,
            Err(error) => Chain(&error).to_string(),
        }
    } else {
        "the service is not root".to_owned()
    };
    let reason = format!("phases that fetch have the machine's network: {reason}");
    Some(Degradation { name: "fetch-network-shared", reason })
}
