//! Describes the sandbox of this machine, for the provenance of every build.
//!
//! * In: the parts of the sandbox that were found by trying them.
//! * Out: a value that serialises.
//! * Never: a promise that was not tried.

use serde::Serialize;

use super::limits::Limits;
use super::network::Cidr;

/// The sandbox of every command, and the promises that this machine could not keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The program that creates the namespaces.
    pub runner: RunnerVersion,
    /// The namespaces that belong to the command alone. That of the network does so outside of the
    /// phases that record a network.
    pub namespaces: &'static [&'static str],
    /// The machine's user id of commands. It depends on the other services of the machine, and
    /// tells nothing about the build.
    #[serde(skip)]
    pub uid: u32,
    /// The SHA-256 of the system call filter of commands without network, as the kernel loads it;
    /// hex, lower case.
    pub seccomp: String,
    /// The limits of each command.
    pub limits: Limits,
    /// The number of processors that commands see, which cargo tells to build scripts (`NUM_JOBS`);
    /// left out where the kernel does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<usize>,
    /// The cgroup controllers that enforce limits.
    pub controllers: Vec<&'static str>,
    /// The addresses that the phases that record a network reach.
    pub fetch_network: FetchNetwork,
    /// The promises that do not hold on this machine. Empty in the image.
    pub degradations: Degradations,
}

/// The addresses that the phases that fetch reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchNetwork {
    /// `public-unicast` where a filter looks at every packet; `machine` where there is no filter,
    /// and everything that the machine reaches can be reached.
    pub reaches: &'static str,
    /// The ranges that the operator of the service allows in addition.
    pub allowed: Vec<Cidr>,
}

/// A program and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunnerVersion {
    /// The name of the program, `bubblewrap`.
    pub name: &'static str,
    /// The version as the program prints it, without its name.
    pub version: String,
}

/// The promises that do not hold on a host.
#[cfg(feature = "host")]
pub type Degradations = Vec<Degradation>;

/// Always empty: the image has all of the sandbox, or does not start.
#[cfg(not(feature = "host"))]
pub type Degradations = [std::convert::Infallible; 0];

/// A promise that does not hold on this machine.
#[cfg(feature = "host")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degradation {
    /// The stable name of the promise, in kebab-case.
    pub name: &'static str,
    /// The part that this machine lacks.
    pub reason: String,
}
