//! What the sandbox of this machine holds, for the provenance of every build. Comes in: what the probe found. Goes out:
//! a value that serialises. Never: a promise that was not probed.

use serde::Serialize;

use super::limits::Limits;
use super::network::Cidr;

/// What held every command, and what this machine could not give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The program that makes the namespaces.
    pub runner: RunnerVersion,
    /// The namespaces that are the command's own. The network's is its own outside the phases that record a network.
    pub namespaces: &'static [&'static str],
    /// The machine's user id of commands. Which one it is depends on what else runs here, and says
    /// nothing about the build.
    #[serde(skip)]
    pub uid: u32,
    /// SHA-256 of the system call filter of commands without network, as the kernel loads it; hex, lower case.
    pub seccomp: String,
    /// What commands may use.
    pub limits: Limits,
    /// The number of processors that commands see, which cargo tells to build scripts (`NUM_JOBS`); left out where the kernel
    /// does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<usize>,
    /// The cgroup controllers that enforce limits.
    pub controllers: Vec<&'static str>,
    /// What the phases that record a network reach.
    pub fetch_network: FetchNetwork,
    /// What does not hold on this machine. Empty in the image.
    pub degradations: Degradations,
}

/// What the phases that fetch reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchNetwork {
    /// `public-unicast`, by a filter that looks at every packet; `machine`, whatever the machine reaches, where there is none.
    pub reaches: &'static str,
    /// Ranges that the operator of the service allows beside that.
    pub allowed: Vec<Cidr>,
}

/// A program and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunnerVersion {
    /// `bubblewrap`.
    pub name: &'static str,
    /// As it prints it, without its name.
    pub version: String,
}

/// What does not hold on a host.
#[cfg(feature = "host")]
pub type Degradations = Vec<Degradation>;

/// Nothing: the image has all of the sandbox, or does not start.
#[cfg(not(feature = "host"))]
pub type Degradations = [std::convert::Infallible; 0];

/// A promise that does not hold on this machine.
#[cfg(feature = "host")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degradation {
    /// Stable, kebab-case.
    pub name: &'static str,
    /// What is missing.
    pub reason: String,
}
