//! Identifies nix by the digests and the versions of its parts.
//!
//! * In: a [`Nix`].
//! * Out: the digests of the files that do the work, each with the version line of its program.
//! * Never: the digest of a launcher alone; nix consists of its libraries.

use std::path::Path;

use crate::blocking::blocking;
use crate::sandbox::Run;
use crate::toolchain::measure::{named, version};
use crate::toolchain::{ListedDigests, Tool, ToolchainError};

use super::locate::Nix;
use super::plan::{NIX, Plan};

/// The shell that builders see as `/bin/sh`.
const SHELL: &str = "/usr/bin/bash-static";

/// The directory of nix's own libraries.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// Returns the programs that build a flake, and the configuration that they follow.
///
/// Each has the version line of its program.
///
/// # Errors
/// A file cannot be read, or a program cannot be run.
pub async fn tools(
    nix: &Nix,
    listed: &ListedDigests,
    runner: &dyn Run,
) -> Result<Vec<Tool>, ToolchainError> {
    let own = version(Plan::version(nix, NIX), runner).await?;
    let shell = version(Plan::version(nix, SHELL), runner).await?;
    let (nix, listed) = (nix.clone(), listed.clone());
    blocking(move || hashed(&nix, &listed, &own, &shell)).await
}

/// Hashes the parts of nix; `own` and `shell` are the version lines.
fn hashed(
    nix: &Nix,
    listed: &ListedDigests,
    own: &str,
    shell: &str,
) -> Result<Vec<Tool>, ToolchainError> {
    let tool = |name: &str, version: &str, path: &Path| {
        Ok::<_, ToolchainError>(Tool {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: listed.file(path)?,
        })
    };
    let mut tools = vec![tool("nix", own, &nix.file(NIX))?];
    for (name, path) in named(&nix.file(LIBRARIES), "libnix")? {
        tools.push(tool(&name, own, &path)?);
    }
    let configuration = nix.configuration().join("nix.conf");
    tools.push(tool("nix.conf", own, &configuration)?);
    tools.push(tool("sh", shell, &nix.file(SHELL))?);
    Ok(tools)
}
